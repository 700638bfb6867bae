// Attention over rows kept as bf16: what is kept is rounded once, and all else is what the operators in f32
// make of the rounded numbers.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/compute/half_rows.h"
#include "engine/compute/reference.h"
#include "storage/base/random.h"
#include "tests/engine/counting_backend.h"
#include "tests/engine/framed_matrix.h"
#include "tests/engine/model_runs.h"
#include "tests/engine/random_batch.h"
#include "tests/engine/test_backend.h"
#include "tests/support/skip.h"

using namespace gneiss;
using namespace gneiss::test;
using reference::Matrix;

namespace {

float widened(std::uint16_t half) {
  const std::uint32_t bits = std::uint32_t{half} << 16;
  float value = 0;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// Rows kept as bf16, or those of several heads side by side, and the same numbers in f32.
class Kept {
 public:
  Kept(Backend& backend, std::size_t rows, std::size_t columns, std::size_t heads = 0)
      : columns_(columns),
        parts_(std::max<std::size_t>(heads, 1)),
        stride_(parts_ * half_columns(columns)),
        memory_(backend.allocate(rows * stride_ / 2)),
        all_(memory_.half_matrix(0, rows, heads == 0 ? columns : stride_, stride_)) {
    for (std::size_t i = 0; i < rows * stride_; ++i)
      all_.data[i] = 0x7FC0;  // no number: all is to be written
  }
  HalfView view() const { return all_; }
  HalfView part(std::size_t index) const {
    return all_.column_range(index * half_columns(columns_), columns_);
  }
  void set(ConstMatrixView values) {
    for (std::size_t r = 0; r < all_.rows; ++r) {
      std::fill_n(all_.row(r), stride_, std::uint16_t{0});
      for (std::size_t p = 0; p < parts_; ++p) {
        for (std::size_t c = 0; c < columns_; ++c) {
          std::uint32_t bits = 0;
          std::memcpy(&bits, &values(r, p * columns_ + c), sizeof(bits));
          all_.row(r)[p * half_columns(columns_) + c] =
              static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
        }
      }
    }
  }
  Framed widen() const {
    Framed wide(all_.rows, parts_ * columns_, 0);
    for (std::size_t r = 0; r < all_.rows; ++r) {
      for (std::size_t c = 0; c < wide.view.columns; ++c) {
        wide.view(r, c) = widened(all_.row(r)[c / columns_ * half_columns(columns_) + c % columns_]);
      }
    }
    return wide;
  }
  bool ends_in_zeros() const {
    for (std::size_t r = 0; r < all_.rows; ++r) {
      for (std::size_t c = 0; c < stride_; ++c) {
        if (c % half_columns(columns_) >= columns_ && all_.row(r)[c] != 0) return false;
      }
    }
    return true;
  }

 private:
  std::size_t columns_;
  std::size_t parts_;
  std::size_t stride_;
  Buffer memory_;
  HalfView all_;
};

struct Edges {
  Edges(std::uint64_t seed, const BlockView& block, std::size_t heads)
      : all(random_matrix(seed, block.edge_count() + block.dst_count, heads, 0)), count(block.edge_count()) {}
  EdgeValues values() const {
    return {all.view.row_range(0, count), all.view.row_range(count, all.view.rows - count)};
  }
  Framed all;
  std::size_t count;
};

Matrix wide(ConstMatrixView matrix) { return reference::widen(matrix); }

// Rounding to 8 digits is off by up to 2^-8 of each number.
constexpr double half_error = 1.0 / 256 + 1e-6;

struct Case {
  std::uint32_t heads;
  std::uint32_t columns;
  std::uint32_t out_columns;  // of the products
  std::vector<std::uint32_t> fanouts{3, 6};
  Dtype dtype = Dtype::f32;
};

// One head and several, widths around a line and far from it, odd numbers of rows, sums over more pairs than
// one block has, destinations without neighbors and with more than a run holds.
const std::vector<Case> cases{
    {1, 1, 1},   {1, 32, 7, {3, 6}, Dtype::bf16}, {2, 31, 33},   {3, 33, 16, {2, 50}, Dtype::f16},
    {4, 64, 64}, {4, 130, 9, {40, 45}},           {5, 100, 515}, {9, 17, 32}};

void check(const Case& c, Backend& plain, Backend& backend) {
  HalfOperators& halves = *backend.halves();
  AttentionOperators& attention = plain.attention();
  const RandomBatch batch({.seed = c.columns,
                           .node_count = 300,
                           .seed_count = 31,
                           .fanouts = c.fanouts,
                           .columns = c.columns,
                           .dtype = c.dtype});
  const BlockView& first = batch.view().blocks[0];
  const std::size_t sources = first.src_count;
  const Framed score_weight = random_matrix(1, 2 * std::size_t{c.heads}, c.columns, 0);
  Framed scores(sources, 2 * std::size_t{c.heads});
  Framed expected_scores(sources, 2 * std::size_t{c.heads});
  const Kept rows(backend, sources, c.columns);
  halves.row_products(batch.view().input, score_weight.view, scores.view, rows.view());
  attention.row_products(batch.view().input, score_weight.view, expected_scores.view);
  CHECK(wide(scores.view).values == wide(expected_scores.view).values);
  CHECK(rows.ends_in_zeros());
  const Matrix before = reference::widen(batch.view().input);
  const Framed rounded = rows.widen();
  for (std::size_t i = 0; i < before.values.size(); ++i) {
    const double value = before.values[i];
    CHECK(std::abs(static_cast<double>(rounded.view.data[i]) - value) <= half_error * std::abs(value));
  }

  const Edges weights(2, first, c.heads);
  const Kept aggregate(backend, first.dst_count, c.columns, c.heads);
  Framed sums(first.dst_count, c.heads * std::size_t{c.columns}, 0);
  halves.aggregate(rows.view(), first, weights.values(), aggregate.view());
  attention.aggregate(TieredRows::of(rounded.view), first, weights.values(), sums.view);
  CHECK(distance(wide(aggregate.widen().view), wide(sums.view)) < half_error);
  CHECK(aggregate.ends_in_zeros());

  // Products of numbers that are bf16's own are those of the same numbers in f32.
  const std::size_t count = first.dst_count;
  const Framed weight = random_matrix(3, c.out_columns, c.columns);
  const Framed dz = random_matrix(4, count, c.out_columns);
  const Framed stored = aggregate.widen();
  const Kept d_aggregate(backend, count, c.columns, c.heads);
  for (std::size_t h = 0; h < c.heads; ++h) {
    const ConstMatrixView head = stored.view.column_range(h * c.columns, c.columns);
    Framed out(count, c.out_columns);
    Framed expected(count, c.out_columns);
    halves.linear(aggregate.part(h), weight.view, {.activation = Activation::relu}, out.view);
    backend.linear(head, weight.view, {.activation = Activation::relu}, expected.view);
    CHECK(wide(out.view).values == wide(expected.view).values);
    halves.linear_add(aggregate.part(h), weight.view, {}, out.view);
    backend.linear_add(head, weight.view, {}, expected.view);
    CHECK(wide(out.view).values == wide(expected.view).values);

    std::vector<float> scratch(backend.weight_gradient_scratch(count, c.out_columns, c.columns));
    Framed dw(c.out_columns, c.columns);
    Framed expected_dw(c.out_columns, c.columns);
    std::vector<float> db(c.out_columns);
    std::vector<float> expected_db(c.out_columns);
    halves.linear_weight_gradient(aggregate.part(h), dz.view, dw.view, db, scratch);
    backend.linear_weight_gradient(head, dz.view, expected_dw.view, expected_db, scratch);
    CHECK(wide(dw.view).values == wide(expected_dw.view).values);
    CHECK(db == expected_db);
    CHECK((out.frame_is_untouched() && dw.frame_is_untouched()));

    Framed dx(count, c.columns);
    halves.linear_input_gradient(dz.view, weight.view, d_aggregate.part(h));
    backend.linear_input_gradient(dz.view, weight.view, dx.view);
    const Framed all = d_aggregate.widen();
    for (std::size_t r = 0; r < count; ++r) {
      for (std::size_t k = 0; k < c.columns; ++k) {
        const double value = static_cast<double>(dx.view(r, k));
        CHECK(std::abs(static_cast<double>(all.view(r, h * c.columns + k)) - value) <=
              half_error * std::abs(value));
      }
    }
  }
  CHECK(d_aggregate.ends_in_zeros());

  // The way back to the scores, in two slices.
  AttentionRule rule;
  const std::vector<NodeId> nodes = nodes_from(1, count);
  rule.dropout = {0.3F, mix_key(5), nodes};
  const Edges shares(6, first, c.heads);
  const Edges d_scores(7, first, c.heads);
  const Edges expected_d_scores(7, first, c.heads);
  Framed d_destination(count, c.heads);
  Framed expected_d_destination(count, c.heads);
  Framed d_weight(2 * std::size_t{c.heads}, c.columns, 0);
  Framed expected_d_weight(2 * std::size_t{c.heads}, c.columns, 0);
  std::vector<float> scratch(
      backend.weight_gradient_scratch(count, 2 * std::size_t{c.heads}, half_columns(c.columns)));
  const Framed gradients = d_aggregate.widen();
  const std::size_t middle = count / 2;
  for (const std::size_t from : {std::size_t{0}, middle}) {
    const std::size_t many = from == 0 ? middle : count - middle;
    halves.score_gradients(rows.view(), first, scores.view, rule, shares.values(), from,
                           d_aggregate.view().row_range(from, many), d_scores.values(), d_destination.view,
                           d_weight.view, scratch);
    attention.score_gradients(TieredRows::of(rounded.view), first, scores.view, rule, shares.values(), from,
                              gradients.view.row_range(from, many), expected_d_scores.values(),
                              expected_d_destination.view, expected_d_weight.view, scratch);
  }
  CHECK(distance(wide(d_scores.all.view), wide(expected_d_scores.all.view)) < 1e-5);
  CHECK(distance(wide(d_destination.view), wide(expected_d_destination.view)) < 1e-5);
  CHECK(distance(wide(d_weight.view), wide(expected_d_weight.view)) < 1e-5);
  CHECK(d_destination.frame_is_untouched());

  // And to the rows, of a block whose destinations are the first sources.
  const BlockView& second = batch.view().blocks[1];
  const Framed d_out = random_matrix(8, second.dst_count, c.heads * std::size_t{c.columns}, 0);
  Kept d_kept(backend, second.dst_count, c.columns, c.heads);
  d_kept.set(d_out.view);
  const Edges second_weights(9, second, c.heads);
  const Edges second_scores(10, second, c.heads);
  const Framed second_destination = random_matrix(11, second.dst_count, c.heads);
  const Framed activated = random_matrix(12, second.src_count, c.columns);
  const Epilogue epilogue{.activation = c.heads == 1 ? Activation::relu : Activation::elu};
  Framed dz_rows(second.src_count, c.columns);
  Framed expected_dz(second.src_count, c.columns);
  halves.input_gradient(second, second_weights.values(), d_kept.view(), second_scores.values(),
                        second_destination.view, score_weight.view, activated.view, epilogue, dz_rows.view);
  attention.input_gradient(second, second_weights.values(), d_kept.widen().view, second_scores.values(),
                           second_destination.view, score_weight.view, activated.view, epilogue,
                           expected_dz.view);
  CHECK(wide(dz_rows.view).values == wide(expected_dz.view).values);
  CHECK(dz_rows.frame_is_untouched());
}

}  // namespace

TEST_CASE("attention over rows kept as bf16 is that over the rounded rows, for any heads and widths") {
  if (const char* lacking = lacking_precision(Precision::bf16)) SKIP_TEST(lacking);
  CHECK(Machine().backend->halves() == nullptr);
  Machine plain;
  Machine machine(2, Precision::bf16);
  for (const Case& c : cases) {
    CAPTURE(c.heads);
    CAPTURE(c.columns);
    check(c, *plain.backend, *machine.backend);
  }
}

TEST_CASE(
    "gat with its rows kept as bf16 depends on no number of threads, and takes the memory that it says") {
  if (const char* lacking = lacking_precision(Precision::bf16)) SKIP_TEST(lacking);
  for (const std::uint32_t heads : {1U, 3U, 4U}) {
    CAPTURE(heads);
    const RandomBatchOptions drawn{.seed = heads, .seed_count = 61, .fanouts = {40, 3, 4}, .columns = 37};
    const RandomBatch batch(drawn);
    const ModelOptions options{.feature_columns = drawn.columns,
                               .hidden_columns = 60,
                               .class_count = drawn.class_count,
                               .layer_count = 3,
                               .dropout = 0.3F,
                               .head_count = heads,
                               .seed = 2};
    const auto run = [&](std::size_t threads, Precision precision) {
      return train("gat", options, batch.view(), batch.maxima(), threads, precision);
    };
    const auto alone = run(1, Precision::bf16);
    CHECK(equal_bits(alone, run(3, Precision::bf16)));
    CHECK(!equal_bits(alone, run(1, Precision::f32)));
    const Machine machine(1, Precision::bf16);
    CountingBackend backend(*machine.backend);
    const auto model = make_model("gat", backend, options, batch.maxima());
    CHECK(backend.allocated_bytes() == model_bytes("gat", backend, options, batch.maxima()));
  }
}
