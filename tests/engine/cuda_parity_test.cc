// A CUDA backend against the processor's, where their numbers must be the same to the bit, and against
// itself.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/compute/attention.h"
#include "engine/compute/cpu/cpu_backend.h"
#include "engine/compute/cuda/cuda_backend.h"
#include "storage/base/random.h"
#include "tests/engine/blocking.h"
#include "tests/engine/framed_matrix.h"
#include "tests/engine/model_runs.h"
#include "tests/engine/random_batch.h"
#include "tests/engine/test_backend.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

// The device's backend, and the processor's over the same memory.
struct Both {
  Machine machine;
  std::unique_ptr<Backend> cpu = make_cpu_backend(machine.pool);
  Backend& device() { return *machine.backend; }
};

// Twenty steps of a loss, a clipped norm and the optimizer over logits themselves; what came of each is read
// only once all have been asked for.
std::vector<float> steps_without_waits(Backend& backend) {
  constexpr std::size_t rows = 200;
  constexpr std::size_t classes = 9;
  constexpr std::size_t steps = 20;  // more than a backend tells marks apart
  const std::vector<float> first = random_matrix(1, rows, classes, 0).memory;
  std::vector<float> target_bits;
  for (std::size_t r = 0; r < rows; ++r) {
    target_bits.push_back(std::bit_cast<float>(static_cast<std::int32_t>(r % 10) - 1));
  }
  const std::size_t count = rows * classes;
  const Buffer logits = backend.allocate(count);
  const Buffer gradient = backend.allocate(count);
  const Buffer moments = backend.allocate(2 * count);
  const Buffer target_memory = backend.allocate(rows);
  backend.copy_in(std::span(first).first(count), logits.data());
  backend.copy_in(target_bits, target_memory.data());
  const std::span<const std::int32_t> targets(reinterpret_cast<const std::int32_t*>(target_memory.data()),
                                              rows);
  const HostMemory sums = backend.allocate_host(steps * sizeof(LossSum));
  const HostMemory norms = backend.allocate_host(steps * sizeof(double));
  const HostMemory values = backend.allocate_host(steps * count * sizeof(float));
  std::vector<Backend::Mark> marks;
  for (std::size_t step = 0; step < steps; ++step) {
    const MatrixView matrix = logits.matrix(rows, classes);
    backend.cross_entropy(matrix, targets, {}, gradient.matrix(rows, classes), sums.as<LossSum>()[step]);
    backend.clip_norm(gradient.span(), 0.01, norms.as<double>()[step]);
    backend.adam({.learning_rate = 0.1F, .beta1 = 0.9F, .beta2 = 0.99F, .epsilon = 1e-8F, .step = step + 1},
                 logits.span(), gradient.span(), moments.span().first(count), moments.span().last(count));
    backend.copy_out_later(matrix, MatrixView(values.as<float>().data() + step * count, rows, classes));
    marks.push_back(backend.mark());
  }
  std::vector<float> trace;
  for (std::size_t step = 0; step < steps; ++step) {
    backend.wait(marks[step]);
    const LossSum sum = sums.as<LossSum>()[step];
    trace.push_back(static_cast<float>(sum.mean()));
    trace.push_back(static_cast<float>(sum.correct_count));
    trace.push_back(static_cast<float>(norms.as<double>()[step]));
    const std::span<const float> of_step = values.as<float>().subspan(step * count, count);
    trace.insert(trace.end(), of_step.begin(), of_step.end());
  }
  return trace;
}

}  // namespace

TEST_CASE("masks of dropout are the processor's to the bit, for any width and first column") {
  Both both;
  for (const Width& width : widths) {
    CAPTURE(width.columns);
    for (const float probability : {0.0001F, 0.3F, 0.5F, 0.97F}) {
      for (const std::size_t first_column : {0U, 1U, 64U, 65U}) {
        // Nodes of 32 bits, as the largest graphs have.
        std::vector<NodeId> nodes = nodes_from(0xFFFFFF00U, 9);
        const Epilogue epilogue{
            .activation = first_column % 2 == 0 ? Activation::relu : Activation::leaky_relu,
            .dropout = {probability, mix_key(5, 6, 7), nodes},
            .first_column = first_column};
        Framed on_device = random_matrix(2, nodes.size(), width.columns, width.margin);
        Framed on_cpu = random_matrix(2, nodes.size(), width.columns, width.margin);
        both.device().apply_epilogue(epilogue, on_device.view);
        both.cpu->apply_epilogue(epilogue, on_cpu.view);
        CHECK(equal_bits(on_device.memory, on_cpu.memory));
        Framed d_device = random_matrix(3, nodes.size(), width.columns, width.margin);
        Framed d_cpu = random_matrix(3, nodes.size(), width.columns, width.margin);
        both.device().epilogue_gradient(on_device.view, epilogue, d_device.view);
        both.cpu->epilogue_gradient(on_cpu.view, epilogue, d_cpu.view);
        CHECK(equal_bits(d_device.memory, d_cpu.memory));
      }
    }
  }
}

