// Every CPU kernel against the f64 reference, over one table of shapes, types and tier splits.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/compute/batch_view.h"
#include "engine/compute/cpu/cpu_backend.h"
#include "engine/compute/reference.h"
#include "engine/compute/tensor_view.h"
#include "storage/base/parallel.h"
#include "storage/base/random.h"
#include "tests/engine/blocking.h"
#include "tests/engine/random_batch.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using gneiss::test::RandomBatch;
using reference::Matrix;

namespace {

constexpr float untouched = 12345.0F;

// A matrix inside a wider one: kernels must keep to their columns.
struct Framed {
  std::vector<float> memory;
  MatrixView view;

  Framed(std::size_t rows, std::size_t columns)
      : memory(rows * (columns + 3) + 1, untouched), view(memory.data(), rows, columns, columns + 3) {}
  bool frame_is_untouched() const {
    for (std::size_t r = 0; r < view.rows; ++r) {
      const float* end = view.row(r) + view.columns;
      if (!std::all_of(end, end + 3, [](float x) { return x == untouched; })) return false;
    }
    return memory.back() == untouched;
  }
};

Framed random_matrix(std::uint64_t seed, std::size_t rows, std::size_t columns) {
  Framed framed(rows, columns);
  RandomStream draws(mix_key(seed));
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) framed.view(r, c) = static_cast<float>(draws.normal());
  }
  return framed;
}

double distance(const Matrix& a, const Matrix& b) {
  REQUIRE(a.rows == b.rows);
  REQUIRE(a.columns == b.columns);
  double largest = 1e-3;
  double difference = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    largest = std::max(largest, std::abs(b.values[i]));
    difference = std::max(difference, std::abs(a.values[i] - b.values[i]));
  }
  return difference / largest;
}

std::vector<NodeId> nodes_from(std::uint32_t first, std::size_t count) {
  std::vector<NodeId> nodes;
  for (std::size_t i = 0; i < count; ++i) nodes.push_back(NodeId{first + static_cast<std::uint32_t>(i) * 7});
  return nodes;
}

struct Machine {
  ThreadPool pool{2};
  std::unique_ptr<Backend> backend = make_cpu_backend(pool);
};

// Factors for a block, some sources unknown, and the weights that follow from them edge by edge.
struct RandomScales {
  std::vector<float> destination, source, self;
  std::vector<double> edge_weights, self_weights;

  RandomScales(std::uint64_t seed, const BlockView& block) {
    RandomStream draws(mix_key(seed, 4));
    const auto draw = [&] { return static_cast<float>(draws.uniform() + 0.1); };
    for (std::uint32_t s = 0; s < block.src_count; ++s) source.push_back(draws.below(3) == 0 ? 0 : draw());
    for (std::uint32_t d = 0; d < block.dst_count; ++d) {
      destination.push_back(draw());
      self.push_back(draw() - 0.6F);
      const auto scale = static_cast<double>(destination[d]);
      self_weights.push_back(static_cast<double>(self[d]) * scale);
      for (std::uint32_t e = block.indptr[d]; e < block.indptr[d + 1]; ++e) {
        const auto of_source = static_cast<double>(source[block.indices[e]]);
        edge_weights.push_back(scale * (of_source == 0 ? scale : of_source));
      }
    }
  }
  EdgeScales view() const { return {.destination = destination, .source = source, .self = self}; }
};

const std::vector<std::uint32_t> widths{1, 2, 7, 15, 16, 17, 31, 64, 100, 128, 129, 300, 1433, 2048};

}  // namespace

