// A run's folder that someone else has filled: links in it are not followed, and its lines not believed.
#include "tools/run_folder.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <latch>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/support/expect_error.h"
#include "tests/support/killed_child.h"
#include "tests/support/skip.h"
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

namespace {

// A finished run, with everything that one leaves; each file says whose it is.
void write_run(const fs::path& run, const std::string& whose, bool is_of_many) {
  fs::create_directories(run / "checkpoints");
  const std::string seed = is_of_many ? "-seed-12" : "";
  for (const std::string& name :
       {std::string("config.yaml"), std::string("metrics.jsonl"), std::string("summary.json"),
        std::string("timeline.json"), std::string("report.html"), "best" + seed + ".safetensors",
        "state" + seed + ".safetensors", "checkpoints/epoch-0003" + seed + ".safetensors",
        "checkpoints/epoch-0003" + seed + ".state.safetensors"}) {
    write_text_file(run / name, whose);
  }
}

std::vector<std::string> files_of(const fs::path& run) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(run))
    names.push_back(entry.path().lexically_relative(run));
  std::ranges::sort(names);
  return names;
}

bool holds(const fs::path& run, const char* name) { return fs::exists(run / name); }

}  // namespace

TEST_CASE("of a run that is replaced nothing stays, and what is not a run's does") {
  const test::TemporaryFolder folder;
  const fs::path run = folder / "run";
  for (const bool was_of_many : {false, true}) {
    write_run(run, "old", was_of_many);
    for (const char* mine : {"notes.txt", "best-of-all.safetensors", "best-seed-x.safetensors"})
      write_text_file(run / mine, "mine");
    const RunFolder replaced(folder / "d", run.string(), RunStart::replace, !was_of_many);
    replaced.write_config({{"model", "sage"}});
    CHECK(files_of(run) == std::vector<std::string>{"best-of-all.safetensors", "best-seed-x.safetensors",
                                                    "config.yaml", "metrics.jsonl", "notes.txt"});
    CHECK(read_text_file(run / "metrics.jsonl").empty());
    CHECK(read_text_file(run / "notes.txt") == "mine");
  }
}

TEST_CASE("a run whose replacing is killed at any call is the old one, or has plainly begun anew") {
  const test::TemporaryFolder folder;
  const fs::path run = folder / "run";
  std::size_t kills = 0;
  std::size_t half = 0;
  for (std::uint64_t call = 0;; ++call) {
    fs::remove_all(run);
    write_run(run, "old", false);
    const auto end = test::run_until_call(
        [&] {
          RunFolder(folder / "d", run.string(), RunStart::replace, false).write_config({{"model", "gcn"}});
        },
        call);
    if (end == test::ChildEnd::untraceable) SKIP_TEST("a process may not be traced here");
    REQUIRE(end != test::ChildEnd::failed);
    if (end == test::ChildEnd::done) break;
    ++kills;
    CAPTURE(call);
    const bool is_old = read_text_file(run / "config.yaml") == "old";
    const bool has_state = holds(run, "state.safetensors");
    const bool has_weights = holds(run, "best.safetensors");
    // What says that it is finished is never there without what it could be gone on from, nor that without
    // all that it goes on with; and no weights are there under a config.yaml that is not theirs.
    if (holds(run, "summary.json")) CHECK(has_state);
    if (has_state) CHECK((has_weights && holds(run, "checkpoints/epoch-0003.state.safetensors")));
    if (has_state) CHECK(read_text_file(run / "metrics.jsonl") == "old");
    if (has_weights) CHECK(is_old);
    half += is_old && !has_weights ? 1 : 0;
    RunFolder(folder / "d", run.string(), RunStart::replace, true);  // and it can be tried again
  }
  CHECK(kills > 20);
  CHECK(half > 0);
}

TEST_CASE("of trainings that begin at once each gets a folder of its own") {
  const test::TemporaryFolder folder;
  fs::create_directories(folder / "d/runs");
  write_text_file(folder / "d/runs/run-0002", "a file of this name is passed over");
  constexpr std::size_t count = 8;
  std::vector<std::string> paths(count);
  std::latch start(count);
  {
    std::vector<std::jthread> threads;
    for (std::string& path : paths) {
      threads.emplace_back([&] {
        start.arrive_and_wait();
        try {
          path = RunFolder(folder / "d", "", RunStart::anew, false).path().filename();
        } catch (const Error& error) {
          path = error.what();
        }
      });
    }
  }
  std::ranges::sort(paths);
  CHECK(paths == std::vector<std::string>{"run-0001", "run-0003", "run-0004", "run-0005", "run-0006",
                                          "run-0007", "run-0008", "run-0009"});
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
