// Matrix products in each precision: of a step of sage, and a square one.
#include <algorithm>

#include "bench/gpu/measurements.h"

namespace gneiss::gpu {
namespace {

constexpr std::size_t class_count = 32;

struct Shape {
  std::string name;
  std::size_t rows = 0;
  std::size_t inputs = 0;
  std::size_t outputs = 0;
  bool is_ceiling = false;  // large and square: what the device can do
};

// A layer multiplies the aggregates and the rows of its destinations, side by side.
std::vector<Shape> shapes_of(const SampledBlocks& blocks, std::size_t columns, std::size_t square) {
  return {{"first layer", blocks.block(0).dst_count, 2 * columns, hidden_columns},
          {"second layer", blocks.block(1).dst_count, 2 * std::size_t{hidden_columns}, hidden_columns},
          {"last layer", blocks.block(2).dst_count, 2 * std::size_t{hidden_columns}, class_count},
          {"square", square, square, square, true}};
}

void measure(Rig& rig, const Shape& shape, std::vector<ProductRate>& rates) {
  Backend& backend = rig.backend();
  const Buffer x = rig.random_buffer(shape.rows * shape.inputs);
  const Buffer weight = rig.random_buffer(shape.outputs * shape.inputs);
  const Buffer z = rig.random_buffer(shape.rows * shape.outputs);
  const MatrixView xs = x.matrix(shape.rows, shape.inputs);
  const MatrixView ws = weight.matrix(shape.outputs, shape.inputs);
  const MatrixView zs = z.matrix(shape.rows, shape.outputs);
  const auto add = [&](const char* side, const std::function<void()>& work) {
    rates.push_back(
        {shape.name, side, backend.precision(), shape.rows, shape.inputs, shape.outputs, rig.seconds(work)});
  };
  add("forward", [&] { backend.linear(xs, ws, {}, zs); });
  if (shape.is_ceiling) return;
  const Buffer scratch =
      backend.allocate(backend.weight_gradient_scratch(shape.rows, shape.outputs, shape.inputs));
  add("input gradient", [&] { backend.linear_input_gradient(zs, ws, xs); });
  add("weight gradient", [&] { backend.linear_weight_gradient(xs, zs, ws, {}, scratch.span()); });
}

}  // namespace

std::vector<ProductRate> product_rates(Precision precision, const SampledBlocks& blocks,
                                       std::uint32_t columns, std::size_t square, const Effort& effort) {
  const std::vector<Shape> shapes = shapes_of(blocks, columns, square);
  RigMemory memory;
  for (const Shape& shape : shapes) {
    memory.product_columns = std::max({memory.product_columns, shape.inputs, shape.outputs});
    // Scratch is 64 weights at most, or 1,024 biases.
    const std::size_t scratch = shape.is_ceiling ? 0 : shape.outputs * (64 * (shape.inputs + 1) + 1024);
    const std::size_t elements =
        shape.rows * (shape.inputs + shape.outputs) + shape.inputs * shape.outputs + scratch;
    memory.buffer_bytes = std::max<std::uint64_t>(memory.buffer_bytes, elements * sizeof(float));
  }
  Rig rig(precision, memory, effort);
  std::vector<ProductRate> rates;
  for (const Shape& shape : shapes) measure(rig, shape, rates);
  return rates;
}

}  // namespace gneiss::gpu
