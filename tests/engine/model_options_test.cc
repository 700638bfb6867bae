// Models with the options that only some runs use: against an f64 forward and its finite differences, and
// against themselves on other threads and other tiers.
#include <doctest/doctest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "engine/compute/cpu/kernels.h"
#include "engine/nn/cross_entropy.h"
#include "engine/nn/model.h"
#include "engine/nn/optimizer.h"
#include "storage/base/parallel.h"
#include "storage/base/random.h"
#include "tests/engine/counting_backend.h"
#include "tests/engine/model_runs.h"
#include "tests/engine/random_batch.h"
#include "tests/engine/reference_forward.h"
#include "tests/engine/test_backend.h"

using namespace gneiss;
using gneiss::test::distance;
using gneiss::test::equal_bits;
using gneiss::test::fitting_rows;
using gneiss::test::Machine;
using gneiss::test::of_cpu;
using gneiss::test::RandomBatch;
using gneiss::test::RandomBatchOptions;
using gneiss::test::train;
using reference::Matrix;

namespace {

struct Case {
  std::string model;
  RandomBatchOptions batch;
  ModelOptions options;  // what follows from the batch is filled in by cases()
};

std::vector<Case> cases() {
  const RandomBatchOptions two;
  const RandomBatchOptions three{.seed = 2, .fanouts = {2, 3, 4}, .columns = 33, .dtype = Dtype::bf16};
  const RandomBatchOptions one{
      .seed = 3, .seed_count = 300, .fanouts = {5}, .columns = 7, .dtype = Dtype::f16};
  // Few nodes: edges from a node to itself, sources that are destinations too, and edges that come twice.
  const RandomBatchOptions dense{.seed = 4, .node_count = 40, .fanouts = {6, 9}, .columns = 18};
  // More than 32 neighbors a node, more than 256 destinations, rows of more than eight vectors.
  const RandomBatchOptions wide{
      .seed = 5, .node_count = 300, .seed_count = 30, .fanouts = {3, 50}, .columns = 150};
  std::vector<Case> cases{
      {"gat", two, {.hidden_columns = 16, .dropout = 0.0F, .head_count = 1}},
      {"gat", two, {.hidden_columns = 20, .dropout = 0.5F, .head_count = 4}},
      {"gat", three, {.hidden_columns = 24, .dropout = 0.3F, .head_count = 3}},
      {"gat", one, {.hidden_columns = 8, .dropout = 0.5F, .head_count = 8}},
      {"gat", dense, {.hidden_columns = 18, .dropout = 0.0F, .head_count = 2}},
      {"gat", dense, {.hidden_columns = 18, .dropout = 0.4F, .head_count = 6}},
      {"gat", wide, {.hidden_columns = 130, .dropout = 0.2F, .head_count = 5}},
      {"sage", two, {.hidden_columns = 16, .dropout = 0.0F, .aggregator = Aggregator::max}},
      {"sage", three, {.hidden_columns = 24, .dropout = 0.3F, .aggregator = Aggregator::max}},
      {"sage", one, {.hidden_columns = 8, .dropout = 0.5F, .aggregator = Aggregator::max}},
      {"sage", dense, {.hidden_columns = 17, .dropout = 0.5F, .aggregator = Aggregator::max}},
      {"sage", wide, {.hidden_columns = 130, .dropout = 0.2F, .aggregator = Aggregator::max}},
      // Widths that are equal and that are not; a norm alone, a residual alone, and both.
      {"sage", two, {.hidden_columns = 13, .dropout = 0.0F, .residual = true}},
      {"sage", three, {.hidden_columns = 24, .dropout = 0.3F, .residual = true, .norm = NormKind::batch}},
      {"sage", dense, {.hidden_columns = 18, .dropout = 0.5F, .norm = NormKind::layer}},
      {"gat",
       dense,
       {.hidden_columns = 18, .dropout = 0.2F, .head_count = 3, .residual = true, .norm = NormKind::batch}},
      {"gat", three, {.hidden_columns = 32, .dropout = 0.0F, .residual = true, .norm = NormKind::layer}},
      {"mlp", three, {.hidden_columns = 21, .dropout = 0.4F, .residual = true, .norm = NormKind::layer}},
      {"mlp", two, {.hidden_columns = 40, .dropout = 0.0F, .norm = NormKind::batch}},
      {"mlp", one, {.hidden_columns = 40, .dropout = 0.0F, .residual = true, .norm = NormKind::batch}},
      // Every activation, before a residual and after a norm.
      {"gat", dense, {.hidden_columns = 18, .activation = Activation::elu, .dropout = 0.4F, .head_count = 2}},
      {"sage",
       three,
       {.hidden_columns = 17, .activation = Activation::elu, .dropout = 0.3F, .residual = true}},
      {"sage",
       dense,
       {.hidden_columns = 24, .activation = Activation::tanh, .dropout = 0.3F, .norm = NormKind::layer}},
      {"mlp", three, {.hidden_columns = 21, .activation = Activation::leaky_relu, .dropout = 0.4F}},
      {"gat",
       three,
       {.hidden_columns = 18, .activation = Activation::none, .dropout = 0.2F, .head_count = 3}},
  };
  for (Case& c : cases) {
    c.options.feature_columns = c.batch.columns;
    c.options.class_count = c.batch.class_count;
    c.options.layer_count = static_cast<std::uint32_t>(c.batch.fanouts.size());
    c.options.seed = 11;
  }
  return cases;
}

constexpr StepContext training{.is_training = true, .seed = 3, .step = 9};

// Biases start at 0, and a model of zeros shows little: gives every parameter some noise.
void disturb(Model& model) {
  for (const Parameter& parameter : model.parameters().parameters()) {
    RandomStream draws(mix_key(17, parameter.offset));
    std::vector<float> values(parameter.element_count());
    model.parameters().read(parameter, values);
    for (float& value : values) value += static_cast<float>(0.1 * draws.uniform());
    model.parameters().write(parameter, values);
  }
}

// The engine's gradients of one step, and under "logits" its logits.
gneiss::test::NamedParameters run_step(const Case& c, const RandomBatch& batch, Model& model) {
  CrossEntropy loss(model.backend(), batch.maxima().back().dst_count, c.options.class_count);
  const ConstMatrixView logits = model.forward(batch.view(), training);
  const Matrix kept = reference::widen(logits);
  loss.evaluate_with_gradient(logits, batch.view());
  model.backward(batch.view(), loss.gradient());
  gneiss::test::NamedParameters result = gneiss::test::read_named_gradients(model);
  result["logits"] = kept;
  return result;
}

double largest(const Matrix& matrix) {
  double most = 0;
  for (const double value : matrix.values) most = std::max(most, std::abs(value));
  return most;
}

// Of a tensor. A sanitizer looks for what numbers do not tell.
#ifdef GNEISS_SANITIZED
constexpr std::size_t slopes_each = 2;
#else
constexpr std::size_t slopes_each = 12;
#endif

}  // namespace

