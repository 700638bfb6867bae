// What follows a hidden layer, element by element.
//
// Why:    layers keep what came out, not what went in: of each of these the slope follows from that alone.
#pragma once

#include <cstdint>
#include <string_view>

namespace gneiss {

enum class Activation : std::uint8_t {
  none,
  relu,
  leaky_relu,  // x below 0: leaky_relu_slope * x
  elu,         // x below 0: exp(x) - 1
  tanh,
};
inline constexpr float leaky_relu_slope = 0.01F;  // PyTorch's default

std::string_view name_of(Activation activation) noexcept;
Activation parse_activation(std::string_view name);  // throws Error(config)

}  // namespace gneiss
