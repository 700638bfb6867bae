// What is measured: operators by the bytes that they move, products by their operations.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/gpu/rig.h"
#include "bench/gpu/sampled_blocks.h"

namespace gneiss::gpu {

struct OperatorRate {
  std::string name;
  double seconds = 0;
  // Asked for: a row for each edge, which is what moves where rows are many. At least: each row once, for
  // some of what is asked for again lies in the device's cache.
  double bytes_asked = 0;
  double bytes_least = 0;
};

struct ProductRate {
  std::string shape;  // "first layer"
  std::string side;   // forward, weight gradient or input gradient
  Precision precision = Precision::f32;
  std::size_t rows = 0;
  std::size_t inputs = 0;
  std::size_t outputs = 0;
  double seconds = 0;

  double operations() const noexcept {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(inputs) * static_cast<double>(outputs);
  }
};

inline constexpr std::uint32_t hidden_columns = 256;  // of the second layer's input
inline constexpr std::size_t head_count = 4;

// Of what aggregate_rates() and attention_rates() run on.
RigMemory operator_memory(const SampledBlocks& blocks, const BlockShape& shape, std::uint32_t columns);

// Gathers, sums over neighbors and the largest of them, and their ways back.
//   batch  the blocks, on the device
std::vector<OperatorRate> aggregate_rates(Rig& rig, const BatchView& batch);
std::vector<OperatorRate> attention_rates(Rig& rig, const BatchView& batch);

// The products of a step of sage over these blocks, and a square one.
std::vector<ProductRate> product_rates(Precision precision, const SampledBlocks& blocks,
                                       std::uint32_t columns, std::size_t square, const Effort& effort);

}  // namespace gneiss::gpu
