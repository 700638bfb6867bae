// How wide each layer of a stack is: features in, hidden between, classes out.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/nn/model_options.h"

namespace gneiss {

inline std::size_t in_columns(const ModelOptions& options, std::uint32_t layer) noexcept {
  return layer == 0 ? options.feature_columns : options.hidden_columns;
}
inline std::size_t out_columns(const ModelOptions& options, std::uint32_t layer) noexcept {
  return layer + 1 == options.layer_count ? options.class_count : options.hidden_columns;
}

}  // namespace gneiss