TEST_CASE(
    "means, weighted sums and gathered rows are the reference's, for any width, type and split of tiers") {
  Machine machine;
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    for (const std::uint32_t columns : widths) {
      const std::uint32_t tiers = columns % 4 + 1;
      const RandomBatch batch(
          {.seed = columns, .tier_count = tiers, .fanouts = {9}, .columns = columns, .dtype = dtype});
      CAPTURE(columns);
      CAPTURE(name_of(dtype));
      const BlockView& block = batch.view().blocks[0];
      const Matrix rows = reference::widen(batch.view().input);
      Framed out(block.dst_count, columns);
      machine.backend->aggregate_mean(batch.view().input, block, out.view);
      CHECK(distance(reference::widen(out.view), reference::aggregate_mean(rows, block)) < 1e-6);
      const RandomScales scales(columns, block);
      machine.backend->aggregate_sum(batch.view().input, block, scales.view(), out.view);
      CHECK(distance(reference::widen(out.view),
                     reference::aggregate_weighted(rows, block, scales.edge_weights, scales.self_weights)) <
            1e-6);
      machine.backend->aggregate_sum(batch.view().input, block, {}, out.view);
      const std::vector<double> ones(block.edge_count() + block.dst_count, 1.0);
      CHECK(distance(reference::widen(out.view), reference::aggregate_weighted(rows, block, ones, ones)) <
            1e-6);
      machine.backend->gather(batch.view().input, block.dst_in_src, out.view);
      CHECK(reference::widen(out.view).values ==
            reference::gather(rows, block.dst_in_src, block.dst_count).values);
      CHECK(out.frame_is_untouched());
    }
  }
}

TEST_CASE("blocks without edges, without destinations, and with a thousand edges a row are aggregated") {
  Machine machine;
  const Framed rows = random_matrix(1, 50, 37);
  const TieredRows input = TieredRows::of(rows.view);
  for (const std::uint32_t degree : {0U, 1U, 31U, 32U, 33U, 1000U}) {
    CAPTURE(degree);
    std::vector<std::uint32_t> indptr{0, degree, degree, 2 * degree};
    std::vector<std::uint32_t> indices;
    for (std::uint32_t e = 0; e < 2 * degree; ++e) indices.push_back(e * e % 50);
    const BlockView block{.dst_count = 3, .src_count = 50, .indptr = indptr, .indices = indices};
    Framed out(3, 37);
    machine.backend->aggregate_mean(input, block, out.view);
    const Matrix expected = reference::aggregate_mean(reference::widen(rows.view), block);
    CHECK(distance(reference::widen(out.view), expected) < 1e-5);
    const RandomScales scales(degree, block);
    machine.backend->aggregate_sum(input, block, scales.view(), out.view);
    CHECK(distance(reference::widen(out.view),
                   reference::aggregate_weighted(reference::widen(rows.view), block, scales.edge_weights,
                                                 scales.self_weights)) < 1e-5);
    CHECK(out.frame_is_untouched());
  }
  const std::vector<std::uint32_t> zero{0};
  const BlockView none{.dst_count = 0, .src_count = 50, .indptr = zero, .indices = {}};
  machine.backend->aggregate_mean(input, none, MatrixView(nullptr, 0, 37));
  machine.backend->aggregate_sum(input, none, {}, MatrixView(nullptr, 0, 37));
  machine.backend->gather(input, {}, MatrixView(nullptr, 0, 37));
}

TEST_CASE("the way back of an aggregation is the reference's, through every epilogue") {
  Machine machine;
  for (const std::uint32_t columns : widths) {
    const RandomBatch batch({.seed = columns, .fanouts = {2, 6}, .columns = 3});
    const BlockView& block = batch.view().blocks[1];
    const Framed both = random_matrix(2, block.dst_count, 2 * columns);
    const MatrixView d_mean = both.view.column_range(0, columns);
    const MatrixView d_self = both.view.column_range(columns, columns);
    for (const Activation activation : {Activation::none, Activation::relu}) {
      for (const float probability : {0.0F, 0.4F}) {
        CAPTURE(columns);
        const Epilogue epilogue{.activation = activation,
                                .dropout = {probability, mix_key(9), batch.view().hidden_nodes}};
        Framed activated = random_matrix(3, block.src_count, columns);
        const Matrix before = reference::widen(activated.view);
        Matrix after = before;
        reference::activate(after, activation, epilogue.dropout);
        for (std::size_t r = 0; r < after.rows; ++r) {
          for (std::size_t c = 0; c < columns; ++c) activated.view(r, c) = static_cast<float>(after(r, c));
        }
        Matrix expected = reference::aggregate_mean_gradient(block, reference::widen(d_mean));
        for (std::size_t r = 0; r < block.dst_count; ++r) {
          for (std::size_t c = 0; c < columns; ++c) expected(r, c) += static_cast<double>(d_self(r, c));
        }
        reference::activate_gradient(before, activation, epilogue.dropout, expected);
        Framed dz(block.src_count, columns);
        machine.backend->aggregate_mean_gradient(block, d_mean, d_self, activated.view, epilogue, dz.view);
        CHECK(distance(reference::widen(dz.view), expected) < 1e-6);

        const RandomScales scales(columns, block);
        expected = reference::aggregate_weighted_gradient(block, scales.edge_weights, scales.self_weights,
                                                          reference::widen(d_mean));
        reference::activate_gradient(before, activation, epilogue.dropout, expected);
        machine.backend->aggregate_sum_gradient(block, scales.view(), d_mean, activated.view, epilogue,
                                                dz.view);
        CHECK(distance(reference::widen(dz.view), expected) < 1e-6);
        CHECK(dz.frame_is_untouched());
      }
    }
  }
}

