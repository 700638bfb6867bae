// How good predictions are: accuracy and macro F1 over all labelled seeds of an epoch or a split.
//
// Source:  F1 as scikit-learn's f1_score(average="macro"): the mean, over the classes that occur in labels or
//          predictions, of 2 * right / (predicted + labelled).
// Threads: one thread adds; sums are of integers, so that they depend on no order.
// Memory:  24 bytes a class.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/compute/backend.h"
#include "engine/compute/batch_view.h"

namespace gneiss {

// What decides which epoch is the best.
enum class Metric : std::uint8_t { accuracy, f1 };
inline constexpr std::array all_metrics{Metric::accuracy, Metric::f1};

Metric parse_metric(std::string_view name);         // accuracy | f1; throws Error(config)
std::string_view name_of(Metric metric) noexcept;   // as in options, JSON and files
std::string_view title_of(Metric metric) noexcept;  // as printed: "macro F1"

struct Scores {
  double loss = 0;  // the mean, weighted as the loss is
  double accuracy = 0;
  double f1 = 0;  // macro

  std::optional<double> of(Metric metric) const;  // none: not defined for these labels
  bool operator==(const Scores&) const = default;
};

class ScoreSum {
 public:
  explicit ScoreSum(std::uint32_t class_count) : classes_(class_count) {}

  void clear();
  // Adds a batch: its logits, in host memory, and what the loss said of them.
  void add(const LossSum& loss, ConstMatrixView logits, const BatchView& batch);
  Scores scores() const;

 private:
  struct Counts {
    std::uint64_t right = 0;
    std::uint64_t predicted = 0;
    std::uint64_t labelled = 0;
  };

  double macro_f1() const;

  LossSum sum_;
  std::vector<Counts> classes_;
};

}  // namespace gneiss
