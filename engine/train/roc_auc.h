// The area under the ROC curve of each column, and the mean over the columns that have one.
//
// Why:     it is a statement about the order of all scores of a split, so that all of them are kept until
//          its end.
// Source:  OGB's Evaluator for ogbn-proteins: the mean, over the columns with at least one positive and one
//          negative, of scikit-learn's roc_auc_score over the labelled rows; equal scores share their ranks'
//          mean (Mann and Whitney's U with ties).
// Memory:  taken at construction: bytes().
// Threads: one thread; counts are integers, so that the area depends on no order.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/compute/matrix_view.h"

namespace gneiss {

class RocAuc {
 public:
  RocAuc(std::uint64_t rows_max, std::uint32_t columns);
  static std::uint64_t bytes(std::uint64_t rows_max, std::uint32_t columns) noexcept;

  void clear() noexcept;
  // Takes a batch's logits [n, columns], in host memory, and its labels: 0, 1 or `unlabelled` each.
  void add(ConstMatrixView logits, std::span<const std::uint8_t> labels);
  // None where no column has both a positive and a negative.
  std::optional<double> mean();

 private:
  std::optional<double> area(std::uint32_t column);

  std::uint32_t columns_;
  std::vector<float> scores_;         // [rows, columns]
  std::vector<std::uint8_t> labels_;  // [rows, columns]
  std::vector<std::uint64_t> sorted_;
};

}  // namespace gneiss
