// Losses, their gradients and clipped norms: PyTorch's, the reference's, and the same for any number of
// threads.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/compute/reference.h"
#include "engine/nn/binary_cross_entropy.h"
#include "engine/nn/cross_entropy.h"
#include "storage/base/random.h"
#include "tests/engine/blocking.h"
#include "tests/engine/framed_matrix.h"
#include "tests/engine/golden_losses.h"
#include "tests/engine/model_runs.h"
#include "tests/engine/test_backend.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

std::vector<float> dense(MatrixView matrix) {
  std::vector<float> values;
  for (std::size_t r = 0; r < matrix.rows; ++r)
    values.insert(values.end(), matrix.row(r), matrix.row(r) + matrix.columns);
  return values;
}

std::vector<float> random_values(std::uint64_t seed, std::size_t count, double least, double most) {
  RandomStream draws(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(least + (most - least) * draws.uniform());
  return values;
}

std::vector<std::int32_t> random_targets(std::uint64_t seed, std::size_t count, std::size_t classes) {
  RandomStream draws(seed);
  std::vector<std::int32_t> targets(count);
  for (auto& target : targets) target = static_cast<std::int32_t>(draws.below(classes + 1)) - 1;
  return targets;
}

// As a dataset keeps them: 0, 1, or none for NaN.
std::vector<std::uint8_t> entries_of(const std::vector<float>& labels) {
  std::vector<std::uint8_t> entries;
  for (const float label : labels)
    entries.push_back(std::isnan(label) ? unlabelled : static_cast<std::uint8_t>(label));
  return entries;
}

std::vector<std::uint8_t> random_entries(std::uint64_t seed, std::size_t count) {
  RandomStream draws(seed);
  std::vector<std::uint8_t> entries(count);
  for (auto& entry : entries) {
    const std::uint64_t draw = draws.below(3);
    entry = draw < 2 ? static_cast<std::uint8_t>(draw) : unlabelled;
  }
  return entries;
}

}  // namespace

TEST_CASE("loss, correct count and gradient are the reference's, extreme logits and unlabelled rows too") {
  Machine machine;
  for (const std::size_t classes : {1U, 2U, 16U, 17U, 172U}) {
    for (const std::size_t rows : {0U, 1U, 700U}) {
      Framed logits = random_matrix(classes, rows, classes);
      RandomStream draws(mix_key(rows, classes));
      std::vector<std::int32_t> targets;
      for (std::size_t r = 0; r < rows; ++r) {
        targets.push_back(static_cast<std::int32_t>(draws.below(classes + 1)) - 1);
        if (r % 50 == 0) logits.view(r, 0) = r % 100 == 0 ? 300.0F : -300.0F;
      }
      Framed gradient(rows, classes);
      const LossSum sum = cross_entropy(*machine.backend, logits.view, targets, {}, gradient.view);
      const reference::Loss expected = reference::cross_entropy(reference::widen(logits.view), targets);
      CHECK(sum.mean() == doctest::Approx(expected.mean).epsilon(1e-5));
      CHECK(sum.correct_count == expected.correct_count);
      CHECK(sum.labelled_count == expected.labelled_count);
      CHECK(distance(reference::widen(gradient.view), expected.gradient) < 1e-5);
      CHECK(gradient.frame_is_untouched());
      CHECK(cross_entropy(*machine.backend, logits.view, targets, {}, {}).loss == sum.loss);
    }
  }
  const Framed logits = random_matrix(1, 3, 4);
  const std::vector<std::int32_t> none(3, no_label);
  Framed gradient(3, 4);
  const LossSum sum = cross_entropy(*machine.backend, logits.view, none, {}, gradient.view);
  CHECK(sum.loss == 0);
  CHECK(sum.weight == 0);
  CHECK(sum.labelled_count == 0);
  CHECK(sum.correct_count == 0);
  CHECK(reference::widen(gradient.view).values == std::vector<double>(12, 0.0));
  CHECK(gradient.frame_is_untouched());
}

TEST_CASE("cross-entropy with weights and smoothing is PyTorch's, and so is its gradient") {
  const GoldenLosses golden;
  Machine machine;
  for (const std::string& name : golden.cases("cross_entropy")) {
    CAPTURE(name);
    const auto logits = golden.matrix(name + ".logits");
    const auto targets = golden.values<std::int32_t>(name + ".targets");
    CrossEntropyOptions options{.class_weights = {},
                                .label_smoothing = golden.values<float>(name + ".smoothing")[0]};
    if (golden.has(name + ".weights")) options.class_weights = golden.values<float>(name + ".weights");
    CrossEntropy loss(*machine.backend, static_cast<std::uint32_t>(logits.view.rows),
                      static_cast<std::uint32_t>(logits.view.columns), options);
    const BatchView batch{.targets = targets};
    const LossSum sum = loss.evaluate_with_gradient(logits.view, batch);
    CHECK(sum.mean() == doctest::Approx(golden.number(name + ".loss")).epsilon(1e-6));
    CHECK(distance(dense(loss.gradient()), golden.values<double>(name + ".gradient")) < 1e-6);
    CHECK(loss.evaluate(logits.view, batch).loss == sum.loss);
  }
}

