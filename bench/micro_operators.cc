// The operators of the CPU backend against this machine's ceilings, measured in the same run:
// aggregation against a plain gather of the same rows, products against a large square product, and a whole
// training step against the time its products and its gathers would take at those ceilings.
//
//   build/release/bench_operators            (--benchmark_filter=step for one of them)
//   GNEISS_BENCH_THREADS=N                   threads; by default every core there is
//   GNEISS_BENCH_CLOCK=cpu                   processor time instead of wall time, for a machine that is
//   shared
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/compute/batch_view.h"
#include "engine/compute/cpu/cpu_backend.h"
#include "engine/compute/cpu/kernels.h"
#include "engine/nn/cross_entropy.h"
#include "engine/nn/model.h"
#include "engine/nn/optimizer.h"
#include "storage/base/aligned_buffer.h"
#include "storage/base/dtype.h"
#include "storage/base/parallel.h"
#include "storage/base/random.h"

namespace gneiss {
namespace {

ThreadPool& pool() {
  static ThreadPool instance([] {
    const char* text = std::getenv("GNEISS_BENCH_THREADS");
    return text == nullptr ? available_cores() : static_cast<std::size_t>(std::max(1, std::atoi(text)));
  }());
  return instance;
}

Backend& backend() {
  static const std::unique_ptr<Backend> instance = make_cpu_backend(pool());
  return *instance;
}

// Wall time; with GNEISS_BENCH_CLOCK=cpu the processor time of all threads, shared evenly among them, which
// other programs on the same cores do not lengthen as much.
class Timer {
 public:
  double restart() {
    const double last = start_;
    start_ = now();
    return start_ - last;
  }
  double seconds() const { return now() - start_; }

 private:
  static double now() {
    static const char* const clock = std::getenv("GNEISS_BENCH_CLOCK");
    static const bool is_cpu = clock != nullptr && std::strcmp(clock, "cpu") == 0;
    timespec time{};
    clock_gettime(is_cpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    const double seconds = static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
    return is_cpu ? seconds / static_cast<double>(pool().thread_count()) : seconds;
  }
  double start_ = now();
};

// The shortest of several runs: other programs only ever make it longer.
double best_seconds(int runs, const std::function<void()>& work) {
  double best = 1e9;
  for (int i = 0; i < runs; ++i) {
    const Timer watch;
    work();
    best = std::min(best, watch.seconds());
  }
  return best;
}

std::vector<float> random_values(std::size_t count) {
  std::vector<float> values(count);
  RandomStream draws(mix_key(count));
  for (float& value : values) value = static_cast<float>(draws.uniform() - 0.5);
  return values;
}

// A batch of two hops over a graph so large that neighbors seldom coincide: half of its input rows lie in
// a cache behind slots, half in a dense buffer, as a run with a CPU tier has them.
struct Batch {
  Batch(std::uint32_t seeds, std::uint32_t fanout, std::uint32_t columns, Dtype dtype) {
    constexpr std::uint32_t node_count = 1'000'000;
    RandomStream draws(mix_key(seeds, fanout));
    std::vector<std::uint32_t> nodes;
    std::unordered_map<std::uint32_t, std::uint32_t> local;
    const auto add = [&](std::uint64_t node) {
      const auto [entry, is_new] =
          local.try_emplace(static_cast<std::uint32_t>(node), static_cast<std::uint32_t>(nodes.size()));
      if (is_new) nodes.push_back(static_cast<std::uint32_t>(node));
      return entry->second;
    };
    while (nodes.size() < seeds) add(draws.below(node_count));
    for (std::size_t b = 2; b-- > 0;) {
      BlockView& block = blocks[b];
      block.dst_count = static_cast<std::uint32_t>(nodes.size());
      indptr[b].push_back(0);
      for (std::uint32_t dst = 0; dst < block.dst_count; ++dst) {
        for (std::uint32_t e = 0; e < fanout; ++e) indices[b].push_back(add(draws.below(node_count)));
        indptr[b].push_back(static_cast<std::uint32_t>(indices[b].size()));
      }
      block.src_count = static_cast<std::uint32_t>(nodes.size());
      if (b == 0) {
        for (std::uint32_t i = 0; i < block.dst_count; ++i) hidden_nodes.push_back(NodeId{nodes[i]});
      }
    }
    make_tiers(columns, dtype);
    for (std::size_t b = 0; b < 2; ++b) {
      blocks[b].indptr = indptr[b];
      blocks[b].indices = indices[b];
    }
    blocks[0].dst_in_src = dst_in_src;
    transposed_indptr.resize(blocks[1].src_count + 1);
    transposed_indices.resize(indices[1].size());
    transpose(blocks[1], transposed_indptr, transposed_indices);
    for (std::uint32_t i = 0; i < seeds; ++i) targets.push_back(static_cast<std::int32_t>(draws.below(32)));
    view.blocks = blocks;
    view.hidden_nodes = hidden_nodes;
    view.targets = targets;
  }

