// Operators over blocks, and their ways back, against the f64 reference: any width, type, degree and split of
// tiers.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/compute/batch_view.h"
#include "engine/compute/reference.h"
#include "storage/base/dtype.h"
#include "storage/base/random.h"
#include "tests/engine/framed_matrix.h"
#include "tests/engine/model_runs.h"
#include "tests/engine/random_batch.h"
#include "tests/engine/test_backend.h"

using namespace gneiss;
using namespace gneiss::test;
using reference::Matrix;

namespace {

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

// The largest of each destination's neighbors and where it came from: the first of equals, the last that is
// no number.
struct Largest {
  Matrix values;
  std::vector<std::uint32_t> sources;

  Largest(const Matrix& rows, const BlockView& block)
      : values(block.dst_count, rows.columns), sources(values.values.size(), no_source) {
    for (std::uint32_t d = 0; d < block.dst_count; ++d) {
      for (std::uint32_t e = block.indptr[d]; e < block.indptr[d + 1]; ++e) {
        const std::uint32_t source = block.indices[e];
        for (std::size_t c = 0; c < rows.columns; ++c) {
          const double x = rows(source, c);
          if (e != block.indptr[d] && !(x > values(d, c)) && !std::isnan(x)) continue;
          values(d, c) = x;
          sources[d * rows.columns + c] = source;
        }
      }
    }
  }
};

bool same_numbers(const Matrix& a, const Matrix& b) {
  return std::ranges::equal(a.values, b.values,
                            [](double x, double y) { return x == y || (std::isnan(x) && std::isnan(y)); });
}

}  // namespace

