// Whole models: against finite differences, against the reference, and against themselves on other threads
// and other tiers.
#include "engine/nn/model.h"

#include <doctest/doctest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "engine/compute/cpu/kernels.h"
#include "engine/nn/cross_entropy.h"
#include "engine/nn/optimizer.h"
#include "storage/base/parallel.h"
#include "tests/engine/counting_backend.h"
#include "tests/engine/model_runs.h"
#include "tests/engine/random_batch.h"
#include "tests/engine/reference_model.h"
#include "tests/engine/test_backend.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using gneiss::test::distance;
using gneiss::test::equal_bits;
using gneiss::test::make_backend;
using gneiss::test::of_cpu;
using gneiss::test::RandomBatch;
using gneiss::test::RandomBatchOptions;
using gneiss::test::train;

namespace {

struct Case {
  std::string model;
  RandomBatchOptions batch;
  std::uint32_t hidden;
  float dropout;
};

std::vector<Case> cases() {
  RandomBatchOptions two;
  RandomBatchOptions three{.seed = 2, .fanouts = {2, 3, 4}, .columns = 33, .dtype = Dtype::bf16};
  RandomBatchOptions one{.seed = 3, .seed_count = 300, .fanouts = {5}, .columns = 7, .dtype = Dtype::f16};
  // Few nodes: edges from a node to itself, sources that are destinations too, and edges that come twice.
  RandomBatchOptions dense{.seed = 4, .node_count = 40, .fanouts = {6, 9}, .columns = 18};
  return {{"sage", two, 16, 0.0F},  {"sage", two, 19, 0.5F},  {"sage", three, 24, 0.3F},
          {"sage", one, 8, 0.5F},   {"gcn", two, 16, 0.0F},   {"gcn", three, 24, 0.3F},
          {"gcn", one, 8, 0.5F},    {"gcn", dense, 17, 0.5F}, {"gin", two, 16, 0.0F},
          {"gin", three, 21, 0.3F}, {"gin", one, 8, 0.5F},    {"gin", dense, 17, 0.5F},
          {"mlp", two, 16, 0.0F},   {"mlp", three, 21, 0.4F}};
}

ModelOptions options_of(const Case& c) {
  return {.feature_columns = c.batch.columns,
          .hidden_columns = c.hidden,
          .class_count = c.batch.class_count,
          .layer_count = static_cast<std::uint32_t>(c.batch.fanouts.size()),
          .dropout = c.dropout,
          .seed = 11};
}

// Fails the test where the engine's logits, loss or gradients are not the reference's.
void check_against_reference(const Case& c) {
  CAPTURE(c.model);
  CAPTURE(c.hidden);
  const RandomBatch batch(c.batch);
  ThreadPool pool(2);
  const auto backend = make_backend(pool);
  const auto model = make_model(c.model, *backend, options_of(c), batch.maxima());
  CrossEntropy loss(*backend, batch.maxima().back().dst_count, c.batch.class_count);
  const StepContext context{.is_training = true, .seed = 3, .step = 9};
  const ConstMatrixView logits = model->forward(batch.view(), context);
  const LossSum sum = loss.evaluate_with_gradient(logits, batch.view());
  const auto expected = gneiss::test::run_reference(
      c.model, options_of(c), gneiss::test::read_parameters(*model), batch.view(), context);
  CHECK(distance(reference::widen(logits), expected.logits) < 1e-5);
  CHECK(sum.mean() == doctest::Approx(expected.loss.mean).epsilon(1e-5));
  CHECK(sum.labelled_count == expected.loss.labelled_count);
  CHECK(sum.correct_count == expected.loss.correct_count);
  model->backward(batch.view(), loss.gradient());
  const auto gradients = gneiss::test::read_gradients(*model);
  REQUIRE(gradients.size() == expected.gradients.size());
  for (std::size_t p = 0; p < gradients.size(); ++p) {
    CAPTURE(model->parameters().parameters()[p].name);
    CHECK(distance(gradients[p], expected.gradients[p]) < 1e-5);
  }
}

}  // namespace

