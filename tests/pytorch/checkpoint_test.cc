// Checkpoints as PyTorch users take them: loaded by key, they give the logits that the engine gives.
#include "engine/train/checkpoint.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "engine/compute/cpu/cpu_backend.h"
#include "engine/nn/model.h"
#include "engine/pipeline/pipelined_source.h"
#include "engine/train/memory_plan.h"
#include "storage/format/npy_writer.h"
#include "storage/io/file.h"
#include "tests/e2e/program.h"
#include "tests/support/skip.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

constexpr std::uint32_t hidden = 12;

struct Case {
  std::string model;
  std::uint32_t heads = 1;
  Aggregator aggregator = Aggregator::mean;
  bool residual = false;
  NormKind norm = NormKind::none;
  std::string preparation = "two";
  Activation activation = Activation::relu;

  std::string name() const {
    return fmt::format("{}-{}-{}-{}-{}-{}", model, name_of(aggregator), residual ? "residual" : "plain",
                       name_of(norm), name_of(activation), preparation);
  }
};

// Each model alone, with each norm and a residual, and over three hops; every activation.
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const auto& [model, heads, aggregator] :
       {std::tuple{"sage", 1U, Aggregator::mean}, std::tuple{"sage", 1U, Aggregator::max},
        std::tuple{"gcn", 1U, Aggregator::mean}, std::tuple{"gat", 3U, Aggregator::mean},
        std::tuple{"gin", 1U, Aggregator::mean}, std::tuple{"mlp", 1U, Aggregator::mean}}) {
    all.push_back({.model = model, .heads = heads, .aggregator = aggregator});
    all.push_back({.model = model,
                   .heads = heads,
                   .aggregator = aggregator,
                   .norm = NormKind::layer,
                   .activation = Activation::elu});
    all.push_back({.model = model,
                   .heads = heads,
                   .aggregator = aggregator,
                   .residual = true,
                   .norm = NormKind::batch,
                   .preparation = "three"});
  }
  all.push_back({.model = "gin", .activation = Activation::leaky_relu});
  all.push_back({.model = "mlp", .activation = Activation::tanh});
  all.push_back({.model = "gcn", .activation = Activation::none});
  return all;
}

// What the engine makes of the first test batch with the best weights of the run.
void write_logits(const Dataset& dataset, const Case& one, const std::filesystem::path& weights,
                  const std::filesystem::path& out) {
  const Preparation preparation = Preparation::open(dataset, one.preparation);
  ThreadPool pool(2);
  const auto backend = make_cpu_backend(pool);
  const auto model =
      make_model(one.model, *backend,
                 {.feature_columns = dataset.info().feature_dim,
                  .hidden_columns = hidden,
                  .class_count = dataset.info().class_count,
                  .layer_count = static_cast<std::uint32_t>(preparation.info().options.fanouts.size()),
                  .activation = one.activation,
                  .head_count = one.heads,
                  .aggregator = one.aggregator,
                  .residual = one.residual,
                  .norm = one.norm},
                 block_maxima(preparation));
  read_checkpoint(weights, model->parameters());
  CpuTier cpu_tier(preparation);
  const std::size_t index =
      preparation.pool().find({.split = Split::test, .epoch = 0, .worker = 0, .batch = 0});
  PipelinedSource source(preparation, dataset.info(), cpu_tier, {},
                         [index](std::uint64_t position) -> std::optional<std::size_t> {
                           return position == 0 ? std::optional(index) : std::nullopt;
                         });
  const ConstMatrixView logits = model->forward(source.next()->view, {.is_training = false});
  std::vector<float> values;
  for (std::size_t row = 0; row < logits.rows; ++row) {
    values.insert(values.end(), logits.row(row), logits.row(row) + logits.columns);
  }
  const std::array<std::uint64_t, 2> shape{logits.rows, logits.columns};
  write_npy(out, Dtype::f32, shape, std::as_bytes(std::span(values)));
}