  void make_tiers(std::uint32_t columns, Dtype dtype) {
    const std::uint32_t src_count = blocks[0].src_count;
    const std::uint32_t cached = src_count / 2;
    view.input = TieredRows(dtype, columns);
    const std::size_t row_bytes = view.input.row_bytes();
    std::vector<std::uint32_t> order(src_count);  // order[old local id] = new local id
    for (std::uint32_t i = 0; i < src_count; ++i) order[i] = i;
    RandomStream draws(mix_key(5));
    for (std::uint32_t i = src_count; i-- > 1;) std::swap(order[i], order[draws.below(i + 1)]);
    for (std::uint32_t& src : indices[0]) src = order[src];
    dst_in_src.assign(order.begin(), order.begin() + blocks[0].dst_count);
    const std::vector<float> row = random_values(columns);
    cache = AlignedBuffer(std::size_t{cached} * 4 * row_bytes);  // a cache that this batch uses a quarter of
    disk = AlignedBuffer(std::size_t{src_count - cached} * row_bytes);
    for (AlignedBuffer* memory : {&cache, &disk}) {
      for (std::size_t at = 0; at < memory->size(); at += row_bytes) {
        convert(Dtype::f32, reinterpret_cast<const std::byte*>(row.data()), dtype, memory->data() + at,
                columns);
      }
    }
    for (std::uint32_t i = 0; i < cached; ++i)
      slots.push_back(static_cast<std::uint32_t>(i * 4 + draws.below(4)));
    view.input.append(cache.data(), cached, slots.data());
    view.input.append(disk.data(), src_count - cached);
  }

  std::vector<BlockMaxima> maxima() const {
    std::vector<BlockMaxima> result;
    for (const BlockView& block : blocks) {
      result.push_back({block.dst_count, block.src_count, block.edge_count()});
    }
    return result;
  }