TEST_CASE("the reference's gradients are what finite differences say" * of_cpu) {
  for (Case c : cases()) {
    CAPTURE(c.model);
    c.batch.seed_count = std::min(c.batch.seed_count, 12U);
    const RandomBatch batch(c.batch);
    ThreadPool pool(1);
    const auto backend = make_backend(pool);
    const auto model = make_model(c.model, *backend, options_of(c), batch.maxima());
    const StepContext context{.is_training = true, .seed = 3, .step = 9};
    gneiss::test::Parameters parameters = gneiss::test::read_parameters(*model);
    const auto exact =
        gneiss::test::run_reference(c.model, options_of(c), parameters, batch.view(), context).gradients;
    const double h = 1e-6;
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      const std::size_t stride = std::max<std::size_t>(1, parameters[p].values.size() / 20);
      for (std::size_t i = 0; i < parameters[p].values.size(); i += stride) {
        double& value = parameters[p].values[i];
        const double kept = value;
        const auto loss_at = [&](double x) {
          value = x;
          return gneiss::test::run_reference(c.model, options_of(c), parameters, batch.view(), context)
              .loss.mean;
        };
        const double slope = (loss_at(kept + h) - loss_at(kept - h)) / (2 * h);
        value = kept;
        CHECK(slope == doctest::Approx(exact[p].values[i]).epsilon(1e-5).scale(0.1));
      }
    }
  }
}

TEST_CASE("a model's logits, loss and gradients are the reference's") {
  for (const Case& c : cases()) check_against_reference(c);
}

TEST_CASE("every instruction set that this processor has computes the reference's numbers" * of_cpu) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    const std::string name = hwy::TargetName(target);
    CAPTURE(name);
    CHECK(cpu::instruction_set() == name);
    for (const Case& c : cases()) check_against_reference(c);
  }
  hwy::SetSupportedTargetsForTest(0);  // back to all
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

TEST_CASE("the number of threads changes no bit of a training run") {
  for (const std::string name : {"sage", "mlp"}) {
    const Case c{
        name, {.seed = 4, .node_count = 6000, .seed_count = 700, .fanouts = {4, 3}, .columns = 65}, 70, 0.5F};
    const RandomBatch batch(c.batch);
    const auto alone = train(c.model, options_of(c), batch.view(), batch.maxima(), 1);
    for (const std::size_t threads : {2U, 3U, 5U}) {
      CHECK(equal_bits(alone, train(c.model, options_of(c), batch.view(), batch.maxima(), threads)));
    }
  }
}

TEST_CASE("where the input rows lie changes no bit of a training run") {
  for (const Case& c : cases()) {
    const RandomBatch one_tier([&] {
      RandomBatchOptions options = c.batch;
      options.tier_count = 1;
      return options;
    }());
    const auto expected = train(c.model, options_of(c), one_tier.view(), one_tier.maxima(), 2);
    for (std::uint32_t tiers = 2; tiers <= 4; ++tiers) {
      RandomBatchOptions options = c.batch;
      options.tier_count = tiers;
      options.tier_seed = 100 + tiers;
      const RandomBatch split(options);
      CHECK(equal_bits(expected, train(c.model, options_of(c), split.view(), split.maxima(), 2)));
    }
  }
}

TEST_CASE("evaluation has no dropout, and training at the same step the same dropout again") {
  for (const std::string name : {"sage", "gcn", "gat", "gin"}) {
    CAPTURE(name);
    const Case c{name, {}, 32, 0.5F};
    const RandomBatch batch(c.batch);
    ThreadPool pool(1);
    const auto backend = make_backend(pool);
    const auto model = make_model(name, *backend, options_of(c), batch.maxima());
    const auto logits = [&](const StepContext& context) {
      return reference::widen(model->forward(batch.view(), context)).values;
    };
    const auto evaluated = logits({});
    CHECK(evaluated == logits({.is_training = false, .seed = 7, .step = 9}));
    const auto trained = logits({.is_training = true, .seed = 7, .step = 9});
    CHECK(trained != evaluated);
    CHECK(trained == logits({.is_training = true, .seed = 7, .step = 9}));
    CHECK(trained != logits({.is_training = true, .seed = 7, .step = 10}));
    CHECK(trained != logits({.is_training = true, .seed = 8, .step = 9}));
  }
}

