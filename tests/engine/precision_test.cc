// Products in bf16: exact where the numbers are bf16's own, within its rounding elsewhere, the same for any
// number of threads, in the memory that was foretold.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "engine/compute/cpu/bf16_kernels.h"
#include "engine/compute/cpu/bf16_products.h"
#include "engine/compute/cpu/cpu_backend.h"
#include "engine/compute/reference.h"
#include "engine/nn/cross_entropy.h"
#include "storage/base/dtype.h"
#include "storage/base/parallel.h"
#include "storage/base/random.h"
#include "tests/engine/model_runs.h"
#include "tests/engine/random_batch.h"
#include "tests/engine/reference_model.h"
#include "tests/support/expect_error.h"
#include "tests/support/skip.h"

using namespace gneiss;
using gneiss::test::distance;
using gneiss::test::equal_bits;
using gneiss::test::RandomBatch;
using reference::Matrix;

namespace {

constexpr const char* lacking = "this processor has no AVX512_BF16";

// Inside a wider matrix whose other columns must stay as they are.
struct Framed {
  std::vector<float> memory;
  MatrixView view;

  Framed(std::size_t rows, std::size_t columns)
      : memory(rows * (columns + 3) + 1, 12345.0F), view(memory.data(), rows, columns, columns + 3) {}
  bool frame_is_untouched() const {
    for (std::size_t r = 0; r < view.rows; ++r) {
      for (std::size_t c = 0; c < 3; ++c) {
        if (view.row(r)[view.columns + c] != 12345.0F) return false;
      }
    }
    return memory.back() == 12345.0F;
  }
};

float rounded(float value) {
  std::uint16_t half = 0;
  float wide = 0;
  convert(Dtype::f32, reinterpret_cast<const std::byte*>(&value), Dtype::bf16,
          reinterpret_cast<std::byte*>(&half), 1);
  convert(Dtype::bf16, reinterpret_cast<const std::byte*>(&half), Dtype::f32,
          reinterpret_cast<std::byte*>(&wide), 1);
  return wide;
}

Framed random_matrix(std::uint64_t seed, std::size_t rows, std::size_t columns, bool is_rounded) {
  Framed framed(rows, columns);
  RandomStream draws(mix_key(seed));
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) {
      const auto value = static_cast<float>(draws.normal());
      framed.view(r, c) = is_rounded ? rounded(value) : value;
    }
  }
  return framed;
}

struct Shape {
  std::size_t n, k, m;
};
// Odd sums, tails of every kind, several panels, pieces and blocks of pairs.
const std::vector<Shape> shapes{{16, 1, 1},     {17, 2, 3},     {31, 33, 31},   {257, 64, 32},
                                {300, 31, 33},  {256, 256, 48}, {1025, 20, 47}, {90, 515, 70},
                                {5000, 130, 9}, {100, 300, 130}};

ModelOptions options_of(const gneiss::test::RandomBatchOptions& batch) {
  return {.feature_columns = batch.columns,
          .hidden_columns = 48,
          .class_count = batch.class_count,
          .layer_count = static_cast<std::uint32_t>(batch.fanouts.size()),
          .dropout = 0.3F,
          .seed = 11};
}

// Of the difference, as a share of the reference's norm: single elements behind a relu may be 0 in one alone.
double norm_distance(const Matrix& a, const Matrix& b) {
  double difference = 0;
  double norm = 1e-12;
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    difference += (a.values[i] - b.values[i]) * (a.values[i] - b.values[i]);
    norm += b.values[i] * b.values[i];
  }
  return std::sqrt(difference / norm);
}

}  // namespace

TEST_CASE("names of precisions, and what lacks them, are told in a sentence") {
  CHECK(parse_precision("f32") == Precision::f32);
  CHECK(parse_precision("bf16") == Precision::bf16);
  CHECK(parse_precision("tf32") == Precision::tf32);
  CHECK(name_of(Precision::bf16) == "bf16");
  EXPECT_ERROR(parse_precision("f16"), Kind::config, "use f32, tf32 or bf16");
  ThreadPool pool(1);
  CHECK(make_cpu_backend(pool)->precision() == Precision::f32);
  CHECK(make_cpu_backend(pool)->working_bytes(100, 100) == 0);
  EXPECT_ERROR(make_cpu_backend(pool, Precision::tf32), Kind::config, "tf32");
  if (cpu::has_bf16_products()) {
    CHECK(make_cpu_backend(pool, Precision::bf16)->precision() == Precision::bf16);
  } else {
    EXPECT_ERROR(make_cpu_backend(pool, Precision::bf16), Kind::config, "AVX512_BF16");
  }
}

