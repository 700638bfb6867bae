// The engine against PyTorch: the same batch and first parameters give the same logits, loss, gradients,
// and the same parameters after five steps. golden/make_golden.py made the numbers.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "engine/nn/cross_entropy.h"
#include "engine/nn/model.h"
#include "engine/nn/optimizer.h"
#include "storage/base/parallel.h"
#include "tests/engine/golden_folder.h"
#include "tests/engine/stored_values.h"
#include "tests/engine/test_backend.h"

using namespace gneiss;
using gneiss::test::make_backend;
using gneiss::test::stored_values;

namespace {

// The largest difference as a share of the largest value; of what is nothing but 0, as it is.
double distance(const std::vector<float>& actual, const std::vector<double>& expected) {
  REQUIRE(actual.size() == expected.size());
  double largest = 0;
  double difference = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual[i]) - expected[i]);
    if (std::isnan(error)) return error;  // of which std::max() would take no notice
    largest = std::max(largest, std::abs(expected[i]));
    difference = std::max(difference, error);
  }
  return largest > 0 ? difference / largest : difference;
}

// Memory of a batch that lies in a golden file.
struct GoldenBatch {
  explicit GoldenBatch(const SafetensorsFile& file)
      : features(stored_values<float>(file, "features")),
        targets(stored_values<std::int32_t>(file, "targets")),
        dst_in_src(stored_values<std::uint32_t>(file, "dst_in_src")) {
    const auto layers = static_cast<std::size_t>(std::stoi(file.metadata().at("layers")));
    indptr.resize(layers);
    indices.resize(layers);
    transposed.resize(layers);
    const auto columns = static_cast<std::uint32_t>(std::stoi(file.metadata().at("columns")));
    auto src_count = static_cast<std::uint32_t>(features.size() / columns);
    view.input = TieredRows(Dtype::f32, columns);
    view.input.append(reinterpret_cast<const std::byte*>(features.data()), src_count);
    for (std::size_t b = 0; b < layers; ++b) {
      indptr[b] = stored_values<std::uint32_t>(file, "block" + std::to_string(b) + ".indptr");
      indices[b] = stored_values<std::uint32_t>(file, "block" + std::to_string(b) + ".indices");
      BlockView block{.dst_count = static_cast<std::uint32_t>(indptr[b].size() - 1),
                      .src_count = src_count,
                      .indptr = indptr[b],
                      .indices = indices[b]};
      if (b == 0) block.dst_in_src = dst_in_src;
      const std::size_t edge_count = indices[b].size();
      transposed[b].resize(src_count + 1 + 2 * edge_count);
      const std::span<std::uint32_t> memory(transposed[b]);
      if (b > 0) {
        transpose(block, memory.first(src_count + 1), memory.subspan(src_count + 1, edge_count),
                  memory.last(edge_count));
      }
      check_block(block, "golden block");
      maxima.push_back({block.dst_count, block.src_count, block.edge_count()});
      blocks.push_back(block);
      src_count = block.dst_count;
    }
    view.blocks = blocks;
    view.targets = targets;
  }

  std::vector<float> features;
  std::vector<std::int32_t> targets;
  std::vector<std::uint32_t> dst_in_src;
  std::vector<std::vector<std::uint32_t>> indptr;
  std::vector<std::vector<std::uint32_t>> indices;
  std::vector<std::vector<std::uint32_t>> transposed;
  std::vector<BlockView> blocks;
  std::vector<BlockMaxima> maxima;
  BatchView view;
};

std::vector<float> dense(MatrixView matrix) {
  std::vector<float> values;
  for (std::size_t r = 0; r < matrix.rows; ++r) {
    values.insert(values.end(), matrix.row(r), matrix.row(r) + matrix.columns);
  }
  return values;
}

template <class Number>
double largest(const std::vector<Number>& values) {
  double most = 0;
  for (const Number value : values) most = std::max(most, std::abs(static_cast<double>(value)));
  return most;
}

}  // namespace