TEST_CASE("a few steps of training lower the loss") {
  for (const std::string name : {"sage", "gcn", "gat", "gin"}) {
    CAPTURE(name);
    const Case c{name, {.seed_count = 60}, 32, 0.0F};
    const RandomBatch batch(c.batch);
    ThreadPool pool(2);
    const auto backend = make_backend(pool);
    const auto model = make_model(name, *backend, options_of(c), batch.maxima());
    CrossEntropy loss(*backend, 60, c.batch.class_count);
    Optimizer optimizer(model->parameters(), {.learning_rate = 0.02F});
    double first = 0;
    double last = 0;
    for (std::uint64_t step = 0; step < 60; ++step) {
      const auto logits = model->forward(batch.view(), {.is_training = true, .seed = 1, .step = step});
      last = loss.evaluate_with_gradient(logits, batch.view()).mean();
      if (step == 0) first = last;
      model->backward(batch.view(), loss.gradient());
      optimizer.step();
    }
    CHECK(last < first / 4);
  }
}

TEST_CASE("parameters have PyG's names and shapes, and start inside PyG's bounds") {
  struct Expected {
    std::string name;
    std::vector<std::uint64_t> shape;
    double bound;
  };
  const auto linear = [](double inputs) { return 1 / std::sqrt(inputs); };
  const auto glorot = [](double inputs, double outputs) { return std::sqrt(6 / (inputs + outputs)); };
  const std::vector<std::pair<std::string, std::vector<Expected>>> models{
      {"sage",
       {{"convs.0.lin_l.weight", {16, 13}, linear(13)},
        {"convs.0.lin_r.weight", {16, 13}, linear(13)},
        {"convs.0.lin_l.bias", {16}, linear(13)},
        {"convs.1.lin_l.weight", {5, 16}, linear(16)},
        {"convs.1.lin_r.weight", {5, 16}, linear(16)},
        {"convs.1.lin_l.bias", {5}, linear(16)}}},
      {"gcn",
       {{"convs.0.lin.weight", {16, 13}, glorot(13, 16)},
        {"convs.0.bias", {16}, 0},
        {"convs.1.lin.weight", {5, 16}, glorot(16, 5)},
        {"convs.1.bias", {5}, 0}}},
      {"gat",
       {{"convs.0.lin.weight", {16, 13}, glorot(13, 16)},
        {"convs.0.att_src", {1, 4, 4}, glorot(4, 4)},
        {"convs.0.att_dst", {1, 4, 4}, glorot(4, 4)},
        {"convs.0.bias", {16}, 0},
        {"convs.1.lin.weight", {20, 16}, glorot(16, 20)},
        {"convs.1.att_src", {1, 4, 5}, glorot(4, 5)},
        {"convs.1.att_dst", {1, 4, 5}, glorot(4, 5)},
        {"convs.1.bias", {5}, 0}}},
      {"gin",
       {{"convs.0.nn.lins.0.weight", {16, 13}, linear(13)},
        {"convs.0.nn.lins.0.bias", {16}, linear(13)},
        {"convs.0.nn.lins.1.weight", {16, 16}, linear(16)},
        {"convs.0.nn.lins.1.bias", {16}, linear(16)},
        {"convs.1.nn.lins.0.weight", {16, 16}, linear(16)},
        {"convs.1.nn.lins.0.bias", {16}, linear(16)},
        {"convs.1.nn.lins.1.weight", {5, 16}, linear(16)},
        {"convs.1.nn.lins.1.bias", {5}, linear(16)}}}};
  for (const auto& [kind, expected] : models) {
    const Case c{kind, {}, 16, 0.0F};
    const RandomBatch batch(c.batch);
    ThreadPool pool(1);
    const auto backend = make_backend(pool);
    const auto model = make_model(kind, *backend, options_of(c), batch.maxima());
    const auto parameters = model->parameters().parameters();
    REQUIRE(parameters.size() == expected.size());
    for (std::size_t p = 0; p < expected.size(); ++p) {
      CAPTURE(expected[p].name);
      CHECK(parameters[p].name == expected[p].name);
      CHECK(parameters[p].shape() == expected[p].shape);
      std::vector<float> values(parameters[p].element_count());
      model->parameters().read(parameters[p], values);
      const auto [least, most] = std::ranges::minmax(values);
      CHECK(static_cast<double>(least) >= -expected[p].bound * (1 + 1e-6));
      CHECK(static_cast<double>(most) <= expected[p].bound * (1 + 1e-6));
      if (expected[p].bound == 0) continue;
      CHECK(static_cast<double>(most - least) > expected[p].bound / 2);  // the bound is used, not just kept
      CHECK(std::set<float>(values.begin(), values.end()).size() > values.size() / 2);
    }
    CHECK(model->parameters().find("convs.2.lin_l.bias") == nullptr);
    CHECK(model->parameters().find(expected.back().name)->shape() == std::vector<std::uint64_t>{5});
  }
}

