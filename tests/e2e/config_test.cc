// Options from a file are those of the command line, and a run's own file makes the run again.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "engine/compute/cpu/bf16_kernels.h"
#include "storage/io/file.h"
#include "tests/e2e/program.h"
#include "tests/support/skip.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;

TEST_CASE("a run's config.yaml makes the same run again, and the command line overrides it") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  expect_done({"train", "--dataset", dataset, "--preparation", "P", "--epochs", "3", "--lr", "0.0125",
               "--hidden", "24", "--seed", "9", "--no-shuffle", "--read-size", "8KiB", "--run",
               folder / "first"});
  const auto again = [&](const char* run, const Arguments& more = {}) {
    Arguments arguments{"train", "--config", folder / "first" / "config.yaml", "--run", folder / run};
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_done(arguments);
    return nlohmann::json::parse(read_text_file(folder / run / "summary.json"));
  };
  const auto first = nlohmann::json::parse(read_text_file(folder / "first" / "summary.json"));
  const auto second = again("second");
  CHECK(second.at("options") == first.at("options"));
  CHECK(read_text_file(folder / "second" / "best.safetensors") ==
        read_text_file(folder / "first" / "best.safetensors"));
  CHECK(again("third", {"--seed=8"}).at("options").at("seed") == 8);
  CHECK(again("fourth", {"--lr", "0.5"}).at("options").at("lr") == 0.5);
  // One option under two names.
  CHECK(again("fifth", {"--shuffle"}).at("options").at("no_shuffle") == false);
}

TEST_CASE("a run's config.yaml that was changed makes no other run") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  expect_done(
      {"train", "--dataset", dataset, "--preparation", "P", "--epochs", "2", "--run", folder / "first"});
  const std::string file = folder / "first" / "config.yaml";
  std::string text = read_text_file(file);
  text[text.find("epochs: 2") + 8] = '3';
  write_text_file(file, text);
  const Arguments again{"train", "--config", file, "--run", folder / "second"};
  expect_refused(again, 4, "config.yaml: the checksum in its first line does not fit");
  CHECK_FALSE(std::filesystem::exists(folder / "second"));
  // A person's file has no such line.
  write_text_file(file, text.substr(text.find('\n') + 1));
  expect_done(again);
}

TEST_CASE("what a model is made of is part of a run's config.yaml, and refused where it cannot be") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const Arguments base{"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1", "--force"};
  const auto train = [&](Arguments more) {
    more.insert(more.begin(), base.begin(), base.end());
    return more;
  };
  expect_done(train({"--model", "gat", "--num-heads", "2", "--hidden", "6", "--residual", "--norm", "batch",
                     "--activation", "elu", "--run", folder / "first"}));
  expect_refused({"train", "--config", folder / "first" / "config.yaml", "--run", folder / "first",
                  "--activation", "tanh", "--resume", "--epochs", "2"},
                 2, "activation is");
  expect_done({"train", "--config", folder / "first" / "config.yaml", "--run", folder / "second"});
  CHECK(read_text_file(folder / "second" / "best.safetensors") ==
        read_text_file(folder / "first" / "best.safetensors"));
  const std::string weights = read_text_file(folder / "first" / "best.safetensors");
  for (const char* name : {"convs.1.att_dst", "residuals.0.weight", "norms.0.module.running_var"}) {
    CHECK(weights.find(name) != std::string::npos);
  }
  expect_done(train({"--aggregator", "max", "--norm", "layer", "--run", folder / "third"}));
  expect_refused(train({"--model", "gat", "--num-heads", "4", "--hidden", "6"}), 2,
                 "--hidden 6 cannot be shared by --num-heads 4");
  expect_refused(train({"--norm", "group"}), 2, "--norm");
  expect_refused(train({"--aggregator", "median"}), 2, "--aggregator");
  expect_refused(train({"--activation", "gelu"}), 2, "--activation");
}

