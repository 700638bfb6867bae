// A matrix inside a wider one, for operators must keep to their columns; and the widths that tests go
// through.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/compute/activation.h"
#include "engine/compute/matrix_view.h"
#include "storage/base/ids.h"
#include "storage/base/random.h"

namespace gneiss::test {

inline constexpr float untouched = 12345.0F;

struct Framed {
  std::vector<float> memory;
  MatrixView view;

  Framed(std::size_t rows, std::size_t columns, std::size_t margin = 3)
      : memory(rows * (columns + margin) + 1, untouched),
        view(memory.data(), rows, columns, columns + margin) {}
  bool frame_is_untouched() const {
    const std::size_t margin = view.stride - view.columns;
    for (std::size_t r = 0; r < view.rows; ++r) {
      const float* end = view.row(r) + view.columns;
      if (!std::all_of(end, end + margin, [](float x) { return x == untouched; })) return false;
    }
    return memory.back() == untouched;
  }
};

inline Framed random_matrix(std::uint64_t seed, std::size_t rows, std::size_t columns,
                            std::size_t margin = 3) {
  Framed framed(rows, columns, margin);
  RandomStream draws(mix_key(seed));
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) framed.view(r, c) = static_cast<float>(draws.normal());
  }
  return framed;
}

inline std::vector<NodeId> nodes_from(std::uint32_t first, std::size_t count) {
  std::vector<NodeId> nodes;
  for (std::size_t i = 0; i < count; ++i) nodes.push_back(NodeId{first + static_cast<std::uint32_t>(i) * 7});
  return nodes;
}

// Widths of matrices, and what lies between their rows: kernels have ways of their own for rows that begin at
// multiples of 4 or 2 elements, for tails, and for rows of many vectors.
struct Width {
  std::uint32_t columns;
  std::size_t margin;
};
inline const std::vector<Width> widths{{1, 3},   {2, 2},   {3, 1},   {7, 3},    {15, 3},   {16, 3},
                                       {16, 4},  {17, 3},  {30, 2},  {31, 3},   {64, 4},   {100, 3},
                                       {128, 4}, {129, 3}, {300, 4}, {1433, 3}, {2048, 2}, {2048, 4}};

inline constexpr std::array activations{Activation::none, Activation::relu, Activation::leaky_relu,
                                        Activation::elu, Activation::tanh};

struct ProductShape {
  std::size_t n, k, m;
};
// Odd sums, tails of every kind, several panels, pieces and blocks of pairs.
inline const std::vector<ProductShape> product_shapes{
    {16, 1, 1},     {17, 2, 3},     {31, 33, 31},  {257, 64, 32},  {300, 31, 33},
    {256, 256, 48}, {1025, 20, 47}, {90, 515, 70}, {5000, 130, 9}, {100, 300, 130}};

}  // namespace gneiss::test
