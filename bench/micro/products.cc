// Matrix products, packing included, against a large square one in f32.
#include <algorithm>

#include "bench/micro/ceilings.h"
#include "bench/micro/setup.h"
#include "engine/compute/cpu/bf16_kernels.h"
#include "engine/compute/cpu/cpu_backend.h"

namespace gneiss::micro {
namespace {

enum class Side : std::uint8_t { forward, weight_gradient, input_gradient };

// Rows, inputs and outputs of a layer.
void product(benchmark::State& state, Side side, Precision precision) {
  if (precision == Precision::bf16 && !cpu::has_bf16_products()) {
    state.SkipWithError("this processor has no AVX512_BF16");
    return;
  }
  const auto one = make_cpu_backend(pool(), precision);
  const auto n = static_cast<std::size_t>(state.range(0));
  const auto k = static_cast<std::size_t>(state.range(1));
  const auto m = static_cast<std::size_t>(state.range(2));
  std::vector<float> x = random_values(n * k);
  std::vector<float> weight = random_values(m * k);
  std::vector<float> z = random_values(n * m);
  std::vector<float> bias(m);
  std::vector<float> scratch(one->weight_gradient_scratch(n, m, k));
  const MatrixView xs(x.data(), n, k);
  const MatrixView ws(weight.data(), m, k);
  const MatrixView zs(z.data(), n, m);
  double best = 1e9;
  for (auto _ : state) {
    const Timer watch;
    if (side == Side::forward) one->linear(xs, ws, {.bias = bias, .activation = Activation::relu}, zs);
    if (side == Side::weight_gradient) one->linear_weight_gradient(xs, zs, ws, bias, scratch);
    if (side == Side::input_gradient) one->linear_input_gradient(zs, ws, xs);
    best = std::min(best, watch.seconds());
  }
  report_product(state, 2.0 * static_cast<double>(n * k * m), best);
}

// Layers of sage, gcn and one head of gat, of 3 hops of 10 at batch 1,024 and of smaller steps.
void shapes(benchmark::internal::Benchmark* all) {
  all->Args({100000, 256, 256})
      ->Args({100000, 128, 256})
      ->Args({100000, 128, 64})
      ->Args({11000, 512, 256})
      ->Args({11000, 256, 128})
      ->Args({1000, 512, 32});
}
BENCHMARK_CAPTURE(product, forward, Side::forward, Precision::f32)->Apply(shapes);
BENCHMARK_CAPTURE(product, weight_gradient, Side::weight_gradient, Precision::f32)->Apply(shapes);
BENCHMARK_CAPTURE(product, input_gradient, Side::input_gradient, Precision::f32)->Apply(shapes);
BENCHMARK_CAPTURE(product, forward_bf16, Side::forward, Precision::bf16)->Apply(shapes);
BENCHMARK_CAPTURE(product, weight_gradient_bf16, Side::weight_gradient, Precision::bf16)->Apply(shapes);
BENCHMARK_CAPTURE(product, input_gradient_bf16, Side::input_gradient, Precision::bf16)->Apply(shapes);

}  // namespace
}  // namespace gneiss::micro
