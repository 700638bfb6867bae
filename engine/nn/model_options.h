// What a model is made from.
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/compute/activation.h"

namespace gneiss {

// How a model makes one row of a node's neighbors.
enum class Aggregator : std::uint8_t { mean, max };
std::string_view name_of(Aggregator aggregator) noexcept;
Aggregator parse_aggregator(std::string_view name);  // throws Error(config)

// What is normalized between a layer's convolution and its activation.
enum class NormKind : std::uint8_t { none, batch, layer };
std::string_view name_of(NormKind kind) noexcept;
NormKind parse_norm(std::string_view name);  // throws Error(config)

inline constexpr std::uint32_t hidden_columns_max = 65536;

struct ModelOptions {
  std::uint32_t feature_columns = 0;
  std::uint32_t hidden_columns = 256;  // at most hidden_columns_max
  std::uint32_t class_count = 0;
  std::uint32_t layer_count = 2;  // equals the number of blocks, except for mlp
  Activation activation = Activation::relu;
  float dropout = 0.5F;
  std::uint32_t head_count = 4;              // gat: attention heads a layer; they share hidden_columns
  Aggregator aggregator = Aggregator::mean;  // sage
  bool residual = false;                     // adds each layer's input to its output
  NormKind norm = NormKind::none;
  std::uint64_t seed = 0;  // of the first parameters
};

}  // namespace gneiss
