// Processes on one dataset keep out of each other's way, and nothing that is not ours is taken or removed.
#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "storage/format/dataset.h"
#include "storage/format/preparation.h"
#include "storage/io/file.h"
#include "storage/io/file_lock.h"
#include "tests/e2e/program.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;
namespace fs = std::filesystem;

TEST_CASE("a folder that another training is in is refused, and so is one with other files") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const Arguments train{"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1", "--run"};
  const auto in = [&](const std::string& run) {
    Arguments arguments = train;
    arguments.push_back(run);
    return arguments;
  };
  {
    fs::create_directory(folder / "run");
    const auto other = FileLock::try_take(folder / "run", FileLock::Mode::exclusive);
    expect_refused(in(folder / "run"), 5, "another gneiss is training in");
  }
  expect_done(in(folder / "run"));
  fs::create_directory(folder / "mine");
  write_text_file(folder / "mine" / "thesis.txt", "x");
  expect_refused(in(folder / "mine"), 2, "holds 'thesis.txt' and no run");
  expect_refused({"inspect", "--dataset", dataset, "--preparation", "P", "--out", folder / "mine"}, 2,
                 "holds 'thesis.txt'");
  CHECK(tree(folder / "mine") == std::vector<std::string>{"thesis.txt"});
  // Only its own names give way to another batch.
  const Arguments inspect{"inspect", "--dataset", dataset, "--preparation", "P", "--out", folder / "batch"};
  expect_done(inspect);
  const auto batch = tree(folder / "batch");
  write_text_file(folder / "batch" / "block7_indptr.npy", "of an earlier one");
  expect_done(inspect);
  CHECK(tree(folder / "batch") == batch);
  for (const char* mine : {"block_notes.npy", "block0_notes.npy", "block0_indptr.npy.npy", "block0.npy"}) {
    write_text_file(folder / "batch" / mine, "x");
    expect_refused(inspect, 2, "holds '" + std::string(mine) + "'");
    CHECK(read_text_file(folder / "batch" / mine) == "x");
    fs::remove(folder / "batch" / mine);
  }
}

TEST_CASE("an output that is another's, the run's or the dataset's is refused before the work") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const std::string run = folder / "run";
  const Arguments train{"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1", "--run", run};
  expect_done(train);
  const auto with = [](Arguments arguments, std::initializer_list<std::string> more) {
    arguments.insert(arguments.end(), more);
    return arguments;
  };
  const auto before = tree(folder.path());
  const std::string x = folder / "x";
  const std::string features = dataset + "/features.bin";
  const Arguments infer{"infer", "--dataset", dataset, "--run", run, "--out"};
  expect_refused(with(train, {"--force", "--summary", x, "--trace", x}), 2, "--summary and --trace are both");
  expect_refused(with(train, {"--force", "--trace", run + "/state.safetensors"}), 2, "the run is made of");
  expect_refused(with(infer, {x, "--summary", folder / "." / "x"}), 2, "--out and --summary are both");
  expect_refused(with(infer, {run + "/best.safetensors"}), 2, "the run is made of");
  expect_refused({"report", run, "--out", run + "/config.yaml"}, 2, "the run is made of");
  for (const Arguments& command :
       {Arguments{"info", dataset},
        {"verify", "--dataset", dataset},
        {"bench", "io", "--dataset", dataset},
        {"prepare", "--dataset", dataset, "--name", "Q"},
        {"generate", dataset, "--force"},
        {"inspect", "--dataset", dataset, "--preparation", "P", "--out", folder / "batch"}}) {
    CAPTURE(command.front());
    expect_refused(with(command, {"--summary", features}), 2, "the dataset is made of");
  }
  CHECK(tree(folder.path()) == before);
  expect_done({"verify", "--dataset", dataset});
}