TEST_CASE("symmetric scales count neighbors, and edges to oneself as one self-loop") {
  Machine machine;
  // Destinations stand at rows 4, 1 and 0. The first has two edges to itself and one neighbor, the second
  // three neighbors, two of them the same, the third none.
  const std::vector<std::uint32_t> indptr{0, 3, 6, 6};
  const std::vector<std::uint32_t> indices{4, 2, 4, 0, 3, 0};
  const std::vector<std::uint32_t> rows{4, 1, 0};
  const BlockView block{
      .dst_count = 3, .src_count = 5, .indptr = indptr, .indices = indices, .dst_in_src = rows};
  std::vector<float> destination(3);
  std::vector<float> source(5, untouched);
  std::vector<float> self(3);
  machine.backend->symmetric_scales(block, destination, source);
  machine.backend->self_loop_scales(block, source, self);
  const float half_root = 1 / std::sqrt(2.0F);
  CHECK(destination == std::vector<float>{half_root, 0.5F, 1.0F});
  CHECK(source == std::vector<float>{1.0F, 0.5F, 0.0F, 0.0F, half_root});
  CHECK(self == std::vector<float>{-half_root, 0.5F, 1.0F});
  std::vector<float> again(3);
  machine.backend->symmetric_scales(block, again, {});
  CHECK(again == destination);
}

TEST_CASE("products with their epilogues, and both of their gradients, are the reference's") {
  Machine machine;
  struct Shape {
    std::size_t n, k, m;
  };
  for (const Shape& s : {Shape{1, 1, 1}, Shape{3, 5, 7}, Shape{255, 16, 32}, Shape{257, 33, 17},
                         Shape{1025, 20, 47}, Shape{5000, 9, 3}, Shape{40, 300, 130}, Shape{0, 4, 4}}) {
    CAPTURE(s.n);
    const Framed x = random_matrix(1, s.n, s.k);
    const Framed weight = random_matrix(2, s.m, s.k);
    const Framed dz = random_matrix(3, s.n, s.m);
    std::vector<float> bias(s.m, 0.25F);
    const std::vector<NodeId> nodes = nodes_from(3, s.n);
    const Epilogue epilogue{
        .bias = bias, .activation = Activation::relu, .dropout = {0.3F, mix_key(4), nodes}};
    Framed out(s.n, s.m);
    machine.backend->linear(x.view, weight.view, epilogue, out.view);
    Matrix expected = reference::linear(reference::widen(x.view), reference::widen(weight.view));
    reference::add_bias(expected, std::vector<double>(s.m, 0.25));
    reference::activate(expected, Activation::relu, epilogue.dropout);
    CHECK(distance(reference::widen(out.view), expected) < 1e-5);

    Framed dw(s.m, s.k);
    std::vector<float> db(s.m + 1, untouched);
    std::vector<float> scratch(machine.backend->weight_gradient_scratch(s.n, s.m, s.k));
    machine.backend->linear_weight_gradient(x.view, dz.view, dw.view, std::span(db).first(s.m), scratch);
    CHECK(distance(reference::widen(dw.view),
                   reference::weight_gradient(reference::widen(x.view), reference::widen(dz.view))) < 1e-5);
    const std::vector<double> sums = reference::column_sums(reference::widen(dz.view));
    for (std::size_t c = 0; c < s.m; ++c) {
      CHECK(static_cast<double>(db[c]) == doctest::Approx(sums[c]).epsilon(1e-5).scale(10));
    }
    CHECK(db.back() == untouched);

    Framed dx(s.n, s.k);
    machine.backend->linear_input_gradient(dz.view, weight.view, dx.view);
    CHECK(distance(reference::widen(dx.view),
                   reference::input_gradient(reference::widen(dz.view), reference::widen(weight.view))) <
          1e-5);
    CHECK((out.frame_is_untouched() && dw.frame_is_untouched() && dx.frame_is_untouched()));
  }
}