TEST_CASE("the precision of products is kept with the run, and goes on in no other") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const auto train = [&](const char* run, const Arguments& more) {
    Arguments arguments{"train",      "--dataset", dataset, "--preparation", "P", "--run",
                        folder / run, "--hidden",  "24"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  expect_refused(train("other", {"--precision", "f16"}), 2, "--precision");
  if (!cpu::has_bf16_products()) {
    expect_refused(train("bf16", {"--precision", "bf16"}), 2, "AVX512_BF16");
    SKIP_TEST("this processor has no AVX512_BF16");
  }
  expect_done(train("bf16", {"--epochs", "2", "--precision", "bf16"}));
  expect_done(train("f32", {"--epochs", "2"}));
  const auto weights = [&](const char* run) { return read_text_file(folder / run / "best.safetensors"); };
  CHECK(weights("bf16").size() == weights("f32").size());  // weights are f32 in both
  CHECK(weights("bf16") != weights("f32"));
  expect_done({"train", "--config", folder / "bf16" / "config.yaml", "--run", folder / "again"});
  CHECK(weights("again") == weights("bf16"));
  expect_refused(train("bf16", {"--epochs", "3", "--resume"}), 2, "precision is ");
  expect_done(train("bf16", {"--epochs", "3", "--resume", "--precision", "bf16"}));
}

TEST_CASE("a file gives lists, flags and sizes; what it cannot give is refused by name") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const std::string file = folder / "p.yaml";
  const auto with = [&](const std::string& text) {
    write_text_file(file, text);
    return Arguments{"prepare", "--config=" + file, "--dataset", dataset};
  };
  expect_done(
      with("name: Q\nfanout: [3, -1]\nbatch_size: 50\ncpu-cache: 8KiB\nedge_positions: true\nforce: false\n"
           "no_evaluation:\n"));
  CHECK(expect_done({"info", dataset}).find("'Q': fanout 3,-1, batch size 50") != std::string::npos);
  expect_refused(with("fanuot: [3]\n"), 2,
                 "p.yaml: 'fanuot': prepare has no option --fanuot; did you mean --fanout?");
  expect_refused(with("epochs: 3\n"), 2, "it belongs to 'gneiss train'");
  expect_refused(with("replace: 3\n"), 2, "'replace' is a flag");
  expect_refused(with("fanout: {a: 1}\n"), 2, "'fanout' is a map");
  expect_refused(with("batch_size: many\n"), 2, "--batch-size");
  expect_refused(with("fanout: [3\n"), 3, "not YAML");
  expect_refused(with("- 3\n"), 3, "not a map");
  expect_refused({"prepare", "--config", folder / "no.yaml"}, 3, "no.yaml");
  expect_refused({"prepare", "--config"}, 2, "--config needs");
  expect_refused({"prepare", "--config="}, 2, "--config needs");
  expect_refused({"prepare", "--config", "--quiet"}, 2, "--config needs");
  expect_refused({"prepare", "--config", file, "--config=" + file}, 2, "--config is given twice");
  expect_refused(with("quiet: true\n"), 2, "p.yaml: 'quiet' is for the command line");
  expect_refused(with("help: true\n"), 2, "p.yaml: 'help' is for the command line");
  expect_refused(with("seed: \"\"\n"), 2, "p.yaml: 'seed' is empty");
  expect_refused(with("fanout: []\n"), 2, "p.yaml: 'fanout' is empty");
  expect_refused(with("batch_size: 50\nbatch-size: 60\n"), 2, "'batch_size' and 'batch-size' are one option");
  expect_done(with(""));
}

TEST_CASE("a flag with two names is one option in a file too, and a dataset's name overrides the file's") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const std::string file = folder / "t.yaml";
  const auto shuffles = [&](const std::string& text, const Arguments& more = {}) {
    write_text_file(file, text + "\npreparation: P\nepochs: 1\n");
    Arguments arguments{"train", "--dataset", dataset, "--config", file, "--force", "--run", folder / "run"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_done(arguments);
    const auto summary = nlohmann::json::parse(read_text_file(folder / "run" / "summary.json"));
    return !summary.at("options").at("no_shuffle").get<bool>();
  };
  CHECK(shuffles("no_shuffle: false"));
  CHECK(shuffles("no_shuffle: true", {"--shuffle"}));
  CHECK_FALSE(shuffles("no_shuffle: true"));
  CHECK_FALSE(shuffles("shuffle: false"));
  CHECK_FALSE(shuffles("shuffle: true", {"--no-shuffle"}));
  write_text_file(file, "dataset: nowhere\n");
  expect_done({"info", dataset, "--config", file});
  expect_refused({"info", "--config", file}, 3, "nowhere");
}