TEST_CASE("products of bf16's own numbers are the reference's, those of others within its rounding") {
  if (!cpu::has_bf16_products()) SKIP_TEST(lacking);
  ThreadPool pool(2);
  const auto backend = make_cpu_backend(pool, Precision::bf16);
  for (const bool is_rounded : {true, false}) {
    const double bound = is_rounded ? 1e-5 : 1e-2;
    for (const Shape& s : shapes) {
      CAPTURE(s.n);
      CAPTURE(s.k);
      CAPTURE(s.m);
      const Framed x = random_matrix(1, s.n, s.k, is_rounded);
      const Framed weight = random_matrix(2, s.m, s.k, is_rounded);
      const Framed dz = random_matrix(3, s.n, s.m, is_rounded);
      const Matrix product = reference::linear(reference::widen(x.view), reference::widen(weight.view));
      Framed out(s.n, s.m);
      backend->linear(x.view, weight.view, {}, out.view);
      CHECK(distance(reference::widen(out.view), product) < bound);
      backend->linear_add(x.view, weight.view, {.activation = Activation::relu}, out.view);
      Matrix twice = product;
      for (double& value : twice.values) value = std::max(0.0, 2 * value);
      CHECK(distance(reference::widen(out.view), twice) < bound);

      Framed dw(s.m, s.k);
      std::vector<float> db(s.m);
      std::vector<float> scratch(backend->weight_gradient_scratch(s.n, s.m, s.k));
      backend->linear_weight_gradient(x.view, dz.view, dw.view, db, scratch);
      CHECK(distance(reference::widen(dw.view),
                     reference::weight_gradient(reference::widen(x.view), reference::widen(dz.view))) <
            bound);
      const auto sums = reference::column_sums(reference::widen(dz.view));
      for (std::size_t c = 0; c < s.m; ++c) {  // not a product: in f32
        CHECK(static_cast<double>(db[c]) == doctest::Approx(sums[c]).epsilon(1e-5).scale(10));
      }
      Framed dx(s.n, s.k);
      backend->linear_input_gradient(dz.view, weight.view, dx.view);
      CHECK(distance(reference::widen(dx.view),
                     reference::input_gradient(reference::widen(dz.view), reference::widen(weight.view))) <
            bound);
      CHECK((out.frame_is_untouched() && dw.frame_is_untouched() && dx.frame_is_untouched()));
    }
  }
}

TEST_CASE("what bf16's products keep is what they say they will keep, at most") {
  if (!cpu::has_bf16_products()) SKIP_TEST(lacking);
  for (const Shape& s : shapes) {
    for (const std::size_t threads : {1U, 3U}) {
      ThreadPool pool(threads);
      const cpu::PieceRunner pieces(pool);
      cpu::Bf16Products products(pieces);
      const Framed x = random_matrix(1, s.n, s.k, false);
      const Framed weight = random_matrix(2, s.m, s.k, false);
      Framed z = random_matrix(3, s.n, s.m, false);
      Framed dx(s.n, s.k);
      Framed dw(s.m, s.k);
      products.linear(x.view, weight.view, {}, z.view, cpu::Into::set);
      products.input_gradient(z.view, weight.view, dx.view);
      for (std::size_t worker = 0; worker < threads; ++worker) {
        products.outer_products(x.view, z.view, dw.view, worker);
      }
      CHECK(products.kept_bytes() > 0);
      CHECK(products.kept_bytes() <= cpu::Bf16Products::bytes(threads, s.k, s.m));
    }
  }
}