TEST_CASE("an epilogue's gradient passes what the epilogue passed") {
  Machine machine;
  for (const std::uint32_t columns : widths) {
    const std::vector<NodeId> nodes = nodes_from(1, 40);
    for (const Activation activation : {Activation::none, Activation::relu}) {
      const Dropout dropout{0.5F, mix_key(6), nodes};
      Framed activated = random_matrix(1, 40, columns);
      const Matrix before = reference::widen(activated.view);
      Matrix after = before;
      reference::activate(after, activation, dropout);
      for (std::size_t r = 0; r < 40; ++r) {
        for (std::size_t c = 0; c < columns; ++c) activated.view(r, c) = static_cast<float>(after(r, c));
      }
      Framed gradient = random_matrix(2, 40, columns);
      Matrix expected = reference::widen(gradient.view);
      reference::activate_gradient(before, activation, dropout, expected);
      machine.backend->epilogue_gradient(activated.view, {.activation = activation, .dropout = dropout},
                                         gradient.view);
      CHECK(distance(reference::widen(gradient.view), expected) < 1e-6);
      CHECK(gradient.frame_is_untouched());
    }
  }
}

TEST_CASE("loss, correct count and gradient are the reference's, extreme logits and unlabelled rows too") {
  Machine machine;
  for (const std::size_t classes : {1U, 2U, 16U, 17U, 172U}) {
    for (const std::size_t rows : {0U, 1U, 700U}) {
      Framed logits = random_matrix(classes, rows, classes);
      RandomStream draws(mix_key(rows, classes));
      std::vector<std::int32_t> targets;
      for (std::size_t r = 0; r < rows; ++r) {
        targets.push_back(static_cast<std::int32_t>(draws.below(classes + 1)) - 1);
        if (r % 50 == 0) logits.view(r, 0) = r % 100 == 0 ? 300.0F : -300.0F;
      }
      Framed gradient(rows, classes);
      const LossSum sum =
          gneiss::test::cross_entropy(*machine.backend, logits.view, targets, {}, gradient.view);
      const reference::Loss expected = reference::cross_entropy(reference::widen(logits.view), targets);
      CHECK(sum.mean() == doctest::Approx(expected.mean).epsilon(1e-5));
      CHECK(sum.correct_count == expected.correct_count);
      CHECK(sum.labelled_count == expected.labelled_count);
      CHECK(distance(reference::widen(gradient.view), expected.gradient) < 1e-5);
      CHECK(gradient.frame_is_untouched());
      CHECK(gneiss::test::cross_entropy(*machine.backend, logits.view, targets, {}, {}).loss == sum.loss);
    }
  }
  const Framed logits = random_matrix(1, 3, 4);
  const std::vector<std::int32_t> none(3, no_label);
  CHECK(gneiss::test::cross_entropy(*machine.backend, logits.view, none, {}, {}).mean() == 0);
}

TEST_CASE("steps of Adam and AdamW are the reference's") {
  Machine machine;
  for (const bool is_decoupled : {false, true}) {
    for (const std::size_t size : {1U, 15U, 16U, 40001U}) {
      const Framed first = random_matrix(1, 1, size);
      std::vector<float> values(first.view.row(0), first.view.row(0) + size);
      std::vector<float> m(size);
      std::vector<float> v(size);
      reference::AdamState state{
          {values.begin(), values.end()}, std::vector<double>(size), std::vector<double>(size)};
      for (std::uint64_t step = 1; step <= 4; ++step) {
        const Framed g = random_matrix(step + 10, 1, size);
        const AdamStep how{.learning_rate = 0.01F,
                           .beta1 = 0.9F,
                           .beta2 = 0.999F,
                           .epsilon = 1e-8F,
                           .weight_decay = 0.1F,
                           .is_decoupled = is_decoupled,
                           .step = step};
        machine.backend->adam(how, values, {g.view.row(0), size}, m, v);
        reference::adam(how, std::vector<double>(g.view.row(0), g.view.row(0) + size), state);
      }
      Matrix actual(1, size);
      std::ranges::copy(values, actual.values.begin());
      Matrix expected(1, size);
      expected.values = state.values;
      CHECK(distance(actual, expected) < 1e-5);
    }
  }
}

