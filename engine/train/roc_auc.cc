#include "engine/train/roc_auc.h"

#include <algorithm>
#include <bit>

#include "storage/base/error.h"
#include "storage/format/node_labels.h"

namespace gneiss {
namespace {

// A number of 32 bits that grows with the score; -0 and 0 are equal, as floats have it.
std::uint32_t ascending_key(float score) {
  const auto bits = std::bit_cast<std::uint32_t>(score == 0 ? 0.0F : score);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
}

}  // namespace

RocAuc::RocAuc(std::uint64_t rows_max, std::uint32_t columns) : columns_(columns) {
  scores_.reserve(rows_max * columns);
  labels_.reserve(rows_max * columns);
  sorted_.reserve(rows_max);
}

std::uint64_t RocAuc::bytes(std::uint64_t rows_max, std::uint32_t columns) noexcept {
  return rows_max * (columns * (sizeof(float) + sizeof(std::uint8_t)) + sizeof(std::uint64_t));
}

void RocAuc::clear() noexcept {
  scores_.clear();
  labels_.clear();
}

void RocAuc::add(ConstMatrixView logits, std::span<const std::uint8_t> labels) {
  GNEISS_ASSERT(logits.columns == columns_ && labels.size() == logits.rows * columns_);
  for (std::size_t r = 0; r < logits.rows; ++r) {
    scores_.insert(scores_.end(), logits.row(r), logits.row(r) + columns_);
  }
  labels_.insert(labels_.end(), labels.begin(), labels.end());
}

std::optional<double> RocAuc::area(std::uint32_t column) {
  sorted_.clear();
  for (std::size_t i = column; i < labels_.size(); i += columns_) {
    if (labels_[i] != unlabelled)
      sorted_.push_back(std::uint64_t{ascending_key(scores_[i])} << 1 | labels_[i]);
  }
  std::ranges::sort(sorted_);
  // Pairs of a positive and a negative, twice: 2 where the positive's score is higher, 1 where both are
  // equal.
  std::uint64_t won = 0;
  std::uint64_t positives = 0;
  std::uint64_t negatives = 0;
  for (std::size_t first = 0; first < sorted_.size();) {
    std::uint64_t tied_positives = 0;
    std::size_t end = first;
    for (; end < sorted_.size() && sorted_[end] >> 1 == sorted_[first] >> 1; ++end)
      tied_positives += sorted_[end] & 1;
    const std::uint64_t tied_negatives = end - first - tied_positives;
    won += tied_positives * (2 * negatives + tied_negatives);
    positives += tied_positives;
    negatives += tied_negatives;
    first = end;
  }
  if (positives == 0 || negatives == 0) return std::nullopt;
  return static_cast<double>(won) / (2 * static_cast<double>(positives) * static_cast<double>(negatives));
}

std::optional<double> RocAuc::mean() {
  double sum = 0;
  std::uint32_t count = 0;
  for (std::uint32_t column = 0; column < columns_; ++column) {
    if (const auto one = area(column)) {
      sum += *one;
      ++count;
    }
  }
  if (count == 0) return std::nullopt;
  return sum / count;
}

}  // namespace gneiss