TEST_CASE("what is being read is not replaced, readers share, and what is being made is not made twice") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const Arguments prepare{"prepare", "--dataset", dataset, "--name", "P", "--fanout", "3", "--force"};
  const Arguments generate{"generate", dataset, "--nodes", "100", "--force"};
  {
    const Dataset open = Dataset::open(dataset);
    const Preparation preparation = Preparation::open(open, "P");
    expect_refused(prepare, 5, "'P' is being read by another gneiss");
    expect_refused(generate, 5, "is being read by another gneiss");
    expect_done({"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1"});
  }
  {
    const DatasetWriter writer(folder / "e.gneiss", false);
    expect_refused({"generate", folder / "e.gneiss", "--nodes", "100"}, 5, "is being made by another gneiss");
  }
  expect_done(prepare);
  // The models that were trained on the old dataset stay, its preparations go.
  expect_done(generate);
  CHECK(fs::exists(dataset + "/runs/run-0001/best.safetensors"));
  CHECK_FALSE(fs::exists(dataset + "/prepared"));
  CHECK_FALSE(fs::exists(dataset + ".replaced"));
  // As a kill between the two renames leaves it.
  fs::rename(dataset, dataset + ".replaced");
  expect_done({"generate", dataset, "--nodes", "100"});
  CHECK(fs::exists(dataset + "/runs/run-0001/best.safetensors"));
  CHECK_FALSE(fs::exists(dataset + ".replaced"));  // its space is given back
  // And as a kill after them does.
  fs::create_directory(dataset + ".replaced");
  fs::rename(dataset + "/runs", dataset + ".replaced/runs");
  expect_done(generate);
  CHECK(fs::exists(dataset + "/runs/run-0001/best.safetensors"));
  CHECK_FALSE(fs::exists(dataset + ".replaced"));
  // Where both have runs, of one name even, both are kept.
  fs::create_directories(dataset + ".replaced/runs/run-0001");
  write_text_file(dataset + ".replaced/runs/run-0001/summary.json", "{}");
  expect_done(generate);
  CHECK(fs::exists(dataset + "/runs/run-0001/best.safetensors"));
  CHECK(read_text_file(dataset + "/runs/run-0001-2/summary.json") == "{}");
  CHECK_FALSE(fs::exists(dataset + ".replaced"));
}

TEST_CASE("folders that only look like ours are left alone, and names that cannot be are refused") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  fs::create_directory(dataset + ".partial");
  write_text_file(dataset + ".partial/thesis.txt", "x");
  const Arguments generate{"generate", dataset, "--nodes", "100"};
  expect_refused(generate, 2, "holds 'thesis.txt'");
  CHECK(read_text_file(dataset + ".partial/thesis.txt") == "x");
  fs::rename(dataset + ".partial/thesis.txt", dataset + ".partial/graph.csc.tmp");  // as a kill leaves it
  expect_done(generate);
  CHECK_FALSE(fs::exists(dataset + ".partial"));
  write_text_file(dataset + "/thesis.txt", "x");
  expect_refused({"generate", dataset, "--nodes", "200", "--force"}, 2, "holds 'thesis.txt'");
  CHECK(read_text_file(dataset + "/thesis.txt") == "x");
  fs::remove(dataset + "/thesis.txt");
  expect_done({"generate", dataset, "--nodes", "200", "--force"});
  for (const char* name : {"/", "", ".", ".."}) {
    CAPTURE(std::string(name));
    expect_refused({"generate", name, "--nodes", "100"}, 2, "");
  }
  expect_done({"generate", dataset + "2/", "--nodes", "100"});
  // Names of what is in work: another command would take it for what was left.
  for (const char* ending : {".partial", ".replaced", ".partial/"}) {
    expect_refused({"generate", dataset + "3" + ending, "--nodes", "100"}, 2, "choose another name");
    CHECK_FALSE(fs::exists(dataset + "3" + ending));
  }
  // A dataset in use that was given such a name by hand.
  expect_done({"prepare", "--dataset", dataset, "--fanout", "2"});
  fs::rename(dataset, dataset + "4.partial");
  expect_refused({"generate", dataset + "4", "--nodes", "100"}, 2, "holds prepared/");
  expect_done({"verify", "--dataset", dataset + "4.partial"});
  expect_refused({"generate", folder / "small", "--nodes", "100", "--memory", "1MiB"}, 2, "48MiB would do");
  expect_refused({"generate", folder / "small", "--nodes", "100", "--memory", "0"}, 2, "--memory");
}

TEST_CASE("a summary replaces what a link leads to, and paths of any bytes can be used") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d\xe9 x.gneiss";
  make_small_dataset(dataset);
  write_text_file(folder / "real.json", "old");
  fs::create_symlink(folder / "real.json", folder / "link.json");
  expect_done({"info", dataset, "--summary", folder / "link.json"});
  CHECK(fs::is_symlink(folder / "link.json"));
  CHECK(nlohmann::json::parse(read_text_file(folder / "real.json")).at("nodes") == 3000);
  fs::create_symlink("/proc/self/fd/1", folder / "out");
  CHECK(expect_done({"info", dataset, "--summary", folder / "out"}).find("\"nodes\": 3000") !=
        std::string::npos);
  CHECK(fs::is_symlink(folder / "out"));
  expect_done({"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1", "--run",
               folder / "r\xe9", "--summary", folder / "s.json"});
  CHECK(nlohmann::json::parse(read_text_file(folder / "s.json")).contains("test_accuracy"));
}

TEST_CASE("a training that diverges says so instead of telling an accuracy") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  expect_refused(
      {"train", "--dataset", dataset, "--preparation", "P", "--epochs", "9", "--lr", "1e30", "--quiet"}, 3,
      "the loss is no longer a number");
}
