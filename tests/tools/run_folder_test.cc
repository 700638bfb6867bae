// A run's folder that someone else has filled: links in it are not followed, and its lines not believed.
#include "tools/run_folder.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tools/report/run_record.h"

using namespace gneiss;

namespace fs = std::filesystem;

TEST_CASE("a run is not written through links in a dataset or in its folder") {
  const test::TemporaryFolder folder;
  const test::TemporaryFolder outside;
  write_text_file(outside / "precious", "kept");
  const auto is_untouched = [&] {
    return read_text_file(outside / "precious") == "kept" &&
           std::distance(fs::directory_iterator(outside / ""), {}) == 1;
  };
  fs::create_directories(folder / "d");
  fs::create_directory_symlink(outside / "", folder / "d/runs");
  EXPECT_ERROR(RunFolder(folder / "d", "", RunStart::anew, false), Kind::config, "is a link");
  CHECK(is_untouched());

  const fs::path run = folder / "run";
  fs::create_directories(run);
  write_text_file(run / "config.yaml.tmp", "of a run that was killed at once");
  for (const char* file : {"metrics.jsonl", "config.yaml.tmp"}) {
    fs::remove(run / file);
    fs::create_symlink(outside / "precious", run / file);
  }
  {
    RunFolder taken(folder / "d", run.string(), RunStart::anew, false);
    taken.append_metrics({{"epoch", 1}});
    taken.write_config({{"model", "sage"}});
    fs::create_symlink(outside / "precious", run / "summary.json");
    taken.write_summary({{"epochs", 1}});
    CHECK(taken.keep_metrics(0, 1).size() == 1);
  }
  CHECK(is_untouched());
  CHECK(RunRecord::read(run, "").summary["epochs"] == 1);

  fs::create_directory_symlink(outside / "", run / "checkpoints");
  EXPECT_ERROR(RunFolder(folder / "d", run.string(), RunStart::replace, false), Kind::config, "is a link");
  CHECK(is_untouched());
}

TEST_CASE("metrics that hold words for numbers are no metrics of ours") {
  const test::TemporaryFolder folder;
  RunFolder run(folder / "d", (folder / "run").string(), RunStart::anew, false);
  write_text_file(folder / "run/metrics.jsonl",
                  "{\"epoch\":1}\n{\"epoch\":\"two\"}\n{\"epoch\":2,\"seed\":[]}\n{\"epoch\":-3}\n" +
                      std::string(100'000, '[') + "\n{\"epoch\":2}\n");
  EXPECT_ERROR(run.keep_metrics(0, 9), Kind::corruption, "it has 2 of the 9 epochs");
  const auto kept = run.keep_metrics(0, 2);
  REQUIRE(kept.size() == 2);
  CHECK(kept.back()["epoch"] == 2);
}

TEST_CASE("a summary that nests deeper than any report could follow is refused") {
  const test::TemporaryFolder folder;
  write_text_file(folder / "config.yaml", "model: sage\n");
  write_text_file(folder / "metrics.jsonl", "");
  write_text_file(folder / "summary.json",
                  "{\"machine\":{\"x\":" + std::string(300'000, '[') + std::string(300'000, ']') + "}}");
  EXPECT_ERROR(RunRecord::read(folder / "", ""), Kind::input, "not a JSON object");
}
