// Scores over several batches are those of the definitions, counted in NumPy.
#include "engine/train/scores.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/engine/golden_losses.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

// What a loss would say of these rows, as far as scores ask for it.
LossSum counts_of(MatrixView logits, std::span<const std::int32_t> targets) {
  LossSum sum;
  for (std::size_t r = 0; r < logits.rows; ++r) {
    if (targets[r] == no_label) continue;
    const float* row = logits.row(r);
    ++sum.labelled_count;
    sum.weight += 1;
    sum.correct_count += std::max_element(row, row + logits.columns) == row + targets[r] ? 1 : 0;
  }
  return sum;
}

}  // namespace

TEST_CASE("macro F1 and accuracy are scikit-learn's, however the rows are dealt into batches") {
  const GoldenLosses golden;
  for (const std::string& name : golden.cases("class_scores")) {
    CAPTURE(name);
    const auto logits = golden.matrix(name + ".logits");
    const auto targets = golden.values<std::int32_t>(name + ".targets");
    for (const std::size_t batch_rows : {1U, 7U, 1000U}) {
      ScoreSum scores(Predictions::classes, static_cast<std::uint32_t>(logits.view.columns), targets.size());
      scores.add({.loss = 5, .weight = 1, .labelled_count = 1}, logits.view.row_range(0, 1),
                 {.targets = std::span(targets).first(1)});
      scores.clear();  // of another epoch
      for (std::size_t first = 0; first < targets.size(); first += batch_rows) {
        const std::size_t count = std::min(batch_rows, targets.size() - first);
        const auto part = std::span(targets).subspan(first, count);
        const MatrixView rows = logits.view.row_range(first, count);
        scores.add(counts_of(rows, part), rows, {.targets = part});
      }
      const Scores result = scores.scores();
      CHECK(result.loss == 0);
      CHECK(result.f1 == doctest::Approx(golden.number(name + ".f1")).epsilon(1e-12));
      CHECK(result.accuracy == doctest::Approx(golden.number(name + ".accuracy")).epsilon(1e-12));
      CHECK(result.of(Metric::f1) == result.f1);
      CHECK(result.of(Metric::accuracy) == result.accuracy);
    }
  }
  CHECK(ScoreSum(Predictions::classes, 3, 9).scores() == Scores{});
}

TEST_CASE(
    "ROC-AUC and F1 of yes and no are those of the definitions, with ties and entries without a label") {
  const GoldenLosses golden;
  for (const std::string& name : golden.cases("binary_scores")) {
    CAPTURE(name);
    const auto logits = golden.matrix(name + ".logits");
    const std::size_t columns = logits.view.columns;
    std::vector<std::uint8_t> labels;
    for (const float label : golden.values<float>(name + ".labels")) {
      labels.push_back(std::isnan(label) ? unlabelled : static_cast<std::uint8_t>(label));
    }
    for (const std::size_t batch_rows : {1U, 7U, 1000U}) {
      ScoreSum scores(Predictions::yes_or_no, static_cast<std::uint32_t>(columns), logits.view.rows);
      for (std::size_t first = 0; first < logits.view.rows; first += batch_rows) {
        const std::size_t count = std::min(batch_rows, logits.view.rows - first);
        const auto part = std::span(labels).subspan(first * columns, count * columns);
        const MatrixView rows = logits.view.row_range(first, count);
        LossSum sum;
        for (std::size_t i = 0; i < part.size(); ++i) {
          if (part[i] == unlabelled) continue;
          ++sum.labelled_count;
          sum.correct_count += (rows(i / columns, i % columns) > 0) == (part[i] == 1) ? 1 : 0;
        }
        scores.add(sum, rows, {.label_rows = part, .label_columns = static_cast<std::uint32_t>(columns)});
      }
      const Scores result = scores.scores();
      CHECK(result.f1 == doctest::Approx(golden.number(name + ".f1")).epsilon(1e-12));
      CHECK(result.accuracy == doctest::Approx(golden.number(name + ".accuracy")).epsilon(1e-12));
      REQUIRE(result.of(Metric::rocauc).has_value());
      CHECK(*result.rocauc == doctest::Approx(golden.number(name + ".rocauc")).epsilon(1e-12));
    }
  }
}

TEST_CASE("an area under the curve follows the order of scores alone, and needs both labels") {
  const auto area = [](std::vector<float> scores, const std::vector<std::uint8_t>& labels) {
    RocAuc sum(scores.size(), 1);
    sum.add(MatrixView(scores.data(), scores.size(), 1), labels);
    return sum.mean();
  };
  CHECK(area({1, 2, 3, 4}, {0, 0, 1, 1}) == 1.0);
  CHECK(area({1, 2, 3, 4}, {1, 1, 0, 0}) == 0.0);
  CHECK(area({5, 5, 5, 5}, {0, 1, 0, 1}) == 0.5);
  CHECK(area({-0.0F, 0.0F}, {0, 1}) == 0.5);
  CHECK(area({-3, -1, -2e30F, 7e30F}, {0, 1, 0, 1}) == 1.0);
  CHECK(area({1, 2, 2, 3}, {0, 0, 1, 1}) == 0.875);
  CHECK(area({1, 2, 9, 3}, {0, 1, unlabelled, 1}) == 1.0);
  CHECK(area({1, 2}, {1, 1}) == std::nullopt);
  CHECK(area({1, 2}, {0, unlabelled}) == std::nullopt);
  CHECK(area({}, {}) == std::nullopt);
}

TEST_CASE("metrics have names") {
  for (const Metric metric : all_metrics) CHECK(parse_metric(name_of(metric)) == metric);
  EXPECT_ERROR(parse_metric("f2"), Kind::config, "use accuracy, f1 or rocauc");
}
