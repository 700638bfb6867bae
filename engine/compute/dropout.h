// Dropout masks as a function of (seed, step, layer, node, column): the same on any backend, for any order
// of rows, in any batch. Nothing is stored; the way back reads the mask off relu's zeros, or makes it again.
#pragma once

#include <cstdint>
#include <span>

#include "storage/base/ids.h"
#include "storage/base/random.h"

namespace gneiss {

inline constexpr std::uint32_t dropout_column_factor = 0x9E3779B9U;

struct Dropout {
  float probability = 0;  // 0: no dropout; below 1
  std::uint64_t key = 0;  // mix_key(seed, step, layer)
  std::span<const NodeId> row_nodes{};

  bool is_active() const noexcept { return probability > 0; }
  float scale() const noexcept { return 1.0F / (1.0F - probability); }
  // An element is kept where its hash is no less than this.
  std::uint32_t threshold() const noexcept {
    return static_cast<std::uint32_t>(static_cast<double>(probability) * 4294967296.0);
  }
  std::uint32_t row_key(std::size_t row) const noexcept { return row_key_of(key, row_nodes[row]); }

  static constexpr std::uint32_t row_key_of(std::uint64_t key, NodeId node) noexcept {
    return static_cast<std::uint32_t>(mix64(key ^ to_index(node)));
  }
  static constexpr bool keeps(std::uint32_t row_key, std::uint32_t column, std::uint32_t threshold) noexcept {
    return hash32(row_key ^ (column * dropout_column_factor)) >= threshold;
  }
};

}  // namespace gneiss
