// Ctrl-C and kill -9 at any moment: a message or none, and the same command again does its work.
#include <doctest/doctest.h>

#include <csignal>
#include <filesystem>

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

TEST_CASE("an interrupted preparation says so, leaves nothing, and can be made again") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const auto before = tree(folder.path());
  for (const int signal : {SIGINT, SIGTERM}) {
    const CommandResult result = signal_when(long_prepare(dataset), signal, [&] {
      return std::filesystem::exists(dataset + "/prepared/L.partial");
    });
    CHECK_MESSAGE(result.exit_code == 130, result.output);
    CHECK_MESSAGE(result.output.find("gneiss: interrupted") != std::string::npos, result.output);
    CHECK(tree(folder.path()) == before);
  }
  expect_refused({"train", "--dataset", dataset, "--preparation", "L"}, 2, "no preparation 'L'");
  expect_done({"prepare", "--dataset", dataset, "--name", "L", "--fanout", "3"});
  CHECK_FALSE(has_leftovers(folder.path()));
}

TEST_CASE("an interrupted training says so, and the same command again trains") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  Arguments train{"train", "--dataset",    dataset,    "--preparation", "P",
                  "--run", folder / "run", "--epochs", "100000"};
  const CommandResult result = signal_when(
      train, SIGINT, [&] { return std::filesystem::exists(folder / "run" / "best.safetensors"); });
  CHECK_MESSAGE(result.exit_code == 130, result.output);
  CHECK_MESSAGE(result.output.find("gneiss: interrupted") != std::string::npos, result.output);
  CHECK_FALSE(std::filesystem::exists(folder / "run" / "summary.json"));
  CHECK_FALSE(has_leftovers(folder.path()));
  train.back() = "2";
  expect_done(train);
  CHECK(std::filesystem::exists(folder / "run" / "summary.json"));
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