TEST_CASE("with any options, logits are those of the f64 forward and gradients the slopes of its loss") {
  for (const Case& c : cases()) {
    CAPTURE(c.model);
    CAPTURE(c.options.hidden_columns);
    const RandomBatch batch(c.batch);
    const Machine machine;
    const auto model = make_model(c.model, *machine.backend, c.options, batch.maxima());
    disturb(*model);
    gneiss::test::NamedParameters parameters = gneiss::test::read_named_parameters(*model);
    const auto logits = [&] {
      return gneiss::test::reference_logits(c.model, c.options, parameters, batch.view(), training);
    };
    auto computed = run_step(c, batch, *model);
    CHECK(distance(computed.at("logits"), logits()) < 1e-5);
    computed.erase("logits");
    const double h = 1e-6;
    for (const auto& [name, gradient] : computed) {
      CAPTURE(name);
      const double most = largest(gradient);
      // A bias before batch norm moves nothing.
      CHECK((most > 0 || c.options.norm == NormKind::batch));
      std::vector<double>& values = parameters.at(name).values;
      const std::size_t stride = values.size() / slopes_each + 1;
      for (std::size_t i = 0; i < values.size(); i += stride) {
        const double kept = values[i];
        const auto loss_at = [&](double x) {
          values[i] = x;
          return reference::cross_entropy(logits(), batch.view().targets).mean;
        };
        const double slope = (loss_at(kept + h) - loss_at(kept - h)) / (2 * h);
        values[i] = kept;
        CAPTURE(i);
        CHECK(std::abs(slope - gradient.values[i]) < 2e-5 * most + 1e-7);
      }
    }
  }
}

