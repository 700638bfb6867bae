#include "engine/train/scores.h"

#include <algorithm>

#include "storage/base/error.h"

namespace gneiss {
namespace {

// A batch's labels as [seeds, columns] of 0, 1 and `unlabelled`: its rows where it has them, else its
// classes, 0 and 1, as one column in `memory`.
std::span<const std::uint8_t> binary_labels(const BatchLabels& labels, std::vector<std::uint8_t>& memory) {
  if (labels.label_columns > 0) return labels.label_rows;
  memory.clear();
  for (const std::int32_t target : labels.targets) {
    GNEISS_ASSERT(target >= no_label && target <= 1);
    memory.push_back(target == no_label ? unlabelled : static_cast<std::uint8_t>(target));
  }
  return memory;
}

}  // namespace

Metric parse_metric(std::string_view name) {
  for (const Metric metric : all_metrics) {
    if (name == name_of(metric)) return metric;
  }
  fail(Kind::config, "there is no metric '{}'; use accuracy, f1 or rocauc", name);
}

std::string_view name_of(Metric metric) noexcept {
  switch (metric) {
    case Metric::accuracy:
      return "accuracy";
    case Metric::f1:
      return "f1";
    case Metric::rocauc:
      return "rocauc";
  }
  return "";
}

std::string_view title_of(Metric metric) noexcept {
  switch (metric) {
    case Metric::accuracy:
      return "accuracy";
    case Metric::f1:
      return "macro F1";
    case Metric::rocauc:
      return "ROC-AUC";
  }
  return "";
}

std::optional<double> Scores::of(Metric metric) const {
  switch (metric) {
    case Metric::accuracy:
      return accuracy;
    case Metric::f1:
      return f1;
    case Metric::rocauc:
      return rocauc;
  }
  return std::nullopt;
}

double ScoreSum::Counts::f1() const noexcept {
  return occurrences() == 0 ? 0 : 2 * static_cast<double>(right) / static_cast<double>(occurrences());
}

ScoreSum::Counts ScoreSum::Counts::negatives() const noexcept {
  return {.right = rows + right - occurrences(),
          .predicted = rows - predicted,
          .labelled = rows - labelled,
          .rows = rows};
}

ScoreSum::ScoreSum(Predictions kind, std::uint32_t columns, std::uint64_t rows_max)
    : kind_(kind), counts_(columns) {
  if (kind == Predictions::yes_or_no) roc_auc_.emplace(rows_max, columns);
}

std::uint64_t ScoreSum::bytes(Predictions kind, std::uint32_t columns, std::uint64_t rows_max) noexcept {
  return columns * sizeof(Counts) + (kind == Predictions::yes_or_no ? RocAuc::bytes(rows_max, columns) : 0);
}

void ScoreSum::clear() {
  sum_ = {};
  std::ranges::fill(counts_, Counts{});
  if (roc_auc_) roc_auc_->clear();
}

void ScoreSum::add(const LossSum& loss, ConstMatrixView logits, const BatchLabels& labels) {
  GNEISS_ASSERT(logits.columns == counts_.size());
  sum_.loss += loss.loss;
  sum_.weight += loss.weight;
  sum_.labelled_count += loss.labelled_count;
  sum_.correct_count += loss.correct_count;
  if (kind_ == Predictions::classes) return count_classes(logits, labels.targets);
  const auto entries = binary_labels(labels, labels_);
  count_positives(logits, entries);
  roc_auc_->add(logits, entries);
}

void ScoreSum::count_classes(ConstMatrixView logits, std::span<const std::int32_t> targets) {
  GNEISS_ASSERT(targets.size() == logits.rows);
  for (std::size_t r = 0; r < logits.rows; ++r) {
    if (targets[r] == no_label) continue;
    const auto target = static_cast<std::size_t>(targets[r]);
    const float* row = logits.row(r);
    const auto best = static_cast<std::size_t>(std::max_element(row, row + logits.columns) - row);
    ++counts_[best].predicted;
    ++counts_[target].labelled;
    if (best == target) ++counts_[best].right;
  }
}

void ScoreSum::count_positives(ConstMatrixView logits, std::span<const std::uint8_t> labels) {
  GNEISS_ASSERT(labels.size() == logits.rows * logits.columns);
  for (std::size_t r = 0; r < logits.rows; ++r) {
    const float* row = logits.row(r);
    for (std::size_t c = 0; c < logits.columns; ++c) {
      const std::uint8_t label = labels[r * logits.columns + c];
      if (label == unlabelled) continue;
      Counts& counts = counts_[c];
      const bool is_predicted = row[c] > 0;
      ++counts.rows;
      counts.predicted += is_predicted ? 1 : 0;
      counts.labelled += label;
      counts.right += is_predicted ? label : 0U;
    }
  }
}

double ScoreSum::macro_f1() const {
  std::vector<Counts> parts = counts_;
  const bool are_columns = kind_ == Predictions::yes_or_no && parts.size() > 1;
  if (kind_ == Predictions::yes_or_no && parts.size() == 1) parts.push_back(parts.front().negatives());
  double sum = 0;
  std::size_t count = 0;
  for (const Counts& part : parts) {
    sum += part.f1();
    count += are_columns || part.occurrences() > 0 ? 1 : 0;
  }
  return count == 0 ? 0 : sum / static_cast<double>(count);
}

Scores ScoreSum::scores() {
  Scores scores;
  scores.loss = sum_.mean();
  if (sum_.labelled_count > 0) {
    scores.accuracy = static_cast<double>(sum_.correct_count) / static_cast<double>(sum_.labelled_count);
  }
  scores.f1 = macro_f1();
  if (roc_auc_) scores.rocauc = roc_auc_->mean();
  return scores;
}

}  // namespace gneiss
