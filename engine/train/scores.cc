#include "engine/train/scores.h"

#include <algorithm>

#include "storage/base/error.h"

namespace gneiss {

Metric parse_metric(std::string_view name) {
  for (const Metric metric : all_metrics) {
    if (name == name_of(metric)) return metric;
  }
  fail(Kind::config, "there is no metric '{}'; use accuracy or f1", name);
}

std::string_view name_of(Metric metric) noexcept {
  switch (metric) {
    case Metric::accuracy:
      return "accuracy";
    case Metric::f1:
      return "f1";
  }
  return "";
}

std::string_view title_of(Metric metric) noexcept {
  switch (metric) {
    case Metric::accuracy:
      return "accuracy";
    case Metric::f1:
      return "macro F1";
  }
  return "";
}

std::optional<double> Scores::of(Metric metric) const {
  switch (metric) {
    case Metric::accuracy:
      return accuracy;
    case Metric::f1:
      return f1;
  }
  return std::nullopt;
}

void ScoreSum::clear() {
  sum_ = {};
  std::ranges::fill(classes_, Counts{});
}

void ScoreSum::add(const LossSum& loss, ConstMatrixView logits, const BatchView& batch) {
  GNEISS_ASSERT(logits.columns == classes_.size() && batch.targets.size() == logits.rows);
  sum_.loss += loss.loss;
  sum_.weight += loss.weight;
  sum_.labelled_count += loss.labelled_count;
  sum_.correct_count += loss.correct_count;
  for (std::size_t r = 0; r < logits.rows; ++r) {
    const std::int32_t target = batch.targets[r];
    if (target == no_label) continue;
    const float* row = logits.row(r);
    const auto best = static_cast<std::size_t>(std::max_element(row, row + logits.columns) - row);
    ++classes_[best].predicted;
    ++classes_[static_cast<std::size_t>(target)].labelled;
    if (best == static_cast<std::size_t>(target)) ++classes_[best].right;
  }
}

double ScoreSum::macro_f1() const {
  double sum = 0;
  std::size_t count = 0;
  for (const Counts& counts : classes_) {
    const std::uint64_t occurrences = counts.predicted + counts.labelled;
    if (occurrences == 0) continue;
    sum += 2 * static_cast<double>(counts.right) / static_cast<double>(occurrences);
    ++count;
  }
  return count == 0 ? 0 : sum / static_cast<double>(count);
}

Scores ScoreSum::scores() const {
  Scores scores;
  scores.loss = sum_.mean();
  if (sum_.labelled_count > 0) {
    scores.accuracy = static_cast<double>(sum_.correct_count) / static_cast<double>(sum_.labelled_count);
  }
  scores.f1 = macro_f1();
  return scores;
}

}  // namespace gneiss