nlohmann::json train(const std::string& dataset, const Case& one, const TemporaryFolder& folder) {
  const std::string run = folder / one.name();
  Arguments arguments{"train",
                      "--dataset",
                      dataset,
                      "--preparation",
                      one.preparation,
                      "--model",
                      one.model,
                      "--hidden",
                      std::to_string(hidden),
                      "--num-heads",
                      std::to_string(one.heads),
                      "--aggregator",
                      std::string(name_of(one.aggregator)),
                      "--norm",
                      std::string(name_of(one.norm)),
                      "--activation",
                      std::string(name_of(one.activation)),
                      "--epochs",
                      "2",
                      "--lr",
                      "0.02",
                      "--keep-last",
                      "1",
                      "--run",
                      run};
  if (one.residual) arguments.emplace_back("--residual");
  expect_done(arguments);
  return {{"name", one.name()},
          {"model", one.model},
          {"hidden", hidden},
          {"heads", one.heads},
          {"aggregator", name_of(one.aggregator)},
          {"residual", one.residual},
          {"norm", name_of(one.norm)},
          {"activation", name_of(one.activation)},
          {"batch", (folder / ("batch-" + one.preparation)).string()}};
}

}  // namespace

TEST_CASE("PyTorch loads every model's checkpoints by key, and computes the logits that the engine does") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  expect_done({"generate", dataset, "--nodes", "3000", "--features", "24", "--classes", "6", "--train-share",
               "0.2", "--valid-share", "0.1", "--test-share", "0.1", "--seed", "3"});
  for (const auto& [name, fanout] : {std::pair{"two", "5,4"}, std::pair{"three", "4,3,3"}}) {
    expect_done({"prepare", "--dataset", dataset, "--name", name, "--fanout", fanout, "--batch-size", "100",
                 "--cpu-cache", "20KiB"});
    expect_done({"inspect", "--dataset", dataset, "--preparation", name, "--split", "test", "--out",
                 folder / ("batch-" + std::string(name))});
  }
  const Dataset opened = Dataset::open(dataset);
  nlohmann::json compared = nlohmann::json::array();
  for (const Case& one : cases()) {
    CAPTURE(one.name());
    const nlohmann::json description = train(dataset, one, folder);
    for (const char* weights : {"best.safetensors", "checkpoints/epoch-0002.safetensors"}) {
      nlohmann::json item = description;
      item["weights"] = (folder / one.name() / weights).string();
      item["logits"] = (folder / fmt::format("{}.npy", compared.size())).string();
      write_logits(opened, one, item["weights"].get<std::string>(), item["logits"].get<std::string>());
      compared.push_back(item);
    }
  }
  write_text_file(folder / "cases.json", compared.dump());
  const std::string script = GNEISS_PYTORCH_FOLDER "/compare_logits.py";
  const auto compare = [&](const char* python) {
    return run_command({python, "-B", script, folder / "cases.json"});
  };
  // A python3 of its own in PATH need not have what the system's has.
  const char* python = "python3";
  CommandResult result;
  try {
    result = compare(python);
  } catch (const std::runtime_error&) {
    SKIP_TEST("there is no python3");
  }
  if (result.exit_code == 77 && std::filesystem::exists("/usr/bin/python3")) {
    python = "/usr/bin/python3";
    result = compare(python);
  }
  if (result.exit_code == 77) SKIP_TEST("python3 has no PyTorch or no NumPy");
  CHECK_MESSAGE(result.exit_code == 0, result.output);
  CHECK_MESSAGE(
      result.output.find(fmt::format("{} checkpoints compared", compared.size())) != std::string::npos,
      result.output);

  // A weight that is off is noticed.
  std::string weights = read_text_file(folder / "sage-mean-plain-none-relu-two" / "best.safetensors");
  weights.replace(weights.size() - 4, 4, "\x00\x00\x80\x40", 4);
  write_text_file(folder / "off.safetensors", weights);
  compared = nlohmann::json::array({compared.front()});
  compared[0]["weights"] = (folder / "off.safetensors").string();
  write_text_file(folder / "cases.json", compared.dump());
  CHECK(compare(python).exit_code == 1);
}
