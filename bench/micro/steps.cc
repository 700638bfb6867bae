// One training step of SAGE, 2 hops of 10, 1,000 seeds, hidden 128, 32 classes: against the time that its
// gathers and its products would take at their ceilings. Whole steps of all models against PyTorch:
// bench/training_step.py.
#include <algorithm>

#include "bench/micro/ceilings.h"
#include "bench/micro/random_batch.h"
#include "bench/micro/setup.h"
#include "engine/nn/cross_entropy.h"
#include "engine/nn/model.h"
#include "engine/nn/optimizer.h"

namespace gneiss::micro {
namespace {

void step(benchmark::State& state, Dtype dtype) {
  const auto columns = static_cast<std::uint32_t>(state.range(0));
  const RandomBatch batch(1000, 10, columns, dtype);
  const BlockView& first = batch.view().blocks[0];
  const double gather = gather_ceiling(batch.view().input, first.indices);
  const ModelOptions options{
      .feature_columns = columns, .hidden_columns = 128, .class_count = 32, .layer_count = 2};
  const auto model = make_model("sage", backend(), options, batch.maxima());
  CrossEntropy loss(backend(), 1000, 32);
  Optimizer optimizer(model->parameters(), {});
  double best[4] = {1e9, 1e9, 1e9, 1e9};  // forward, loss, backward, optimizer
  double whole = 1e9;
  std::uint64_t number = 0;
  for (auto _ : state) {
    const Timer all;
    Timer watch;
    const auto logits = model->forward(batch.view(), {.is_training = true, .seed = 1, .step = number++});
    best[0] = std::min(best[0], watch.restart());
    loss.evaluate_with_gradient(logits, batch.view());
    best[1] = std::min(best[1], watch.restart());
    model->backward(batch.view(), loss.gradient());
    best[2] = std::min(best[2], watch.restart());
    optimizer.step();
    best[3] = std::min(best[3], watch.restart());
    whole = std::min(whole, all.seconds());
  }
  const double first_flop = 2.0 * first.dst_count * (2.0 * columns) * 128;
  const double second_flop = 2.0 * 1000 * 256 * 32;
  const double flop = 2 * first_flop + 3 * second_flop;
  const double rows = static_cast<double>(first.edge_count()) + first.dst_count;
  const double bytes = rows * static_cast<double>(batch.view().input.row_bytes());
  const double floor = flop / product_ceiling() + bytes / gather;
  state.counters["ms"] = whole * 1e3;
  state.counters["floor_ms"] = floor * 1e3;
  state.counters["share"] = floor / whole;
  state.counters["forward_ms"] = best[0] * 1e3;
  state.counters["loss_ms"] = best[1] * 1e3;
  state.counters["backward_ms"] = best[2] * 1e3;
  state.counters["adam_ms"] = best[3] * 1e3;
}
BENCHMARK_CAPTURE(step, f32, Dtype::f32)->Arg(128)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(step, bf16, Dtype::bf16)->Arg(128)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace gneiss::micro
