// What is done element by element, against a plain copy: bytes read and written, over the copy's.
#include <algorithm>
#include <functional>

#include "bench/micro/ceilings.h"
#include "bench/micro/setup.h"
#include "engine/compute/normalization.h"

namespace gneiss::micro {
namespace {

constexpr std::size_t rows = 100'000;
constexpr std::size_t columns = 256;
constexpr double matrix_bytes = static_cast<double>(rows * columns * sizeof(float));

struct Matrices {
  std::vector<float> a = random_values(rows * columns);
  std::vector<float> b = random_values(rows * columns);
  std::vector<float> row = random_values(columns);
  std::vector<float> other_row = random_values(columns);
  std::vector<float> of_rows = random_values(rows);
  std::vector<float> scratch = std::vector<float>(backend().weight_gradient_scratch(rows, columns, 1));
  std::vector<NodeId> nodes = std::vector<NodeId>(rows, NodeId{7});

  Matrices() {
    for (float& value : row) value += 1;  // variances
  }
  MatrixView first() { return {a.data(), rows, columns}; }
  MatrixView second() { return {b.data(), rows, columns}; }
};

// `matrices_moved`: how many of [rows, columns] are read or written.
void element(benchmark::State& state, double matrices_moved, void (*work)(Matrices&)) {
  Matrices matrices;
  double best = 1e9;
  for (auto _ : state) {
    const Timer watch;
    work(matrices);
    best = std::min(best, watch.seconds());
  }
  report_bytes(state, matrices_moved * matrix_bytes, best, copy_ceiling());
}

void bias_relu(Matrices& m) {
  backend().apply_epilogue({.bias = m.other_row, .activation = Activation::relu}, m.first());
}
void bias_relu_dropout(Matrices& m) {
  backend().apply_epilogue(
      {.bias = m.other_row, .activation = Activation::relu, .dropout = {0.5F, 3, m.nodes}}, m.first());
}
void relu_gradient(Matrices& m) {
  backend().epilogue_gradient(m.first(), {.activation = Activation::relu}, m.second());
}
void dropout_gradient(Matrices& m) {
  backend().epilogue_gradient(m.first(), {.dropout = {0.5F, 3, m.nodes}}, m.second());
}
void add(Matrices& m) { backend().add(m.first(), m.second()); }
void moments(Matrices& m) { backend().norms().column_moments(m.first(), m.row, m.other_row, m.scratch); }
void batch_norm(Matrices& m) {
  backend().norms().batch_norm(m.other_row, m.row, {m.row, m.other_row}, m.first(), m.second());
}
void batch_norm_gradient(Matrices& m) {
  std::vector<float> weight(columns);
  std::vector<float> bias(columns);
  backend().norms().batch_norm_gradient(m.first(), m.row, {m.row, m.other_row}, m.second(), weight, bias,
                                        m.scratch);
}
void layer_norm(Matrices& m) {
  backend().norms().layer_norm({m.row, m.other_row}, m.first(), m.second(), m.of_rows);
}
void layer_norm_gradient(Matrices& m) {
  std::vector<float> weight(columns);
  std::vector<float> bias(columns);
  backend().norms().layer_norm_gradient(m.first(), m.of_rows, {m.row, m.other_row}, m.second(), weight, bias,
                                        m.scratch);
}
BENCHMARK_CAPTURE(element, epilogue_bias_relu, 2, bias_relu);
BENCHMARK_CAPTURE(element, epilogue_bias_relu_dropout, 2, bias_relu_dropout);
BENCHMARK_CAPTURE(element, epilogue_gradient_relu, 3, relu_gradient);
BENCHMARK_CAPTURE(element, epilogue_gradient_dropout, 3, dropout_gradient);
BENCHMARK_CAPTURE(element, add, 3, add);
BENCHMARK_CAPTURE(element, column_moments, 2, moments);
BENCHMARK_CAPTURE(element, batch_norm, 3, batch_norm);
BENCHMARK_CAPTURE(element, batch_norm_gradient, 5, batch_norm_gradient);
BENCHMARK_CAPTURE(element, layer_norm, 3, layer_norm);
BENCHMARK_CAPTURE(element, layer_norm_gradient, 5, layer_norm_gradient);

// Few bytes a step: what counts is that they stay far below the products.
void cross_entropy(benchmark::State& state) {
  constexpr std::size_t seeds = 1024;
  const auto classes = static_cast<std::size_t>(state.range(0));
  const std::vector<float> logits = random_values(seeds * classes);
  std::vector<float> gradient(logits.size());
  std::vector<std::int32_t> targets(seeds);
  for (std::size_t i = 0; i < seeds; ++i) targets[i] = static_cast<std::int32_t>(i % classes);
  LossSum sum;
  double best = 1e9;
  for (auto _ : state) {
    const Timer watch;
    backend().cross_entropy({logits.data(), seeds, classes}, targets, {}, {gradient.data(), seeds, classes},
                            sum);
    best = std::min(best, watch.seconds());
  }
  report_bytes(state, 2.0 * static_cast<double>(logits.size() * sizeof(float)), best, copy_ceiling());
}
BENCHMARK(cross_entropy)->Arg(32)->Arg(172);

void binary_cross_entropy(benchmark::State& state) {
  constexpr std::size_t seeds = 1024;
  const auto classes = static_cast<std::size_t>(state.range(0));
  const std::vector<float> logits = random_values(seeds * classes);
  std::vector<float> gradient(logits.size());
  const std::vector<std::uint8_t> labels(logits.size(), 1);
  LossSum sum;
  double best = 1e9;
  for (auto _ : state) {
    const Timer watch;
    backend().binary_cross_entropy({logits.data(), seeds, classes}, {.entries = labels},
                                   {gradient.data(), seeds, classes}, sum);
    best = std::min(best, watch.seconds());
  }
  report_bytes(state, 2.0 * static_cast<double>(logits.size() * sizeof(float)), best, copy_ceiling());
}
BENCHMARK(binary_cross_entropy)->Arg(112);

void optimizer(benchmark::State& state, bool clips) {
  const auto count = static_cast<std::size_t>(state.range(0));
  std::vector<float> values = random_values(count);
  std::vector<float> gradients = random_values(count);
  std::vector<float> first(count);
  std::vector<float> second(count);
  double norm = 0;
  double best = 1e9;
  for (auto _ : state) {
    const Timer watch;
    if (clips) {
      backend().clip_norm(gradients, 1e-3, norm);
    } else {
      backend().adam({.learning_rate = 1e-3F, .beta1 = 0.9F, .beta2 = 0.999F, .epsilon = 1e-8F, .step = 3},
                     values, gradients, first, second);
    }
    best = std::min(best, watch.seconds());
  }
  // Read and written: three of Adam's four; clipping reads once more.
  report_bytes(state, (clips ? 3.0 : 7.0) * static_cast<double>(count * sizeof(float)), best, copy_ceiling());
}
BENCHMARK_CAPTURE(optimizer, adam, false)->Arg(10'000'000);
BENCHMARK_CAPTURE(optimizer, clip_norm, true)->Arg(10'000'000);

}  // namespace
}  // namespace gneiss::micro