TEST_CASE("weighted and smoothed cross-entropy is the reference's for any width") {
  Machine machine;
  for (const std::size_t classes : {1U, 2U, 15U, 16U, 17U, 172U, 2048U}) {
    for (const std::size_t rows : {1U, 7U, 300U, 1025U}) {
      if (classes == 2048 && rows > 7) continue;
      CAPTURE(classes);
      CAPTURE(rows);
      std::vector<float> values = random_values(classes, rows * classes, -4, 4);
      const MatrixView logits(values.data(), rows, classes);
      const auto targets = random_targets(rows, rows, classes);
      const auto weights = random_values(7, classes, 0.1, 3);
      std::vector<float> memory(rows * classes);
      const MatrixView gradient(memory.data(), rows, classes);
      const ClassWeighting how{.weights = weights, .smoothing = 0.25F};
      const LossSum sum = cross_entropy(*machine.backend, logits, targets, how, gradient);
      const reference::Loss expected = reference::cross_entropy(reference::widen(logits), targets, how);
      CHECK(sum.mean() == doctest::Approx(expected.mean).epsilon(1e-5));
      CHECK(sum.correct_count == expected.correct_count);
      CHECK(sum.labelled_count == expected.labelled_count);
      CHECK(distance(memory, expected.gradient.values) < 1e-5);
    }
  }
}

TEST_CASE("rows whose class weighs nothing have no loss and no gradient, and may be all there are") {
  Machine machine;
  std::vector<float> values = random_values(1, 6, -1, 1);
  const MatrixView logits(values.data(), 3, 2);
  const std::vector<std::int32_t> targets{1, 1, no_label};
  const std::vector<float> weights{1, 0};
  std::vector<float> memory(6, 5.0F);
  const LossSum sum =
      cross_entropy(*machine.backend, logits, targets, {.weights = weights}, MatrixView(memory.data(), 3, 2));
  CHECK(sum.mean() == 0);
  CHECK(sum.labelled_count == 2);
  CHECK(std::ranges::count(memory, 0.0F) == 6);
}

TEST_CASE("binary cross-entropy is PyTorch's over the entries that have a label, and so is its gradient") {
  const GoldenLosses golden;
  Machine machine;
  for (const std::string& name : golden.cases("binary")) {
    CAPTURE(name);
    const auto logits = golden.matrix(name + ".logits");
    const auto labels = entries_of(golden.values<float>(name + ".labels"));
    const auto columns = static_cast<std::uint32_t>(logits.view.columns);
    BinaryCrossEntropy loss(*machine.backend, static_cast<std::uint32_t>(logits.view.rows), columns);
    const BatchView batch{.label_rows = labels, .label_columns = columns};
    const LossSum sum = loss.evaluate_with_gradient(logits.view, batch);
    CHECK(sum.mean() == doctest::Approx(golden.number(name + ".loss")).epsilon(1e-6));
    CHECK(distance(dense(loss.gradient()), golden.values<double>(name + ".gradient")) < 1e-6);
    CHECK(loss.evaluate(logits.view, batch).loss == sum.loss);
    if (columns > 1) continue;
    // Two classes as one column.
    std::vector<std::int32_t> targets;
    for (const std::uint8_t label : labels) targets.push_back(label == unlabelled ? no_label : label);
    CHECK(loss.evaluate(logits.view, {.targets = targets}).loss == sum.loss);
  }
}

TEST_CASE("binary cross-entropy is the reference's for any width, and nothing where nothing has a label") {
  Machine machine;
  for (const std::size_t columns : {1U, 3U, 15U, 16U, 17U, 112U, 2048U}) {
    for (const std::size_t rows : {1U, 7U, 300U, 1025U}) {
      if (columns == 2048 && rows > 7) continue;
      CAPTURE(columns);
      CAPTURE(rows);
      std::vector<float> values = random_values(columns, rows * columns, -30, 30);
      const MatrixView logits(values.data(), rows, columns);
      auto labels = random_entries(rows, rows * columns);
      labels[0] = 1;
      std::vector<float> memory(rows * columns, 7.0F);
      const MatrixView gradient(memory.data(), rows, columns);
      const LossSum sum = binary_cross_entropy(*machine.backend, logits, {.entries = labels}, gradient);
      const reference::Loss expected = reference::binary_cross_entropy(reference::widen(logits), labels);
      CHECK(sum.mean() == doctest::Approx(expected.mean).epsilon(1e-5));
      CHECK(sum.correct_count == expected.correct_count);
      CHECK(sum.labelled_count == expected.labelled_count);
      CHECK(distance(memory, expected.gradient.values) < 1e-5);
      std::ranges::fill(labels, unlabelled);
      const LossSum none = binary_cross_entropy(*machine.backend, logits, {.entries = labels}, gradient);
      CHECK(none.mean() == 0);
      CHECK(none.labelled_count == 0);
      CHECK(std::ranges::count(memory, 0.0F) == static_cast<std::ptrdiff_t>(memory.size()));
    }
  }
}