TEST_CASE("masks of attention's dropout are the processor's") {
  Both both;
  const RandomBatch batch({.seed = 4, .node_count = 40, .seed_count = 35, .fanouts = {30}});
  const BlockView& block = batch.view().blocks[0];
  constexpr std::size_t heads = 3;
  const Framed scores = random_matrix(1, block.src_count, 2 * heads);
  const auto weights_of = [&](Backend& backend) {
    Framed edges(block.edge_count(), heads);
    Framed loops(block.dst_count, heads);
    Framed edge_weights(block.edge_count(), heads);
    Framed loop_weights(block.dst_count, heads);
    AttentionRule rule;
    rule.dropout = {0.4F, mix_key(1, 2), batch.view().hidden_nodes};
    backend.attention().softmax(block, scores.view, rule, {edges.view, loops.view},
                                {edge_weights.view, loop_weights.view});
    std::vector<float> all = edge_weights.memory;
    all.insert(all.end(), loop_weights.memory.begin(), loop_weights.memory.end());
    return all;
  };
  const std::vector<float> on_device = weights_of(both.device());
  const std::vector<float> on_cpu = weights_of(*both.cpu);
  REQUIRE(on_device.size() == on_cpu.size());
  std::size_t dropped = 0;
  for (std::size_t i = 0; i < on_cpu.size(); ++i) {
    CHECK((on_device[i] == 0) == (on_cpu[i] == 0));
    dropped += on_cpu[i] == 0 ? 1 : 0;
  }
  CHECK(dropped > on_cpu.size() / 5);
}

TEST_CASE("rows are gathered, and the largest of them found, as on the processor to the bit") {
  Both both;
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    for (std::uint32_t tiers = 1; tiers <= 4; ++tiers) {
      for (const std::uint32_t columns : {1U, 6U, 37U, 256U}) {
        const RandomBatch batch({.tier_count = tiers, .fanouts = {9}, .columns = columns, .dtype = dtype});
        const BlockView& block = batch.view().blocks[0];
        const auto results = [&](Backend& backend) {
          Framed out(block.dst_count, columns);
          Framed largest(block.dst_count, columns);
          std::vector<std::uint32_t> sources(block.dst_count * std::size_t{columns});
          backend.gather(batch.view().input, block.dst_in_src, out.view);
          backend.aggregate_max(batch.view().input, block, largest.view,
                                {sources.data(), block.dst_count, columns});
          std::vector<float> all = out.memory;
          all.insert(all.end(), largest.memory.begin(), largest.memory.end());
          all.insert(all.end(), sources.begin(), sources.end());
          return all;
        };
        CHECK(equal_bits(results(both.device()), results(*both.cpu)));
      }
    }
  }
}

TEST_CASE("labels of two classes are the entries of one column") {
  Both both;
  const Framed logits = random_matrix(1, 100, 1, 0);
  std::vector<std::int32_t> classes;
  std::vector<std::uint8_t> entries;
  for (std::size_t i = 0; i < 100; ++i) {
    classes.push_back(static_cast<std::int32_t>(i % 3) - 1);
    entries.push_back(i % 3 == 0 ? unlabelled : static_cast<std::uint8_t>(i % 3 - 1));
  }
  Framed of_classes(100, 1);
  Framed of_entries(100, 1);
  const LossSum a = binary_cross_entropy(both.device(), logits.view, {.classes = classes}, of_classes.view);
  const LossSum b = binary_cross_entropy(both.device(), logits.view, {.entries = entries}, of_entries.view);
  CHECK(a.loss == b.loss);
  CHECK(a.labelled_count == 66);
  CHECK(a.correct_count == b.correct_count);
  CHECK(equal_bits(of_classes.memory, of_entries.memory));
}

TEST_CASE("logits that are no numbers are seen in the loss, as on the processor") {
  Both both;
  Framed logits = random_matrix(1, 4, 3);
  logits.view(1, 1) = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::int32_t> targets{0, 1, 2, 0};
  const std::vector<std::uint8_t> entries(12, 1);
  for (Backend* const backend : {&both.device(), both.cpu.get()}) {
    CHECK(std::isnan(cross_entropy(*backend, logits.view, targets, {}, {}).loss));
    CHECK(std::isnan(binary_cross_entropy(*backend, logits.view, {.entries = entries}, {}).loss));
  }
}