  BlockView blocks[2];
  std::vector<std::uint32_t> indptr[2];
  std::vector<std::uint32_t> indices[2];
  std::vector<std::uint32_t> dst_in_src;
  std::vector<std::uint32_t> transposed_indptr;
  std::vector<std::uint32_t> transposed_indices;
  std::vector<NodeId> hidden_nodes;
  std::vector<std::int32_t> targets;
  AlignedBuffer cache;
  AlignedBuffer disk;
  std::vector<std::uint32_t> slots;
  BatchView view;
};

// --- Ceilings ---

// Bytes a second of copying the same rows, in the same order, into memory that stays in a core's L1:
// nothing is summed and nothing written back. Lines ahead are prefetched, as a careful gather would.
double gather_ceiling(const Batch& batch) {
  const TieredRows& rows = batch.view.input;
  const std::span<const std::uint32_t> edges = batch.view.blocks[0].indices;
  std::vector<const std::byte*> pointers;
  for (const std::uint32_t src : edges) pointers.push_back(rows.row(src));
  const std::size_t piece = 2560;
  const std::size_t pieces = (edges.size() + piece - 1) / piece;
  const std::size_t bytes = rows.row_bytes();
  const double seconds = best_seconds(15, [&] {
    pool().parallel_for(pieces, [&](std::size_t p, std::size_t) {
      std::vector<std::byte> sink(bytes);
      const std::size_t last = std::min(pointers.size(), (p + 1) * piece);
      for (std::size_t i = p * piece; i < last; ++i) {
        const std::size_t next = i + 16;
        if (next < last) {
          for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(pointers[next] + at);
        }
        std::memcpy(sink.data(), pointers[i], bytes);
        benchmark::DoNotOptimize(sink.data());
        benchmark::ClobberMemory();
      }
    });
  });
  return static_cast<double>(edges.size() * bytes) / seconds;
}

// Floating-point operations a second of a square product of 2,048, rows shared out over the threads.
double product_ceiling() {
  static const double ceiling = [] {
    constexpr std::size_t n = 2048;
    const std::vector<float> a = random_values(n * n);
    const std::vector<float> b = random_values(n * n);
    std::vector<float> c(n * n);
    const double seconds =
        best_seconds(5, [&] { backend().linear({a.data(), n, n}, {b.data(), n, n}, {}, {c.data(), n, n}); });
    return 2.0 * n * n * n / seconds;
  }();
  return ceiling;
}

// --- Operators ---

enum class Sum { mean, weighted };  // weighted: as GCN does, its factors' making included

void aggregate(benchmark::State& state, Dtype dtype, Sum sum = Sum::mean) {
  const auto columns = static_cast<std::uint32_t>(state.range(0));
  const Batch batch(1000, 10, columns, dtype);
  const BlockView& block = batch.view.blocks[0];
  const double ceiling = gather_ceiling(batch);
  std::vector<float> out(std::size_t{block.dst_count} * columns);
  const MatrixView target(out.data(), block.dst_count, columns);
  std::vector<float> destination(block.dst_count);
  std::vector<float> source(block.src_count);
  std::vector<float> self(block.dst_count);
  double best = 1e9;
  for (auto _ : state) {
    const Timer watch;
    if (sum == Sum::mean) {
      backend().aggregate_mean(batch.view.input, block, target);
    } else {
      backend().symmetric_scales(block, destination, source);
      backend().self_loop_scales(block, source, self);
      backend().aggregate_sum(batch.view.input, block, {destination, source, self}, target);
    }
    best = std::min(best, watch.seconds());
  }
  const double rate = static_cast<double>(block.edge_count() * batch.view.input.row_bytes()) / best;
  state.counters["GB/s"] = rate * 1e-9;
  state.counters["gather_GB/s"] = ceiling * 1e-9;
  state.counters["share"] = rate / ceiling;
}
BENCHMARK_CAPTURE(aggregate, f32, Dtype::f32)->Arg(100)->Arg(128)->Arg(602)->Arg(1433);
BENCHMARK_CAPTURE(aggregate, f32_weighted, Dtype::f32, Sum::weighted)->Arg(128)->Arg(602);
BENCHMARK_CAPTURE(aggregate, f16, Dtype::f16)->Arg(128)->Arg(768);
BENCHMARK_CAPTURE(aggregate, bf16, Dtype::bf16)->Arg(128)->Arg(768);

// Rows, inputs and outputs of a layer; `kind` 0: forward with relu, 1: weights' gradient, 2: inputs'.
void product(benchmark::State& state, int kind) {
  const auto n = static_cast<std::size_t>(state.range(0));
  const auto k = static_cast<std::size_t>(state.range(1));
  const auto m = static_cast<std::size_t>(state.range(2));
  std::vector<float> x = random_values(n * k);
  std::vector<float> weight = random_values(m * k);
  std::vector<float> z = random_values(n * m);
  std::vector<float> bias(m);
  std::vector<float> scratch(backend().weight_gradient_scratch(n, m, k));
  const MatrixView xs(x.data(), n, k);
  const MatrixView ws(weight.data(), m, k);
  const MatrixView zs(z.data(), n, m);
  double best = 1e9;
  for (auto _ : state) {
    const Timer watch;
    if (kind == 0) backend().linear(xs, ws, {.bias = bias, .activation = Activation::relu}, zs);
    if (kind == 1) backend().linear_weight_gradient(xs, zs, ws, bias, scratch);
    if (kind == 2) backend().linear_input_gradient(zs, ws, xs);
    best = std::min(best, watch.seconds());
  }
  const double rate = 2.0 * static_cast<double>(n * k * m) / best;
  state.counters["GFLOP/s"] = rate * 1e-9;
  state.counters["square_GFLOP/s"] = product_ceiling() * 1e-9;
  state.counters["share"] = rate / product_ceiling();
}
BENCHMARK_CAPTURE(product, forward, 0)
    ->Args({11000, 256, 128})
    ->Args({100000, 512, 256})
    ->Args({1000, 256, 32});
BENCHMARK_CAPTURE(product, weight_gradient, 1)
    ->Args({11000, 256, 128})
    ->Args({100000, 512, 256})
    ->Args({1000, 256, 32});
BENCHMARK_CAPTURE(product, input_gradient, 2)->Args({11000, 256, 128})->Args({1000, 256, 32});

// One training step of SAGE: 2 hops of 10, 1,000 seeds, hidden 128, 32 classes.
void step(benchmark::State& state, Dtype dtype) {
  const auto columns = static_cast<std::uint32_t>(state.range(0));
  const Batch batch(1000, 10, columns, dtype);
  const double gather = gather_ceiling(batch);
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
    const auto logits = model->forward(batch.view, {.is_training = true, .seed = 1, .step = number++});
    best[0] = std::min(best[0], watch.restart());
    loss.evaluate_with_gradient(logits, batch.view);
    best[1] = std::min(best[1], watch.restart());
    model->backward(batch.view, loss.gradient());
    best[2] = std::min(best[2], watch.restart());
    optimizer.step();
    best[3] = std::min(best[3], watch.restart());
    whole = std::min(whole, all.seconds());
  }
  const BlockView& first = batch.view.blocks[0];
  const double first_flop = 2.0 * first.dst_count * (2.0 * columns) * 128;
  const double second_flop = 2.0 * 1000 * 256 * 32;
  const double flop = 2 * first_flop + 3 * second_flop;
  const double rows = static_cast<double>(first.edge_count()) + first.dst_count;
  const double bytes = rows * static_cast<double>(batch.view.input.row_bytes());
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
}  // namespace gneiss

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  fmt::print("threads {}, instruction set {}; share is of the ceiling beside it, best of all repetitions\n",
             gneiss::pool().thread_count(), gneiss::cpu::instruction_set());
#if !defined(__OPTIMIZE__) || defined(GNEISS_SANITIZED)
  fmt::print("warning: this build is not optimized or has sanitizers on; its numbers mean nothing\n");
#endif
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