TEST_CASE("the gradient's norm is clipped as PyTorch clips it") {
  const GoldenLosses golden;
  Machine machine;
  for (const std::string& name : golden.cases("clipping")) {
    CAPTURE(name);
    auto values = golden.values<float>(name + ".values");
    const auto norm_max = static_cast<double>(golden.values<float>(name + ".norm_max")[0]);
    CHECK(clip_norm(*machine.backend, values, norm_max) ==
          doctest::Approx(golden.number(name + ".norm")).epsilon(1e-9));
    CHECK(distance(values, golden.values<double>(name + ".clipped")) < 1e-6);
  }
  std::vector<float> small = random_values(3, 100, -0.01, 0.01);
  const std::vector<float> before = small;
  clip_norm(*machine.backend, small, 1);
  CHECK(small == before);  // to the bit: nothing is multiplied by one
  CHECK(clip_norm(*machine.backend, {}, 1) == 0);
  // A norm that is not finite leaves its mark.
  std::vector<float> broken{1, std::numeric_limits<float>::infinity()};
  CHECK(std::isinf(clip_norm(*machine.backend, broken, 1)));
  CHECK(broken[0] == 0);
  CHECK(std::isnan(broken[1]));
  broken = {1, 2, std::numeric_limits<float>::quiet_NaN()};
  CHECK(std::isnan(clip_norm(*machine.backend, broken, 1)));
  CHECK(std::ranges::count_if(broken, [](float x) { return std::isnan(x); }) == 3);
}

TEST_CASE("losses, gradients and norms are the same to the bit for any number of threads") {
  constexpr std::size_t rows = 2100;
  constexpr std::size_t classes = 23;
  std::vector<float> values = random_values(5, rows * classes, -3, 3);
  const MatrixView logits(values.data(), rows, classes);
  const auto targets = random_targets(6, rows, classes);
  const auto weights = random_values(7, classes, 0.1, 3);
  const auto entries = random_entries(9, rows * classes);
  const auto run = [&](std::size_t threads) {
    Machine machine(threads);
    std::vector<float> result(rows * classes);
    const ClassWeighting how{.weights = weights, .smoothing = 0.1F};
    const MatrixView gradient(result.data(), rows, classes);
    std::vector<double> sums{cross_entropy(*machine.backend, logits, targets, how, gradient).loss};
    std::vector<float> of_entries(rows * classes);
    sums.push_back(binary_cross_entropy(*machine.backend, logits, {.entries = entries},
                                        MatrixView(of_entries.data(), rows, classes))
                       .loss);
    result.insert(result.end(), of_entries.begin(), of_entries.end());
    std::vector<float> clipped = random_values(8, 1'300'000, -1, 1);
    sums.push_back(clip_norm(*machine.backend, clipped, 0.5));
    result.insert(result.end(), clipped.begin(), clipped.end());
    return std::pair(sums, result);
  };
  const auto one = run(1);
  for (const std::size_t threads : {2U, 3U, 5U}) CHECK(run(threads) == one);
}

TEST_CASE("weights and smoothings that cannot be are refused") {
  const auto refused = [](const CrossEntropyOptions& options, const char* part) {
    EXPECT_ERROR(check_cross_entropy(options, 3), Kind::config, part);
  };
  refused({.label_smoothing = 1}, "--label-smoothing is 1");
  refused({.label_smoothing = -0.1F}, "--label-smoothing");
  refused({.label_smoothing = std::numeric_limits<float>::quiet_NaN()}, "--label-smoothing");
  refused({.class_weights = {1, 2}}, "2 weights, the dataset has 3 classes");
  refused({.class_weights = {1, -1, 1}}, "class 1 weighs -1");
  refused({.class_weights = {1, 1, std::numeric_limits<float>::infinity()}}, "class 2 weighs inf");
  refused({.class_weights = {0, 0, 0}}, "all 0");
  check_cross_entropy({.class_weights = {0, 1, 2}, .label_smoothing = 0.5F}, 3);
}