TEST_CASE("whatever the device does first, operators have the same bits") {
  const RandomBatch batch({.seed = 8, .seed_count = 60, .fanouts = {5, 9}, .columns = 70});
  const auto run = [&] {
    Machine machine;  // an emulated device takes another order with each
    Backend& backend = *machine.backend;
    const BlockView& block = batch.view().blocks[0];
    std::vector<float> all;
    const auto keep = [&](const Framed& framed) {
      all.insert(all.end(), framed.memory.begin(), framed.memory.end());
    };
    Framed mean(block.dst_count, 70);
    backend.aggregate_mean(batch.view().input, block, mean.view);
    keep(mean);
    const Framed dz = random_matrix(1, block.dst_count, 33);
    Framed dw(33, 70);
    std::vector<float> db(33);
    std::vector<float> scratch(backend.weight_gradient_scratch(block.dst_count, 33, 70));
    backend.linear_weight_gradient(mean.view, dz.view, dw.view, db, scratch);
    keep(dw);
    all.insert(all.end(), db.begin(), db.end());
    std::vector<float> values = random_matrix(4, 1, 70'001, 0).memory;
    all.push_back(static_cast<float>(clip_norm(backend, values, 0.5)));
    all.insert(all.end(), values.begin(), values.end());
    const Framed logits = random_matrix(5, 700, 12);
    std::vector<std::int32_t> targets(700);
    for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = static_cast<std::int32_t>(i % 13) - 1;
    Framed gradient(700, 12);
    all.push_back(static_cast<float>(cross_entropy(backend, logits.view, targets, {}, gradient.view).loss));
    keep(gradient);
    return all;
  };
  const std::vector<float> first = run();
  for (int again = 0; again < 8; ++again) CHECK(equal_bits(run(), first));
}

TEST_CASE("more rows than are narrowed to bf16 at once are multiplied as one matrix") {
  // 64 MiB of rows are narrowed at once: 16,384 of 2,048 columns. Whole numbers, whose sums are exact.
  constexpr std::size_t rows = 16'400;
  constexpr std::size_t wide = 2048;
  constexpr std::size_t narrow = 3;
  const auto wide_value = [](std::size_t r, std::size_t c) { return static_cast<int>((r + 3 * c) % 7) - 3; };
  const auto narrow_value = [](std::size_t r, std::size_t c) {
    return static_cast<int>((2 * r + c) % 5) - 2;
  };
  const auto fill = [](MatrixView matrix, const auto& value) {
    for (std::size_t r = 0; r < matrix.rows; ++r) {
      for (std::size_t c = 0; c < matrix.columns; ++c) matrix(r, c) = static_cast<float>(value(r, c));
    }
  };
  Machine machine(1, Precision::bf16);
  std::vector<float> x_memory(rows * wide);
  const MatrixView x(x_memory.data(), rows, wide);
  fill(x, wide_value);
  Framed y(rows, narrow);
  fill(y.view, narrow_value);

  Framed weight(narrow, wide);
  fill(weight.view, narrow_value);
  Framed out(rows, narrow);
  machine.backend->linear(x, weight.view, {}, out.view);
  Framed other_weight(wide, narrow);
  fill(other_weight.view, wide_value);
  Framed other_out(rows, narrow);
  machine.backend->linear_input_gradient(x, other_weight.view, other_out.view);
  for (const std::size_t r : {std::size_t{0}, std::size_t{16'383}, std::size_t{16'384}, rows - 1}) {
    for (std::size_t m = 0; m < narrow; ++m) {
      int product = 0;
      int other = 0;
      for (std::size_t c = 0; c < wide; ++c) {
        product += wide_value(r, c) * narrow_value(m, c);
        other += wide_value(r, c) * wide_value(c, m);
      }
      CHECK(out.view(r, m) == static_cast<float>(product));
      CHECK(other_out.view(r, m) == static_cast<float>(other));
    }
  }
  Framed gradient(narrow, wide);
  std::vector<float> scratch(machine.backend->weight_gradient_scratch(rows, narrow, wide));
  machine.backend->linear_weight_gradient(x, y.view, gradient.view, {}, scratch);
  for (const std::size_t c : {0U, 1U, 2047U}) {
    for (std::size_t m = 0; m < narrow; ++m) {
      int sum = 0;
      for (std::size_t r = 0; r < rows; ++r) sum += narrow_value(r, m) * wide_value(r, c);
      CHECK(gradient.view(m, c) == static_cast<float>(sum));
    }
  }
  CHECK((out.frame_is_untouched() && other_out.frame_is_untouched() && gradient.frame_is_untouched()));
}

TEST_CASE("operators that nobody waits for have the numbers of those that are waited for") {
  for (int order = 0; order < 3; ++order) {
    CAPTURE(order);
    Machine waiting;  // whose operators are done when they return; an emulated device takes another order
    const std::vector<float> expected = steps_without_waits(*waiting.backend);
    CHECK(expected[0] > expected[expected.size() - 3 - 200 * 9]);  // the loss has become smaller
    const auto device = make_cuda_backend(0, Precision::f32);
    device->reserve(1U << 20, device->working_bytes(1, 1));
    CHECK(equal_bits(steps_without_waits(*device), expected));
  }
}
