// YAML: options of a command, and the config.yaml of a run whose weights are used.
#include <CLI/CLI.hpp>

#include "engine/train/safetensors.h"
#include "tests/fuzz/fuzz_target.h"
#include "tools/config_file.h"
#include "tools/trained_run.h"

namespace gneiss::test {
namespace {

std::vector<std::string> seeds() {
  return {"dataset: papers.gneiss\nfanout: [15, 10]\nno_shuffle: true\nlr: 0.003\n",
          "model: gat\nhidden: 64\nnum_heads: 4\naggregator: mean\nresidual: false\nnorm: layer\ntask: "
          "multi-class\n",
          "{}",
          "- a\n- b\n",
          "? [1, 2]\n: x\n",
          "a: &x\n  - *x\n",
          "%YAML 1.2\n---\n!!map {a: !!str b}\n",
          "a: |\n  text\n\n  more\nb: >-\n  folded\n",
          "\"\\u263a\": '\\x'\n"};
}

void run(std::string_view input) {
  const std::filesystem::path folder = fuzz_folder() / "config";
  if (!std::filesystem::exists(folder)) {
    std::filesystem::create_directories(folder);
    const std::vector<float> values(6);
    const auto bytes = std::as_bytes(std::span(values));
    const std::vector<TensorSource> tensors{tensor_of("convs.0.lin_l.weight", Dtype::f32, {2, 3}, bytes),
                                            tensor_of("convs.0.lin_r.weight", Dtype::f32, {2, 3}, bytes),
                                            tensor_of("convs.0.lin_l.bias", Dtype::f32, {2}, bytes.first(8))};
    write_safetensors(folder / "best.safetensors", tensors);
  }
  put_file(folder / "config.yaml", input);
  attempt([&] {
    CLI::App app("a program", "gneiss");
    CLI::App* train = app.add_subcommand("train");
    std::string text;
    std::vector<int> list;
    bool flag = false;
    train->add_option("--dataset,--model,--lr", text);
    train->add_option("--fanout", list)->delimiter(',');
    train->add_flag("--no-shuffle", flag);
    std::vector<std::string> arguments{"train", "--config", (folder / "config.yaml").string()};
    expand_config(arguments, app);
  });
  const DatasetInfo dataset{
      .node_count = 10, .edge_count = 10, .feature_dim = 3, .feature_dtype = Dtype::f32, .class_count = 2};
  TrainedRun::read(folder, "", dataset);
}

}  // namespace

const FuzzTarget config_target{.name = "config", .seeds = seeds, .run = run};

}  // namespace gneiss::test