TEST_CASE("dropout keeps the share it should, and a node's mask wherever the node stands") {
  Machine machine;
  const std::size_t rows = 2000;
  const std::size_t columns = 100;
  std::vector<NodeId> nodes = nodes_from(5, rows);
  const auto masks = [&](const std::vector<NodeId>& order, float probability) {
    std::vector<float> ones(rows * columns, 1.0F);
    const Framed x = random_matrix(1, rows, 1);
    for (std::size_t r = 0; r < rows; ++r) x.view.row(r)[0] = 1.0F;
    const MatrixView weight(ones.data(), columns, 1);
    std::vector<float> out(rows * columns);
    const Epilogue epilogue{.activation = Activation::relu,
                            .dropout = {probability, mix_key(1, 2, 3), order}};
    machine.backend->linear(x.view, weight, epilogue, MatrixView(out.data(), rows, columns));
    return out;
  };
  for (const float probability : {0.1F, 0.5F, 0.9F}) {
    const std::vector<float> kept = masks(nodes, probability);
    const auto count = static_cast<double>(std::ranges::count_if(kept, [](float x) { return x > 0; }));
    const double draws = static_cast<double>(rows * columns);
    const double expected = draws * (1 - static_cast<double>(probability));
    const double deviation = std::sqrt(expected * static_cast<double>(probability));
    CHECK(std::abs(count - expected) < 4 * deviation);
    CHECK(*std::ranges::max_element(kept) == doctest::Approx(1 / (1 - static_cast<double>(probability))));
    // No column and no row is favoured: each within 6 deviations of its own.
    for (std::size_t c = 0; c < columns; ++c) {
      double in_column = 0;
      for (std::size_t r = 0; r < rows; ++r) in_column += kept[r * columns + c] > 0 ? 1 : 0;
      CHECK(std::abs(in_column - expected / columns) < 6 * deviation / std::sqrt(columns));
    }
    std::vector<NodeId> reversed(nodes.rbegin(), nodes.rend());
    const std::vector<float> other = masks(reversed, probability);
    bool same = true;
    for (std::size_t r = 0; r < rows; ++r) {
      same &= std::equal(&kept[r * columns], &kept[r * columns] + columns, &other[(rows - 1 - r) * columns]);
    }
    CHECK(same);
  }
}

TEST_CASE("edges transposed are the same edges, by source, in their order") {
  const std::vector<std::uint32_t> indptr{0, 3, 3, 5, 6};
  const std::vector<std::uint32_t> indices{4, 0, 4, 4, 1, 0};
  BlockView block{.dst_count = 4, .src_count = 6, .indptr = indptr, .indices = indices};
  std::vector<std::uint32_t> t_indptr(7);
  std::vector<std::uint32_t> t_indices(6);
  std::vector<std::uint32_t> t_edges(6);
  transpose(block, t_indptr, t_indices, t_edges);
  CHECK(t_indptr == std::vector<std::uint32_t>{0, 2, 3, 3, 3, 6, 6});
  CHECK(t_indices == std::vector<std::uint32_t>{0, 3, 2, 0, 0, 2});
  CHECK(t_edges == std::vector<std::uint32_t>{1, 5, 4, 0, 2, 3});
  CHECK(block.is_transposed());
}

