// Products, element-wise operators, dropout and the optimizer against the f64 reference.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/compute/reference.h"
#include "tests/engine/framed_matrix.h"
#include "tests/engine/model_runs.h"
#include "tests/engine/test_backend.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using namespace gneiss::test;
using reference::Matrix;

TEST_CASE("products with their epilogues, and both of their gradients, are the reference's") {
  Machine machine;
  struct Shape {
    std::size_t n, k, m;
  };
  for (const Shape& s : {Shape{1, 1, 1}, Shape{3, 5, 7}, Shape{255, 16, 32}, Shape{257, 33, 17},
                         Shape{1025, 20, 47}, Shape{5000, 9, 3}, Shape{2049, 37, 50}, Shape{40, 300, 130},
                         Shape{1, 2048, 37}, Shape{9, 3, 2048}, Shape{0, 4, 4}}) {
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

    // Added to what is there: twice the product, the bias once.
    machine.backend->linear(x.view, weight.view, {}, out.view);
    machine.backend->linear_add(x.view, weight.view, {.bias = bias}, out.view);
    Matrix twice = reference::linear(reference::widen(x.view), reference::widen(weight.view));
    for (double& value : twice.values) value = 2 * value + 0.25;
    CHECK(distance(reference::widen(out.view), twice) < 1e-5);

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

TEST_CASE("names of activations are read back, and others refused with the names there are") {
  for (const Activation activation : activations) CHECK(parse_activation(name_of(activation)) == activation);
  EXPECT_ERROR(parse_activation("gelu"), Kind::config, "use relu, leaky_relu, elu, tanh or none");
}

TEST_CASE("what is no number stays so through an epilogue") {
  Machine machine;
  for (const Activation activation : activations) {
    CAPTURE(name_of(activation));
    Framed values = random_matrix(1, 3, 21);
    for (const std::size_t c : {0U, 15U, 20U}) values.view(1, c) = std::nanf("");
    machine.backend->apply_epilogue({.activation = activation}, values.view);
    for (const std::size_t c : {0U, 15U, 20U}) CHECK(std::isnan(values.view(1, c)));
    CHECK(!std::isnan(values.view(1, 1)));
  }
}

TEST_CASE("activations saturate where they should, without a number that is none") {
  Machine machine;
  const std::vector<float> inputs{-INFINITY, -1e30F, -100, -1e-6F, 0, 1e-6F, 30, 1e30F, INFINITY};
  for (const Activation activation : activations) {
    CAPTURE(name_of(activation));
    std::vector<float> out = inputs;
    machine.backend->apply_epilogue({.activation = activation}, MatrixView(out.data(), 1, out.size()));
    Matrix expected(1, inputs.size());
    for (std::size_t i = 0; i < inputs.size(); ++i) expected.values[i] = static_cast<double>(inputs[i]);
    reference::activate(expected, activation, {});
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      CAPTURE(inputs[i]);
      CHECK((static_cast<double>(out[i]) == expected.values[i] ||
             std::abs(static_cast<double>(out[i]) / expected.values[i] - 1) < 1e-6));
    }
  }
}

TEST_CASE("an epilogue's gradient passes what the epilogue passed") {
  Machine machine;
  for (const Width& width : widths) {
    const std::uint32_t columns = width.columns;
    CAPTURE(columns);
    const std::vector<NodeId> nodes = nodes_from(1, 40);
    for (const Activation activation : activations) {
      CAPTURE(name_of(activation));
      const Dropout dropout{0.5F, mix_key(6), nodes};
      Framed activated = random_matrix(1, 40, columns, width.margin);
      const Matrix before = reference::widen(activated.view);
      Matrix after = before;
      reference::activate(after, activation, dropout);
      for (std::size_t r = 0; r < 40; ++r) {
        for (std::size_t c = 0; c < columns; ++c) activated.view(r, c) = static_cast<float>(after(r, c));
      }
      Framed gradient = random_matrix(2, 40, columns, width.margin);
      Matrix expected = reference::widen(gradient.view);
      reference::activate_gradient(before, activation, dropout, expected);
      machine.backend->epilogue_gradient(activated.view, {.activation = activation, .dropout = dropout},
                                         gradient.view);
      CHECK(distance(reference::widen(gradient.view), expected) < 1e-6);
      CHECK(gradient.frame_is_untouched());
    }
  }
}

TEST_CASE("an epilogue alone, sums of two matrices and outer products added are the reference's") {
  Machine machine;
  for (const Width& width : widths) {
    const std::uint32_t columns = width.columns;
    CAPTURE(columns);
    for (const Activation activation : activations) {
      const std::size_t rows = activation == Activation::relu ? 1 : 21;
      const std::vector<NodeId> nodes = nodes_from(2, rows);
      Framed values = random_matrix(1, rows, columns, width.margin);
      const Framed more = random_matrix(2, rows, columns, width.margin);
      const std::vector<float> bias(columns, -0.5F);
      const Epilogue epilogue{.bias = bias, .activation = activation, .dropout = {0.25F, mix_key(7), nodes}};
      Matrix expected = reference::widen(values.view);
      const Matrix added = reference::widen(more.view);
      for (std::size_t i = 0; i < expected.values.size(); ++i) expected.values[i] += added.values[i];
      machine.backend->add(more.view, values.view);
      CHECK(distance(reference::widen(values.view), expected) < 1e-6);
      reference::add_bias(expected, std::vector<double>(columns, -0.5));
      reference::activate(expected, epilogue.activation, epilogue.dropout);
      machine.backend->apply_epilogue(epilogue, values.view);
      CHECK(distance(reference::widen(values.view), expected) < 1e-6);
      CHECK(values.frame_is_untouched());

      const Framed few = random_matrix(3, rows, 4);
      Framed sums = random_matrix(4, 4, columns, width.margin);
      expected = reference::widen(sums.view);
      const Matrix products = reference::weight_gradient(added, reference::widen(few.view));
      for (std::size_t i = 0; i < expected.values.size(); ++i) expected.values[i] += products.values[i];
      machine.backend->add_outer_products(more.view, few.view, sums.view);
      CHECK(distance(reference::widen(sums.view), expected) < 1e-5);
      CHECK(sums.frame_is_untouched());
    }
  }
}

TEST_CASE("a product's columns in a wider matrix have the dropout of their place there") {
  Machine machine;
  const std::vector<NodeId> nodes = nodes_from(1, 50);
  const Framed x = random_matrix(1, 50, 9);
  const Framed weight = random_matrix(2, 24, 9);
  const Dropout dropout{0.5F, mix_key(3), nodes};
  Framed whole(50, 24);
  machine.backend->linear(x.view, weight.view, {.dropout = dropout}, whole.view);
  Framed parts(50, 24);
  for (const std::size_t first : {0U, 7U, 16U}) {
    const std::size_t count = first == 0 ? 7 : first == 7 ? 9 : 8;
    machine.backend->linear(x.view, weight.view.row_range(first, count),
                            {.dropout = dropout, .first_column = first},
                            parts.view.column_range(first, count));
  }
  CHECK(distance(reference::widen(parts.view), reference::widen(whole.view)) < 1e-6);
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
