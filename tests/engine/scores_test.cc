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
      ScoreSum scores(static_cast<std::uint32_t>(logits.view.columns));
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
  CHECK(ScoreSum(3).scores() == Scores{});
}

TEST_CASE("metrics have names") {
  for (const Metric metric : all_metrics) CHECK(parse_metric(name_of(metric)) == metric);
  EXPECT_ERROR(parse_metric("f2"), Kind::config, "use accuracy or f1");
}