TEST_CASE("with any options, every instruction set computes the same" * of_cpu) {
  for (const Case& c : cases()) {
    CAPTURE(c.model);
    CAPTURE(c.options.hidden_columns);
    const RandomBatch batch(c.batch);
    const Machine machine;
    const auto results = [&] {
      const auto model = make_model(c.model, *machine.backend, c.options, batch.maxima());
      disturb(*model);
      return run_step(c, batch, *model);
    };
    const auto expected = results();
    for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
      hwy::SetSupportedTargetsForTest(target);
      hwy::GetChosenTarget().Update(hwy::SupportedTargets());
      CAPTURE(cpu::instruction_set());
      for (const auto& [name, values] : results()) {
        CAPTURE(name);
        // A bias before batch norm moves nothing: its gradient is rounding.
        const bool is_rounding = c.options.norm == NormKind::batch && largest(expected.at(name)) < 1e-6;
        CHECK((is_rounding ? largest(values) < 1e-6 : distance(values, expected.at(name)) < 1e-5));
      }
    }
    hwy::SetSupportedTargetsForTest(0);  // back to all
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
}

TEST_CASE("with any options, the number of threads, or a device's order, changes no bit of a training run") {
  for (Case c : cases()) {
    CAPTURE(c.model);
    c.batch.node_count = fitting_rows(3000);
    c.batch.seed_count = fitting_rows(700);  // several pieces
    const RandomBatch batch(c.batch);
    const auto alone = train(c.model, c.options, batch.view(), batch.maxima(), 1);
    for (const std::size_t threads : {2U, 5U}) {
      CHECK(equal_bits(alone, train(c.model, c.options, batch.view(), batch.maxima(), threads)));
    }
  }
}

TEST_CASE("with any options, where the input rows lie changes no bit of a training run") {
  for (const Case& c : cases()) {
    CAPTURE(c.model);
    RandomBatchOptions options = c.batch;
    options.tier_count = 1;
    const RandomBatch one_tier(options);
    const auto expected = train(c.model, c.options, one_tier.view(), one_tier.maxima(), 2);
    for (std::uint32_t tiers = 2; tiers <= 4; ++tiers) {
      options.tier_count = tiers;
      options.tier_seed = 100 + tiers;
      const RandomBatch split(options);
      CHECK(equal_bits(expected, train(c.model, c.options, split.view(), split.maxima(), 2)));
    }
  }
}

TEST_CASE("with any options, a model takes the memory that it says, and a step takes no more") {
  for (const Case& c : cases()) {
    CAPTURE(c.model);
    const RandomBatch batch(c.batch);
    const Machine machine;
    gneiss::test::CountingBackend backend(*machine.backend);
    const auto model = make_model(c.model, backend, c.options, batch.maxima());
    const ParameterList described = describe_parameters(c.model, c.options);
    CHECK(described.element_count() == model->parameters().element_count());
    const auto same = [](const Parameter& a, const Parameter& b) {
      return a.name == b.name && a.shape() == b.shape() && a.offset == b.offset && a.stride == b.stride;
    };
    CHECK(std::ranges::equal(described.parameters(), model->parameters().parameters(), same));
    CHECK(backend.allocated_bytes() == model_bytes(c.model, backend, c.options, batch.maxima()));
    CrossEntropy loss(backend, batch.maxima().back().dst_count, c.options.class_count);
    const std::uint64_t before = backend.allocated_bytes();
    const ConstMatrixView logits = model->forward(batch.view(), training);
    loss.evaluate_with_gradient(logits, batch.view());
    model->backward(batch.view(), loss.gradient());
    CHECK(backend.allocated_bytes() == before);
  }
}
