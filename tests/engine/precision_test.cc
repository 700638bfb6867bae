// Products in tf32 and bf16: exact where the numbers are bf16's own, within their rounding elsewhere, the
// same for any number of threads.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "engine/compute/reference.h"
#include "engine/nn/cross_entropy.h"
#include "storage/base/dtype.h"
#include "tests/engine/framed_matrix.h"
#include "tests/engine/model_runs.h"
#include "tests/engine/random_batch.h"
#include "tests/engine/reference_model.h"
#include "tests/engine/test_backend.h"
#include "tests/support/skip.h"

using namespace gneiss;
using namespace gneiss::test;
using reference::Matrix;

namespace {

// What both sides of a product may be rounded to here.
std::vector<Precision> narrow_precisions() {
  if (backend_kind() == BackendKind::cpu) return {Precision::bf16};
  return {Precision::tf32, Precision::bf16};
}

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
  Framed framed = gneiss::test::random_matrix(seed, rows, columns);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; is_rounded && c < columns; ++c) framed.view(r, c) = rounded(framed.view(r, c));
  }
  return framed;
}

Matrix magnitudes(ConstMatrixView matrix) {
  Matrix result = reference::widen(matrix);
  for (double& value : result.values) value = std::abs(value);
  return result;
}

// The largest error of any element, as a share of what it may be. Each factor of a term is off by up to u of
// itself, so a sum by up to 2 u of its terms' magnitudes: u is 2^-8 for the 8 digits of bf16, 2^-11 for the
// 11 of tf32 or, where a tensor core cuts the others off, 2^-10. Sums in f32 add their own: for so few terms
// less than 2^-20 of the same.
double share_of_bound(const Matrix& computed, const Matrix& exact, const Matrix& terms, Precision precision,
                      bool is_rounded) {
  REQUIRE(computed.values.size() == exact.values.size());
  REQUIRE(computed.values.size() == terms.values.size());
  const double factors = is_rounded ? 0 : 2 * std::exp2(precision == Precision::tf32 ? -10 : -8);
  double most = 0;
  for (std::size_t i = 0; i < exact.values.size(); ++i) {
    const double share =
        std::abs(computed.values[i] - exact.values[i]) / ((factors + std::exp2(-20)) * terms.values[i]);
    if (std::isnan(share)) return share;
    most = std::max(most, share);
  }
  return most;
}

ModelOptions options_of(const RandomBatchOptions& batch) {
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

void check_products(Precision precision) {
  Machine machine(2, precision);
  Backend& backend = *machine.backend;
  for (const bool is_rounded : {true, false}) {
    const auto share = [&](ConstMatrixView computed, const Matrix& exact, const Matrix& terms) {
      return share_of_bound(reference::widen(computed), exact, terms, precision, is_rounded);
    };
    for (const ProductShape& s : product_shapes) {
      CAPTURE(s.n);
      CAPTURE(s.k);
      CAPTURE(s.m);
      const Framed x = random_matrix(1, s.n, s.k, is_rounded);
      const Framed weight = random_matrix(2, s.m, s.k, is_rounded);
      const Framed dz = random_matrix(3, s.n, s.m, is_rounded);
      Matrix exact = reference::linear(reference::widen(x.view), reference::widen(weight.view));
      Matrix terms = reference::linear(magnitudes(x.view), magnitudes(weight.view));
      Framed out(s.n, s.m);
      backend.linear(x.view, weight.view, {}, out.view);
      CHECK(share(out.view, exact, terms) <= 1);
      if (!is_rounded) CHECK(share(out.view, exact, terms) > 0.01);  // or it was in f32
      backend.linear_add(x.view, weight.view, {.activation = Activation::relu}, out.view);
      for (double& value : exact.values) value = std::max(0.0, 2 * value);
      for (double& value : terms.values) value *= 2;
      CHECK(share(out.view, exact, terms) <= 1);

      Framed dw(s.m, s.k);
      std::vector<float> db(s.m);
      std::vector<float> scratch(backend.weight_gradient_scratch(s.n, s.m, s.k));
      backend.linear_weight_gradient(x.view, dz.view, dw.view, db, scratch);
      exact = reference::weight_gradient(reference::widen(x.view), reference::widen(dz.view));
      terms = reference::weight_gradient(magnitudes(x.view), magnitudes(dz.view));
      CHECK(share(dw.view, exact, terms) <= 1);
      const auto sums = reference::column_sums(reference::widen(dz.view));
      for (std::size_t c = 0; c < s.m; ++c) {  // not a product: in f32
        CHECK(static_cast<double>(db[c]) == doctest::Approx(sums[c]).epsilon(1e-5).scale(10));
      }
      Framed dx(s.n, s.k);
      backend.linear_input_gradient(dz.view, weight.view, dx.view);
      exact = reference::input_gradient(reference::widen(dz.view), reference::widen(weight.view));
      terms = reference::input_gradient(magnitudes(dz.view), magnitudes(weight.view));
      CHECK(share(dx.view, exact, terms) <= 1);
      CHECK((out.frame_is_untouched() && dw.frame_is_untouched() && dx.frame_is_untouched()));
    }
  }
}

// Heads of 48, 16 and 12 columns, side by side and, in the last layer, averaged; their aggregates of 37
// and 48.
void check_gat(Precision precision, std::uint32_t heads) {
  CAPTURE(heads);
  const RandomBatchOptions drawn{.seed = 7, .seed_count = 80, .fanouts = {4, 5}, .columns = 37};
  const RandomBatch batch(drawn);
  ModelOptions options = options_of(drawn);
  options.head_count = heads;
  std::vector<std::vector<Matrix>> gradients;
  std::vector<std::string> names;
  for (const Precision each : {Precision::f32, precision}) {
    Machine machine(2, each);
    Backend* const backend = machine.backend.get();
    const auto model = make_model("gat", *backend, options, batch.maxima());
    CrossEntropy loss(*backend, batch.maxima().back().dst_count, drawn.class_count);
    const StepContext context{.is_training = true, .seed = 3, .step = 9};
    loss.evaluate_with_gradient(model->forward(batch.view(), context), batch.view());
    model->backward(batch.view(), loss.gradient());
    gradients.push_back(read_gradients(*model));
    names.clear();
    for (const auto& parameter : model->parameters().parameters()) names.push_back(parameter.name);
  }
  for (std::size_t p = 0; p < gradients[0].size(); ++p) {
    CAPTURE(p);
    // att_dst shifts all scores of a destination, which changes no share: its gradient is what the two slopes
    // of the leaky ReLU leave of sums that cancel.
    const double bound = names[p].ends_with("att_dst") ? 0.2 : 0.1;
    CHECK(norm_distance(gradients[1][p], gradients[0][p]) < bound);
    CHECK(gradients[1][p].values != gradients[0][p].values);
  }
}

}  // namespace

