// How good predictions are: accuracy, macro F1 and ROC-AUC over all labels of an epoch or a split.
//
// Source:  F1 as scikit-learn's f1_score(average="macro"): 2 * right / (predicted + labelled), on average
//          over the classes that occur in labels or predictions, or over the columns of yes and no, of
//          whose positives it is (0 where there are none in both). One column of yes and no counts as two
//          classes.
// Threads: one thread adds; sums are of integers, so that they depend on no order.
// Memory:  32 bytes a class or column, and what RocAuc takes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/compute/backend.h"
#include "engine/compute/batch_view.h"
#include "engine/train/roc_auc.h"

namespace gneiss {

// What decides which epoch is the best.
enum class Metric : std::uint8_t { accuracy, f1, rocauc };
inline constexpr std::array all_metrics{Metric::accuracy, Metric::f1, Metric::rocauc};

Metric parse_metric(std::string_view name);         // accuracy | f1 | rocauc; throws Error(config)
std::string_view name_of(Metric metric) noexcept;   // as in options, JSON and files
std::string_view title_of(Metric metric) noexcept;  // as printed: "macro F1"

struct Scores {
  double loss = 0;               // the mean, weighted as the loss is
  double accuracy = 0;           // share of rows, or of entries of yes and no
  double f1 = 0;                 // macro
  std::optional<double> rocauc;  // of yes and no, where a column has both

  std::optional<double> of(Metric metric) const;  // none: not defined for these labels
  bool operator==(const Scores&) const = default;
};

// What kind of predictions the columns of logits are.
enum class Predictions : std::uint8_t { classes, yes_or_no };

class ScoreSum {
 public:
  //   rows_max  of any epoch or split: all scores of yes and no are kept until clear()
  ScoreSum(Predictions kind, std::uint32_t columns, std::uint64_t rows_max);
  static std::uint64_t bytes(Predictions kind, std::uint32_t columns, std::uint64_t rows_max) noexcept;

  void clear();
  // Adds a batch: its logits and labels, in host memory, and what the loss said of them.
  void add(const LossSum& loss, ConstMatrixView logits, const BatchLabels& labels);
  Scores scores();

 private:
  // Of a class, or of the positives of a column.
  struct Counts {
    std::uint64_t right = 0;
    std::uint64_t predicted = 0;
    std::uint64_t labelled = 0;
    std::uint64_t rows = 0;  // of a column: entries with a label

    std::uint64_t occurrences() const noexcept { return predicted + labelled; }
    double f1() const noexcept;         // 0 where nothing occurs
    Counts negatives() const noexcept;  // the same, of the column's negatives
  };

  void count_classes(ConstMatrixView logits, std::span<const std::int32_t> targets);
  void count_positives(ConstMatrixView logits, std::span<const std::uint8_t> labels);
  double macro_f1() const;

  Predictions kind_;
  LossSum sum_;
  std::vector<Counts> counts_;
  std::optional<RocAuc> roc_auc_;
  std::vector<std::uint8_t> labels_;  // of a batch, where they come as classes
};

}  // namespace gneiss