TEST_CASE("a block that does not hold together is reported as corruption") {
  const std::vector<std::uint32_t> indptr{0, 2, 3};
  const std::vector<std::uint32_t> indices{0, 2, 1};
  const BlockView good{.dst_count = 2, .src_count = 3, .indptr = indptr, .indices = indices};
  check_block(good, "block");
  const auto with = [&](auto change) {
    BlockView block = good;
    change(block);
    check_block(block, "train epoch 0 batch 3");
  };
  const std::vector<std::uint32_t> falling{0, 4, 3};
  const std::vector<std::uint32_t> late{1, 2, 3};
  const std::vector<std::uint32_t> far{3, 0};
  const std::vector<std::uint32_t> one{0};
  EXPECT_ERROR(with([&](BlockView& b) { b.indptr = falling; }), Kind::corruption, "batch 3");
  EXPECT_ERROR(with([&](BlockView& b) { b.indptr = late; }), Kind::corruption, "offsets");
  EXPECT_ERROR(with([&](BlockView& b) { b.dst_count = 3; }), Kind::corruption, "offsets");
  EXPECT_ERROR(with([&](BlockView& b) { b.src_count = 2; }), Kind::corruption, "outside the 2 rows");
  EXPECT_ERROR(with([&](BlockView& b) { b.dst_in_src = far; }), Kind::corruption, "outside");
  EXPECT_ERROR(with([&](BlockView& b) { b.dst_in_src = one; }), Kind::corruption, "1 of 2");
}

TEST_CASE("views describe themselves as DLPack does") {
  const Framed framed = random_matrix(1, 3, 5);
  const TensorView tensor = tensor_view(framed.view);
  CHECK(tensor.data == framed.memory.data());
  CHECK(tensor.shape == std::array<std::int64_t, 2>{3, 5});
  CHECK(tensor.strides == std::array<std::int64_t, 2>{8, 1});
  CHECK(to_dlpack(tensor.dtype) == DlpackDtype{2, 32, 1});
  CHECK(to_dlpack(Dtype::bf16) == DlpackDtype{4, 16, 1});
  CHECK(tensor.device == Device{Device::Type::cpu, 0});
  const std::vector<std::int32_t> labels{1, 2};
  CHECK(tensor_view(std::span(labels), Dtype::i32).shape[0] == 2);
  std::vector<std::uint16_t> rows(20);
  TieredRows tiers(Dtype::f16, 4, 10);
  tiers.append(reinterpret_cast<const std::byte*>(rows.data()), 4);
  CHECK(tensor_view(tiers, 0).strides[0] == 5);
}

TEST_CASE(
    "the largest of the neighbors is the first of equals, 0 where there is none, and alone has the "
    "gradient") {
  // Destination 0 has the neighbors 2, 1, 3 and 2 again; destination 1 none; destination 2 has 0.
  const std::vector<std::uint32_t> indptr{0, 4, 4, 5};
  const std::vector<std::uint32_t> indices{2, 1, 3, 2, 0};
  BlockView block{.dst_count = 3, .src_count = 4, .indptr = indptr, .indices = indices};
  std::vector<std::uint32_t> t_indptr(5);
  std::vector<std::uint32_t> t_indices(5);
  transpose(block, t_indptr, t_indices);
  const std::vector<float> rows{-1, -2, /**/ 5, -7, /**/ 5, -9, /**/ 4, -8};
  const Machine machine;
  std::vector<float> out(6, untouched);
  std::vector<std::uint32_t> winner_values(6, 99);
  const IndexMatrixView winners(winner_values.data(), 3, 2);
  machine.backend->aggregate_max(TieredRows::of(ConstMatrixView(rows.data(), 4, 2)), block,
                                 MatrixView(out.data(), 3, 2), winners);
  CHECK(out == std::vector<float>{5, -7, 0, 0, -1, -2});
  CHECK(winner_values == std::vector<std::uint32_t>{2, 1, no_source, no_source, 0, 0});
  std::vector<float> unwanted(6, untouched);
  machine.backend->aggregate_max(TieredRows::of(ConstMatrixView(rows.data(), 4, 2)), block,
                                 MatrixView(unwanted.data(), 3, 2), {});
  CHECK(unwanted == out);

  const std::vector<float> d_aggregate{1, 2, /**/ 30, 40, /**/ 500, 600};
  const std::vector<float> d_self{7, 7, /**/ 8, 8, /**/ 9, 9};
  const std::vector<float> activated(8, 1.0F);
  std::vector<float> dz(8, untouched);
  machine.backend->aggregate_max_gradient(block, winners, {d_aggregate.data(), 3, 2}, {d_self.data(), 3, 2},
                                          {activated.data(), 4, 2}, {}, {dz.data(), 4, 2});
  CHECK(dz == std::vector<float>{507, 607, /**/ 8, 10, /**/ 10, 9, /**/ 0, 0});
}
