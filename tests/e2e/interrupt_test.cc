// Ctrl-C and kill -9 at any moment: a message or none, and the same command again does its work.
#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "storage/io/file.h"
#include "tests/e2e/program.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;
using std::chrono::milliseconds;

namespace {

// Seconds of work: many epochs sampled ahead.
Arguments long_prepare(const std::string& dataset) {
  return {"prepare", "--dataset",    dataset, "--name",          "L", "--fanout",
          "10,10",   "--batch-size", "50",    "--sample-epochs", "60"};
}

bool has_leftovers(const std::filesystem::path& folder) {
  for (const std::string& name : tree(folder)) {
    if (name.find("partial") != std::string::npos || name.find(".tmp") != std::string::npos) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("an interrupted preparation says so, keeps what is done, and goes on") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  for (const int signal : {SIGINT, SIGTERM}) {
    const CommandResult result = signal_when(long_prepare(dataset), signal, [&] {
      return std::filesystem::exists(dataset + "/prepared/L.partial");
    });
    CHECK_MESSAGE(result.exit_code == 130, result.output);
    CHECK_MESSAGE(result.output.find("gneiss: interrupted") != std::string::npos, result.output);
  }
  expect_refused({"train", "--dataset", dataset, "--preparation", "L"}, 2, "no preparation 'L'");
  // With samples on disk there is something to keep.
  const CommandResult result = signal_when(long_prepare(dataset), SIGINT, [&] {
    return std::filesystem::exists(dataset + "/prepared/L.partial/inputs.state");
  });
  CHECK_MESSAGE(result.exit_code == 130, result.output);
  CHECK_MESSAGE(result.output.find("what is done is kept in") != std::string::npos, result.output);
  CHECK(expect_done(long_prepare(dataset)).find("going on after") != std::string::npos);
  CHECK_FALSE(has_leftovers(folder.path()));
  expect_done({"prepare", "--dataset", dataset, "--name", "L", "--fanout", "3", "--force"});
  CHECK_FALSE(has_leftovers(folder.path()));
}

TEST_CASE("an interrupted training says so, and the same command again goes on to the same numbers") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const auto train = [&](const char* run, std::initializer_list<std::string> more = {}) {
    Arguments arguments{"train",      "--dataset", dataset, "--preparation", "P", "--run",
                        folder / run, "--epochs",  "40",    "--runs",        "2"};
    arguments.insert(arguments.end(), more);
    return arguments;
  };
  expect_done(train("whole"));
  int interrupted = 0;
  // In the first run's first epochs, then in the second run; the third time nobody interrupts.
  for (const auto& [signal, file] :
       {std::pair{SIGINT, "state-seed-0.safetensors"}, std::pair{SIGKILL, "state-seed-1.safetensors"}}) {
    const CommandResult result = signal_when(
        train("run"), signal, [&, file = file] { return std::filesystem::exists(folder / "run" / file); });
    if (result.exit_code == 0) break;  // it was done before
    ++interrupted;
    CHECK_MESSAGE(result.exit_code == (signal == SIGINT ? 130 : 128 + signal), result.output);
    if (signal == SIGINT) CHECK_MESSAGE(result.output.find("goes on") != std::string::npos, result.output);
    CHECK_FALSE(std::filesystem::exists(folder / "run" / "summary.json"));
  }
  CHECK(interrupted > 0);
  expect_refused(train("run", {"--lr", "0.5"}), 2, "lr is ");
  CHECK(expect_done(train("run")).find("Going on after epoch") != std::string::npos);
  CHECK_FALSE(has_leftovers(folder.path()));

  const auto summary = [&](const char* run) {
    return nlohmann::json::parse(read_text_file(folder / run / "summary.json"));
  };
  for (const std::size_t i : {0U, 1U}) {
    const nlohmann::json resumed = summary("run").at("runs").at(i);
    const nlohmann::json whole = summary("whole").at("runs").at(i);
    CHECK(resumed.at("test_accuracy") == whole.at("test_accuracy"));
    CHECK(resumed.at("best_epoch") == whole.at("best_epoch"));
    REQUIRE(resumed.at("epochs").size() == whole.at("epochs").size());
    for (std::size_t epoch = 0; epoch < whole.at("epochs").size(); ++epoch) {
      CHECK(resumed.at("epochs").at(epoch).at("loss") == whole.at("epochs").at(epoch).at("loss"));
    }
  }
  for (const char* file : {"best-seed-0.safetensors", "best-seed-1.safetensors"})
    CHECK(read_text_file(folder / "run" / file) == read_text_file(folder / "whole" / file));

  expect_refused(train("run"), 2, "holds a finished run");
  expect_refused(train("empty", {"--resume"}), 2, "no run to go on with");
  Arguments more = train("run", {"--resume"});
  *std::ranges::find(more, "40") = "41";
  expect_done(more);
  CHECK(summary("run").at("runs").at(1).at("epochs").size() == 41);
  expect_done(train("run", {"--force"}));
  CHECK(summary("run").at("runs").at(0).at("epochs").size() == 40);
}

TEST_CASE("the checkpoints of the last epochs outlive kills, and a run goes back to one of them") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const auto train = [&](const char* run, const Arguments& more = {}) {
    Arguments arguments{"train",      "--dataset", dataset, "--preparation", "P", "--run",
                        folder / run, "--epochs",  "30",    "--keep-last",   "3"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  const auto kept = [&](const char* run) { return tree(folder / run / "checkpoints"); };
  const auto check_same = [&] {
    CHECK(kept("run") == kept("whole"));
    for (const std::string file : {"best.safetensors", "state.safetensors"})
      CHECK(read_text_file(folder / "run" / file) == read_text_file(folder / "whole" / file));
    for (const std::string& file : kept("whole")) {
      CHECK(read_text_file(folder / "run" / "checkpoints" / file) ==
            read_text_file(folder / "whole" / "checkpoints" / file));
    }
  };
  expect_done(train("whole"));
  CHECK(kept("whole").size() == 6);
  int killed = 0;
  for (const char* epoch : {"0002", "0009", "0017", "0024"}) {
    const std::filesystem::path file =
        folder / "run" / "checkpoints" / ("epoch-" + std::string(epoch) + ".safetensors");
    const CommandResult result =
        signal_when(train("run"), SIGKILL, [&] { return std::filesystem::exists(file); });
    if (result.exit_code == 0) break;  // it was done before
    ++killed;
    CHECK_MESSAGE(result.exit_code == 128 + SIGKILL, result.output);
    CHECK(std::filesystem::exists(folder / "run" / "state.safetensors"));
  }
  CHECK(killed > 0);
  if (!std::filesystem::exists(folder / "run" / "summary.json")) expect_done(train("run"));
  check_same();
  CHECK_FALSE(has_leftovers(folder.path()));

  expect_refused(train("run", {"--resume-epoch", "3"}), 2, "kept are those of epochs 28, 29, 30");
  // As the same command finds it that was killed after it went back, when other epochs have been kept since.
  expect_refused(train("run", {"--resume-epoch", "3"}), 2, "stands after epoch 30, where --resume goes on");
  expect_refused(train("run", {"--resume-epoch", "28", "--lr", "0.5"}), 2, "lr is ");
  expect_refused(train("run", {"--resume-epoch", "28", "--runs", "2"}), 2, "in a single run");
  check_same();
  CHECK(expect_done(train("run", {"--resume-epoch", "28"})).find("Going on after epoch 28") !=
        std::string::npos);
  check_same();
  // The newest state is damaged: the one before it is not.
  write_text_file(folder / "run" / "state.safetensors", "nothing of it");
  expect_refused(train("run", {"--resume"}), 4, "state.safetensors");
  expect_done(train("run", {"--resume-epoch", "29"}));
  check_same();
  expect_done({"train", "--dataset", dataset, "--preparation", "P", "--run", folder / "run", "--epochs", "1",
               "--force"});
  CHECK_FALSE(std::filesystem::exists(folder / "run" / "checkpoints"));
  expect_refused(train("run", {"--resume-epoch", "1"}), 2, "--keep-last keeps them");
}

TEST_CASE("a command killed at any moment leaves what the same command makes whole") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  const Arguments generate{"generate",   dataset, "--nodes",       "40000",
                           "--features", "64",    "--train-share", "0.3"};
  int killed = 0;
  for (const int delay : {1, 40, 80, 150, 300, 500}) {
    CAPTURE(delay);
    const CommandResult result = signal_when(generate, SIGKILL, after(milliseconds(delay)));
    if (result.exit_code != 128 + SIGKILL) break;  // it was done before
    ++killed;
    if (std::filesystem::exists(dataset)) break;  // whole already
    expect_refused({"info", dataset}, 3, "does not exist");
  }
  CHECK(killed > 0);
  if (!std::filesystem::exists(dataset)) expect_done(generate);
  expect_done({"info", dataset});
  CHECK_FALSE(has_leftovers(folder.path()));

  const Arguments prepare = long_prepare(dataset);
  killed = 0;
  const auto is_writing = [&] { return std::filesystem::exists(dataset + "/prepared/L.partial"); };
  for (const auto& when : {after(milliseconds(1)), after(milliseconds(60)), after(milliseconds(300)),
                           std::function(is_writing)}) {
    const CommandResult result = signal_when(prepare, SIGKILL, when);
    if (result.exit_code != 128 + SIGKILL) break;  // it was done before
    ++killed;
    expect_done({"info", dataset});
  }
  CHECK(killed > 0);
  expect_done({"prepare", "--dataset", dataset, "--name", "L", "--fanout", "2", "--force"});
  expect_done({"train", "--dataset", dataset, "--preparation", "L", "--epochs", "1"});
  CHECK_FALSE(has_leftovers(folder.path()));
}