TEST_CASE(
    "means, weighted sums and gathered rows are the reference's, for any width, type and split of tiers") {
  Machine machine;
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    for (const Width& width : widths) {
      const std::uint32_t columns = width.columns;
      const std::uint32_t tiers = columns % 4 + 1;
      const RandomBatch batch(
          {.seed = columns, .tier_count = tiers, .fanouts = {9}, .columns = columns, .dtype = dtype});
      CAPTURE(columns);
      CAPTURE(name_of(dtype));
      const BlockView& block = batch.view().blocks[0];
      const Matrix rows = reference::widen(batch.view().input);
      Framed out(block.dst_count, columns, width.margin);
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
      machine.backend->gather(batch.view().input, {}, out.view);  // the first rows, as they stand
      CHECK(reference::widen(out.view).values == reference::gather(rows, {}, block.dst_count).values);
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
  const std::vector<std::uint32_t> repeated{49, 0, 49, 7, 7, 7};
  Framed gathered(repeated.size(), 37);
  machine.backend->gather(input, repeated, gathered.view);
  CHECK(reference::widen(gathered.view).values ==
        reference::gather(reference::widen(rows.view), repeated, repeated.size()).values);
  const std::vector<std::uint32_t> zero{0};
  const BlockView none{.dst_count = 0, .src_count = 50, .indptr = zero, .indices = {}};
  machine.backend->aggregate_mean(input, none, MatrixView(nullptr, 0, 37));
  machine.backend->aggregate_sum(input, none, {}, MatrixView(nullptr, 0, 37));
  machine.backend->aggregate_max(input, none, MatrixView(nullptr, 0, 37), {});
  machine.backend->gather(input, {}, MatrixView(nullptr, 0, 37));
}

TEST_CASE("the way back of an aggregation is the reference's, through every epilogue") {
  Machine machine;
  for (const Width& width : widths) {
    const std::uint32_t columns = width.columns;
    const RandomBatch batch({.seed = columns, .fanouts = {2, 6}, .columns = 3});
    const BlockView& block = batch.view().blocks[1];
    const Framed both = random_matrix(2, block.dst_count, 2 * columns, width.margin);
    const MatrixView d_mean = both.view.column_range(0, columns);
    const MatrixView d_self = both.view.column_range(columns, columns);
    for (const Activation activation : {Activation::none, Activation::relu, Activation::elu}) {
      for (const float probability : {0.0F, 0.4F}) {
        CAPTURE(columns);
        const Epilogue epilogue{.activation = activation,
                                .dropout = {probability, mix_key(9), batch.view().hidden_nodes}};
        Framed activated = random_matrix(3, block.src_count, columns, width.margin);
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
        Framed dz(block.src_count, columns, width.margin);
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

TEST_CASE("edges to oneself are counted among any number of neighbors") {
  Machine machine;
  // Destination d, at row 100 - d, has d neighbors; every third of them, from the last back, is itself.
  std::vector<std::uint32_t> indptr{0};
  std::vector<std::uint32_t> indices;
  std::vector<std::uint32_t> rows;
  std::vector<float> expected;
  for (std::uint32_t d = 0; d < 80; ++d) {
    rows.push_back(100 - d);
    for (std::uint32_t edge = 0; edge < d; ++edge) indices.push_back((d - edge) % 3 == 1 ? 100 - d : 0);
    indptr.push_back(static_cast<std::uint32_t>(indices.size()));
    expected.push_back(1.0F - static_cast<float>((d + 2) / 3));
  }
  const BlockView block{
      .dst_count = 80, .src_count = 101, .indptr = indptr, .indices = indices, .dst_in_src = rows};
  std::vector<float> self(80);
  machine.backend->self_loop_scales(block, {}, self);
  CHECK(self == expected);
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
  Machine machine;
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

TEST_CASE(
    "the largest of the neighbors is found among equals and what is no number, for any width and type") {
  Machine machine;
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    for (const Width& width : widths) {
      const std::uint32_t columns = width.columns;
      CAPTURE(columns);
      CAPTURE(name_of(dtype));
      // Few numbers, so that equals are many; now and then none.
      RandomStream draws(mix_key(columns, 5));
      std::vector<float> values(std::size_t{60} * columns);
      for (float& value : values) {
        value = draws.below(200) == 0 ? std::numeric_limits<float>::quiet_NaN()
                                      : static_cast<float>(draws.below(7)) - 5.0F;
      }
      std::vector<std::byte> stored(values.size() * size_of(dtype));
      convert(Dtype::f32, reinterpret_cast<const std::byte*>(values.data()), dtype, stored.data(),
              values.size());
      TieredRows rows(dtype, columns);
      rows.append(stored.data(), 25);
      rows.append(stored.data() + 25 * rows.row_bytes(), 35);
      std::vector<std::uint32_t> indptr{0};
      std::vector<std::uint32_t> indices;
      for (const std::uint32_t degree : {0U, 1U, 2U, 9U, 33U, 70U}) {
        for (std::uint32_t e = 0; e < degree; ++e)
          indices.push_back(static_cast<std::uint32_t>(draws.below(60)));
        indptr.push_back(static_cast<std::uint32_t>(indices.size()));
      }
      const BlockView block{.dst_count = 6, .src_count = 60, .indptr = indptr, .indices = indices};
      const Largest expected(reference::widen(rows), block);
      Framed out(6, columns, width.margin);
      std::vector<std::uint32_t> sources(std::size_t{6} * columns, 99);
      machine.backend->aggregate_max(rows, block, out.view, {sources.data(), 6, columns});
      CHECK(same_numbers(reference::widen(out.view), expected.values));
      CHECK(sources == expected.sources);
      CHECK(out.frame_is_untouched());
    }
  }
}

TEST_CASE("the way back of the largest reaches the neighbor that it came from, through every epilogue") {
  Machine machine;
  for (const Width& width : widths) {
    const std::uint32_t columns = width.columns;
    CAPTURE(columns);
    const RandomBatch batch({.seed = columns, .node_count = 60, .fanouts = {2, 9}, .columns = 3});
    const BlockView& block = batch.view().blocks[1];
    const Framed rows = random_matrix(4, block.src_count, columns, width.margin);
    Framed out(block.dst_count, columns, width.margin);
    std::vector<std::uint32_t> sources(block.dst_count * std::size_t{columns});
    const IndexMatrixView winners(sources.data(), block.dst_count, columns);
    machine.backend->aggregate_max(TieredRows::of(rows.view), block, out.view, winners);
    const Framed d_max = random_matrix(5, block.dst_count, columns, width.margin);
    const Framed d_self = random_matrix(6, block.dst_count, columns, width.margin);
    const Epilogue epilogue{.activation = columns % 2 == 0 ? Activation::relu : Activation::elu,
                            .dropout = {0.4F, mix_key(9), batch.view().hidden_nodes}};
    Matrix before = reference::widen(rows.view);
    Matrix after = before;
    reference::activate(after, epilogue.activation, epilogue.dropout);
    Framed activated(block.src_count, columns, width.margin);
    Matrix expected(block.src_count, columns);
    for (std::size_t s = 0; s < block.src_count; ++s) {
      for (std::size_t c = 0; c < columns; ++c) {
        activated.view(s, c) = static_cast<float>(after(s, c));
        if (s < block.dst_count) expected(s, c) = static_cast<double>(d_self.view(s, c));
      }
    }
    for (std::size_t d = 0; d < block.dst_count; ++d) {
      for (std::size_t c = 0; c < columns; ++c) {
        if (winners(d, c) != no_source) expected(winners(d, c), c) += static_cast<double>(d_max.view(d, c));
      }
    }
    reference::activate_gradient(before, epilogue.activation, epilogue.dropout, expected);
    Framed dz(block.src_count, columns, width.margin);
    machine.backend->aggregate_max_gradient(block, winners, d_max.view, d_self.view, activated.view, epilogue,
                                            dz.view);
    CHECK(distance(reference::widen(dz.view), expected) < 1e-6);
    CHECK(dz.frame_is_untouched());
  }
}