TEST_CASE("a model in bf16 has the reference's logits, loss and gradients within bf16's rounding") {
  if (!cpu::has_bf16_products()) SKIP_TEST(lacking);
  struct Case {
    std::string model;
    std::vector<std::uint32_t> fanouts;
    double bound;  // of gradients
  };
  // bf16 rounds by up to 2^-9. Of the values before a relu about so large a share changes its side, and a
  // gradient's norm feels the root of that share, layer by layer.
  for (const Case& c : {Case{"sage", {5}, 1e-2}, Case{"gcn", {5}, 1e-2}, Case{"sage", {4, 5}, 0.1},
                        Case{"gcn", {4, 5}, 0.1}, Case{"gin", {4, 5}, 0.1}, Case{"mlp", {4, 5}, 0.1}}) {
    CAPTURE(c.model);
    const gneiss::test::RandomBatchOptions drawn{
        .seed = 6, .seed_count = 80, .fanouts = c.fanouts, .columns = 37};
    const RandomBatch batch(drawn);
    ThreadPool pool(2);
    const auto backend = make_cpu_backend(pool, Precision::bf16);
    const auto model = make_model(c.model, *backend, options_of(drawn), batch.maxima());
    CrossEntropy loss(*backend, batch.maxima().back().dst_count, drawn.class_count);
    const StepContext context{.is_training = true, .seed = 3, .step = 9};
    const ConstMatrixView logits = model->forward(batch.view(), context);
    const auto expected = gneiss::test::run_reference(
        c.model, options_of(drawn), gneiss::test::read_parameters(*model), batch.view(), context);
    const double apart = norm_distance(reference::widen(logits), expected.logits);
    CHECK(apart < 1e-2);
    CHECK(apart > 1e-5);  // or it was not in bf16
    const LossSum sum = loss.evaluate_with_gradient(logits, batch.view());
    CHECK(sum.mean() == doctest::Approx(expected.loss.mean).epsilon(5e-3));
    model->backward(batch.view(), loss.gradient());
    const auto gradients = gneiss::test::read_gradients(*model);
    for (std::size_t p = 0; p < gradients.size(); ++p) {
      CAPTURE(model->parameters().parameters()[p].name);
      CHECK(norm_distance(gradients[p], expected.gradients[p]) < c.bound);
    }
  }
}

TEST_CASE("gat in bf16 has the gradients of gat in f32 within bf16's rounding") {
  if (!cpu::has_bf16_products()) SKIP_TEST(lacking);
  const gneiss::test::RandomBatchOptions drawn{.seed = 7, .seed_count = 80, .fanouts = {4, 5}, .columns = 37};
  const RandomBatch batch(drawn);
  ThreadPool pool(2);
  std::vector<std::vector<Matrix>> gradients;
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    const auto backend = make_cpu_backend(pool, precision);
    const auto model = make_model("gat", *backend, options_of(drawn), batch.maxima());
    CrossEntropy loss(*backend, batch.maxima().back().dst_count, drawn.class_count);
    const StepContext context{.is_training = true, .seed = 3, .step = 9};
    loss.evaluate_with_gradient(model->forward(batch.view(), context), batch.view());
    model->backward(batch.view(), loss.gradient());
    gradients.push_back(gneiss::test::read_gradients(*model));
  }
  for (std::size_t p = 0; p < gradients[0].size(); ++p) {
    CAPTURE(p);
    CHECK(norm_distance(gradients[1][p], gradients[0][p]) < 0.1);
    CHECK(gradients[1][p].values != gradients[0][p].values);
  }
}

TEST_CASE("the number of threads changes no bit of a training run in bf16") {
  if (!cpu::has_bf16_products()) SKIP_TEST(lacking);
  const gneiss::test::RandomBatchOptions drawn{
      .seed = 4, .node_count = 6000, .seed_count = 700, .fanouts = {4, 3}, .columns = 65};
  const RandomBatch batch(drawn);
  for (const std::string name : {"sage", "gat"}) {
    const auto run = [&](std::size_t threads) {
      return gneiss::test::train(name, options_of(drawn), batch.view(), batch.maxima(), threads,
                                 Precision::bf16);
    };
    const auto alone = run(1);
    for (const std::size_t threads : {2U, 3U, 5U}) CHECK(equal_bits(alone, run(threads)));
  }
}