TEST_CASE(
    "products of bf16's own numbers are the reference's, those of others within the precision's rounding") {
  for (const Precision precision : narrow_precisions()) {
    if (const char* lacking = lacking_precision(precision)) SKIP_TEST(lacking);
    CAPTURE(name_of(precision));
    check_products(precision);
  }
}

TEST_CASE("a model has the reference's logits, loss and gradients within its products' rounding") {
  for (const Precision precision : narrow_precisions()) {
    if (const char* lacking = lacking_precision(precision)) SKIP_TEST(lacking);
    CAPTURE(name_of(precision));
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
      const RandomBatchOptions drawn{.seed = 6, .seed_count = 80, .fanouts = c.fanouts, .columns = 37};
      const RandomBatch batch(drawn);
      Machine machine(2, precision);
      Backend* const backend = machine.backend.get();
      const auto model = make_model(c.model, *backend, options_of(drawn), batch.maxima());
      CrossEntropy loss(*backend, batch.maxima().back().dst_count, drawn.class_count);
      const StepContext context{.is_training = true, .seed = 3, .step = 9};
      const ConstMatrixView logits = model->forward(batch.view(), context);
      const auto expected =
          run_reference(c.model, options_of(drawn), read_parameters(*model), batch.view(), context);
      const double apart = norm_distance(reference::widen(logits), expected.logits);
      CHECK(apart < 1e-2);
      CHECK(apart > 1e-5);  // or it was not in bf16
      const LossSum sum = loss.evaluate_with_gradient(logits, batch.view());
      CHECK(sum.mean() == doctest::Approx(expected.loss.mean).epsilon(5e-3));
      model->backward(batch.view(), loss.gradient());
      const auto gradients = read_gradients(*model);
      for (std::size_t p = 0; p < gradients.size(); ++p) {
        CAPTURE(model->parameters().parameters()[p].name);
        CHECK(norm_distance(gradients[p], expected.gradients[p]) < c.bound);
      }
    }
  }
}

TEST_CASE("gat has the gradients of gat in f32 within its products' rounding") {
  for (const Precision precision : narrow_precisions()) {
    if (const char* lacking = lacking_precision(precision)) SKIP_TEST(lacking);
    CAPTURE(name_of(precision));
    for (const std::uint32_t heads : {1U, 3U, 4U}) check_gat(precision, heads);
  }
}

TEST_CASE("the number of threads changes no bit of a training run in tf32 or bf16") {
  for (const Precision precision : narrow_precisions()) {
    if (const char* lacking = lacking_precision(precision)) SKIP_TEST(lacking);
    CAPTURE(name_of(precision));
    const RandomBatchOptions drawn{
        .seed = 4, .node_count = 6000, .seed_count = fitting_rows(700), .fanouts = {4, 3}, .columns = 65};
    const RandomBatch batch(drawn);
    for (const std::string name : {"sage", "gat"}) {
      const auto run = [&](std::size_t threads) {
        return train(name, options_of(drawn), batch.view(), batch.maxima(), threads, precision);
      };
      const auto alone = run(1);
      for (const std::size_t threads : {2U, 3U, 5U}) CHECK(equal_bits(alone, run(threads)));
    }
  }
}