TEST_CASE("what a model says it will take is what it takes, and a step takes no more") {
  for (const Case& c : cases()) {
    CAPTURE(c.model);
    const RandomBatch batch(c.batch);
    ThreadPool pool(1);
    const auto cpu = make_backend(pool);
    gneiss::test::CountingBackend backend(*cpu);
    const auto model = make_model(c.model, backend, options_of(c), batch.maxima());
    CHECK(parameter_count(c.model, options_of(c)) == model->parameters().element_count());
    CHECK(backend.allocated_bytes() == model_bytes(c.model, backend, options_of(c), batch.maxima()));
    CHECK(backend.allocated_bytes() ==
          find_model_kind(c.model).activation_bytes(backend, options_of(c), batch.maxima()) +
              16 * model->parameters().element_count());
    CrossEntropy loss(backend, batch.maxima().back().dst_count, c.batch.class_count);
    const std::uint64_t before = backend.allocated_bytes();
    const ConstMatrixView logits = model->forward(batch.view(), {.is_training = true});
    loss.evaluate_with_gradient(logits, batch.view());
    model->backward(batch.view(), loss.gradient());
    CHECK(backend.allocated_bytes() == before);
  }
}

TEST_CASE("options that cannot be are refused with a sentence") {
  ThreadPool pool(1);
  const auto backend = make_backend(pool);
  const std::vector<BlockMaxima> maxima(2, BlockMaxima{10, 20, 30});
  const ModelOptions good{.feature_columns = 4, .hidden_columns = 8, .class_count = 3, .layer_count = 2};
  const auto make = [&](const char* name, auto change) {
    ModelOptions options = good;
    change(options);
    return make_model(name, *backend, options, maxima);
  };
  EXPECT_ERROR(make("sagee", [](ModelOptions&) {}), Kind::config, "use one of sage, gcn, gat, gin, mlp");
  EXPECT_ERROR(make("sage", [](ModelOptions& o) { o.layer_count = 3; }), Kind::config, "2 hops");
  EXPECT_ERROR(make("sage", [](ModelOptions& o) { o.layer_count = 0; }), Kind::config, "0 layers");
  EXPECT_ERROR(make("mlp", [](ModelOptions& o) { o.dropout = 1; }), Kind::config, "--dropout");
  EXPECT_ERROR(make("mlp", [](ModelOptions& o) { o.dropout = NAN; }), Kind::config, "--dropout");
  EXPECT_ERROR(make("sage", [](ModelOptions& o) { o.hidden_columns = 0; }), Kind::config, "--hidden");
  EXPECT_ERROR(make("gat", [](ModelOptions& o) { o.head_count = 0; }), Kind::config, "--num-heads is 0");
  EXPECT_ERROR(make("gat", [](ModelOptions& o) { o.head_count = 65; }), Kind::config, "1 to 64");
  EXPECT_ERROR(make("gat", [](ModelOptions& o) { o.head_count = 3; }), Kind::config, "--num-heads 3");
  CHECK(make("sage", [](ModelOptions& o) { o.head_count = 3; }) != nullptr);  // which has no heads
  const auto model = make("mlp", [](ModelOptions& o) { o.layer_count = 3; });
  EXPECT_ERROR(Optimizer(model->parameters(), {.learning_rate = -1}), Kind::config, "learning rate");
  EXPECT_ERROR(Optimizer(model->parameters(), {.beta1 = 1}), Kind::config, "beta");
  EXPECT_ERROR(Optimizer(model->parameters(), {.weight_decay = NAN}), Kind::config, "weight decay");
  EXPECT_ERROR(parse_optimizer("sgd"), Kind::config, "adamw");
}
