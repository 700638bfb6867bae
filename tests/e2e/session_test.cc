// The session of the README on a small graph: as a user types it, with the summaries that it leaves.
#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "storage/io/file.h"
#include "tests/e2e/program.h"
#include "tests/e2e/read_json.h"
#include "tests/support/skip.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;

TEST_CASE("generate, info, prepare, train: the graph helps, and every summary says what was measured") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  const std::string generated =
      expect_done({"generate", dataset, "--nodes", "20000", "--features", "32", "--classes", "8",
                   "--train-share", "0.2", "--seed", "7", "--summary", folder / "g.json"});
  CHECK(contains(generated, "from features alone"));
  CHECK(contains(expect_done({"info", dataset}), "20,000"));
  const double alone = read_json(folder / "g.json").at("best_feature_accuracy");

  const std::vector<std::string> prepare{"prepare", "--dataset",   dataset,          "--name",
                                         "P",       "--fanout",    "10,10",          "--batch-size",
                                         "500",     "--cpu-cache", "256KiB",         "--sample-epochs",
                                         "5",       "--summary",   folder / "p.json"};
  auto dry = prepare;
  dry.emplace_back("--dry-run");
  const auto before = tree(dataset);
  CHECK(contains(expect_done(dry), "nothing was written"));
  CHECK(tree(dataset) == before);
  expect_done(prepare);
  const auto prepared = read_json(folder / "p.json");
  CHECK(contains(expect_done(prepare), "already there"));

  const std::string printed = expect_done({"train", "--dataset", dataset, "--preparation", "P", "--epochs",
                                           "5", "--lr", "0.01", "--hidden", "64", "--seed", "1", "--threads",
                                           "2", "--run", folder / "run", "--summary", folder / "t.json"});
  CHECK(contains(printed, "Epoch: 05, Loss: "));
  CHECK(contains(printed, "Where the time went"));
  const auto trained = read_json(folder / "t.json");
  for (const char* key : {"epoch_seconds", "test_accuracy", "valid_accuracy", "best_epoch", "input_rows",
                          "bytes_read", "read_operations", "packed_bytes", "peak_memory_bytes", "seconds"}) {
    CHECK_MESSAGE(trained.contains(key), key);
  }
  CHECK(trained.at("epoch_seconds").size() == 5);
  CHECK(trained.at("test_accuracy").get<double>() > alone + 0.1);
  CHECK(trained.at("test_accuracy").get<double>() < 0.95);
  // What the plan promised of an epoch, on average over the pool, is what training read over all of it.
  CHECK(trained.at("input_rows").get<double>() ==
        doctest::Approx(5 * prepared.at("input_rows").get<double>()).epsilon(1e-9));
  CHECK(read_json(folder / "run" / "summary.json") == trained);
  CHECK(std::filesystem::exists(folder / "run" / "best.safetensors"));

  // The memory that the plan foresees is what a training with the defaults plans, and little more.
  expect_done({"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1", "--run",
               folder / "default", "--summary", folder / "d.json"});
  const auto planned = read_json(folder / "d.json").at("planned_memory_bytes").get<double>();
  const auto foreseen = prepared.at("predicted_training_memory_bytes").get<double>();
  CHECK(foreseen >= planned);
  CHECK(foreseen < 1.2 * planned);

  // Of a wide model too, whose products work in memory of their own.
  const std::string wide = folder / "wide.gneiss";
  expect_done({"generate", wide, "--nodes", "3000", "--features", "600", "--classes", "300", "--seed", "3"});
  expect_done({"prepare", "--dataset", wide, "--fanout", "3,3", "--batch-size", "100", "--summary",
               folder / "wide.json"});
  expect_done({"train", "--dataset", wide, "--epochs", "1", "--run", folder / "wide-run", "--summary",
               folder / "w.json"});
  CHECK(read_json(folder / "wide.json").at("predicted_training_memory_bytes").get<double>() >=
        read_json(folder / "w.json").at("planned_memory_bytes").get<double>());

  const auto repeated =
      expect_done({"train", "--dataset", dataset, "--preparation", "P", "--epochs", "2", "--lr", "0.01",
                   "--hidden", "16", "--runs", "2", "--run", folder / "runs", "--quiet"});
  CHECK(contains(repeated, "Test over 2 runs: "));
  CHECK(std::filesystem::exists(folder / "runs" / "best-seed-1.safetensors"));
}

TEST_CASE("training in a control group smaller than the features stays inside it") {
  const TemporaryFolder folder(TemporaryFolder::Place::on_drive);
  const std::string dataset = folder / "d.gneiss";
  // 60,000 rows of 3 KiB: 176 MiB of features, and about as much in segments.
  expect_done({"generate", dataset, "--nodes", "60000", "--avg-degree", "5", "--features", "768", "--classes",
               "8", "--train-share", "0.05", "--valid-share", "0.01", "--test-share", "0.01"});
  expect_done({"prepare", "--dataset", dataset, "--name", "P", "--fanout", "5,5", "--batch-size", "100",
               "--cpu-cache", "8MiB"});
  constexpr std::uint64_t limit = 128U << 20;
  const auto capped = run_with_memory_cap(
      limit,
      {program(), "train", "--dataset", dataset, "--preparation", "P", "--epochs", "2", "--hidden", "32",
       "--memory", "112MiB", "--run", folder / "run", "--summary", folder / "t.json"},
      {dataset});
  if (!capped) SKIP_TEST("no memory control group can be made here");
  CHECK_MESSAGE(capped->exit_code == 0, capped->output);
  CHECK(capped->peak_bytes <= limit);
  const auto trained = read_json(folder / "t.json");
  CHECK(trained.at("peak_memory_bytes").get<std::uint64_t>() <= (112U << 20));
  // The same losses as with memory to spare.
  expect_done({"train", "--dataset", dataset, "--preparation", "P", "--epochs", "2", "--hidden", "32",
               "--run", folder / "free", "--summary", folder / "f.json"});
  CHECK(read_json(folder / "f.json").at("test_accuracy") == trained.at("test_accuracy"));
}

TEST_CASE("progress keeps to a narrow terminal, and to whole lines where there is none") {
  const TemporaryFolder folder;
  // A bar shows itself after half a second: work that grows until it takes that long, on any machine.
  std::size_t redraws = 0;
  Arguments generate;
  for (int nodes = 500'000; redraws == 0 && nodes <= 8'000'000; nodes *= 2) {
    CAPTURE(nodes);
    generate = {"generate",     folder / "large.gneiss",
                "--nodes",      std::to_string(nodes),
                "--avg-degree", "10",
                "--features",   "1",
                "--force"};
    const CommandResult narrow = on_terminal(generate, 40);
    CHECK(narrow.exit_code == 0);
    // Each redraw starts at the line's beginning, clears it and is shorter than the line.
    for (std::size_t at = narrow.output.find('\r'); at != std::string::npos;
         at = narrow.output.find('\r', at + 1)) {
      if (narrow.output.compare(at, 4, "\r\033[K") != 0) continue;
      const std::size_t end = narrow.output.find_first_of("\r\n", at + 1);
      if (end == std::string::npos || narrow.output.compare(end, 2, "\r\n") == 0)
        continue;  // a line of its own
      CHECK(end - at - 4 < 40);
      ++redraws;
    }
  }
  CHECK(redraws > 0);
  const std::string plain = expect_done(generate);
  CHECK_FALSE(contains(plain, "\r"));
  CHECK_FALSE(contains(plain, "\033"));
}