TEST_CASE("a model computes, learns and steps as PyTorch does") {
  for (const std::string name :
       {"sage2", "sage3", "gcn2", "gcn3", "gat2", "gat3", "gin2", "gin3", "sage_max", "gat_residual_layer",
        "sage_residual_batch", "gcn_batch", "gin_residual", "gat_elu", "sage_tanh", "gin_leaky_relu"}) {
    CAPTURE(name);
    const std::string kind_name = name.substr(0, name.find_first_of("23_"));
    const auto file = SafetensorsFile::open(gneiss::test::golden_file(name + ".safetensors"));
    const GoldenBatch golden(file);
    const auto number = [&](const char* key) {
      return static_cast<std::uint32_t>(std::stoi(file.metadata().at(key)));
    };
    const auto text = [&](const char* key, const char* without) {
      const auto found = file.metadata().find(key);
      return found == file.metadata().end() ? std::string(without) : found->second;
    };
    ThreadPool pool(2);
    const auto backend = make_backend(pool);
    for (const OptimizerKind kind : {OptimizerKind::adam, OptimizerKind::adamw}) {
      const std::string prefix(name_of(kind));
      // Adam makes steps of any gradient, those of such biases too, unless L2 decay outweighs it.
      if (kind == OptimizerKind::adamw && text("norm", "none") == "batch") continue;
      const auto model = make_model(kind_name, *backend,
                                    {.feature_columns = number("columns"),
                                     .hidden_columns = number("hidden"),
                                     .class_count = number("classes"),
                                     .layer_count = number("layers"),
                                     .activation = parse_activation(text("activation", "relu")),
                                     .dropout = 0,
                                     .head_count = static_cast<std::uint32_t>(std::stoi(text("heads", "1"))),
                                     .aggregator = parse_aggregator(text("aggregator", "mean")),
                                     .residual = text("residual", "0") == "1",
                                     .norm = parse_norm(text("norm", "none"))},
                                    golden.maxima);
      ParameterSet& parameters = model->parameters();
      for (const Parameter& parameter : parameters.parameters()) {
        if (!parameter.is_trained) continue;  // starts as PyTorch's
        file.require("first." + parameter.name, Dtype::f32, parameter.shape());
        parameters.write(parameter, stored_values<float>(file, "first." + parameter.name));
      }
      CrossEntropy loss(*backend, golden.maxima.back().dst_count, number("classes"));
      Optimizer optimizer(parameters, {.kind = kind, .learning_rate = 0.01F, .weight_decay = 0.05F});
      const auto losses = stored_values<double>(file, prefix + ".losses");
      for (std::uint64_t step = 0; step < 5; ++step) {
        const auto logits = model->forward(golden.view, {.is_training = true, .step = step});
        const double mean = loss.evaluate_with_gradient(logits, golden.view).mean();
        CHECK(mean == doctest::Approx(losses[step]).epsilon(1e-5));
        if (step == 0) {
          const MatrixView first(const_cast<float*>(logits.data), logits.rows, logits.columns);
          CHECK(distance(dense(first), stored_values<double>(file, "logits")) < 1e-5);
        }
        model->backward(golden.view, loss.gradient());
        for (const Parameter& parameter : parameters.parameters()) {
          if (step > 0 || !parameter.is_trained) continue;
          CAPTURE(parameter.name);
          const auto expected = stored_values<double>(file, "gradient." + parameter.name);
          const auto computed = dense(parameters.gradient(parameter));
          if (text("norm", "none") == "batch" && largest(expected) < 1e-6) {
            CHECK(largest(computed) < 1e-6);  // a bias before batch norm moves nothing: both are rounding
          } else {
            CHECK(distance(computed, expected) < 1e-5);
          }
        }
        optimizer.step();
      }
      for (const Parameter& parameter : parameters.parameters()) {
        CAPTURE(parameter.name);
        const auto expected = stored_values<double>(file, prefix + "." + parameter.name);
        // Adam makes whole steps of gradients that are little more than rounding, as attention above all has
        // them: five of them grow it.
        const double tolerance = kind_name == "gat" ? 1e-4 : 5e-5;
        CHECK(distance(dense(parameters.value(parameter)), expected) < tolerance);
      }
      if (file.find(prefix + ".evaluated") == nullptr) continue;
      const auto logits = model->forward(golden.view, {});
      const MatrixView evaluated(const_cast<float*>(logits.data), logits.rows, logits.columns);
      CHECK(distance(dense(evaluated), stored_values<double>(file, prefix + ".evaluated")) < 2e-5);
    }
  }
}
