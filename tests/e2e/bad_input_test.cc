// Whatever is asked wrongly: one sentence, the right exit code, and nothing left that looks whole.
#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <filesystem>

#include "storage/format/npy_writer.h"
#include "tests/e2e/program.h"
#include "tests/support/skip.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

void write_ids(const std::filesystem::path& path, const std::vector<std::int64_t>& ids) {
  write_npy_vector<std::int64_t>(path, Dtype::i64, ids);
}

// Four nodes in a ring; each test breaks one file.
std::string write_ring(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  const std::vector<std::int64_t> ends{0, 1, 2, 3, 1, 2, 3, 0};
  const std::array<std::uint64_t, 2> edges{2, 4};
  write_npy(folder / "edge_index.npy", Dtype::i64, edges, std::as_bytes(std::span(ends)));
  const std::vector<float> values(8, 0.5F);
  const std::array<std::uint64_t, 2> rows{4, 2};
  write_npy(folder / "node_feat.npy", Dtype::f32, rows, std::as_bytes(std::span(values)));
  write_ids(folder / "node_label.npy", {0, 1, 0, 1});
  write_ids(folder / "train_idx.npy", {0, 1});
  write_ids(folder / "val_idx.npy", {2});
  write_ids(folder / "test_idx.npy", {3});
  return folder;
}

}  // namespace

TEST_CASE("a wrong command line is answered with what may have been meant, exit code 2") {
  expect_refused({}, 2, "needs a command");
  expect_refused({"tran"}, 2, "did you mean train?");
  expect_refused({"train"}, 2, "--dataset is required");
  expect_refused({"train", "--datset", "d"}, 2, "did you mean --dataset?");
  expect_refused({"verify", "d"}, 2, "does not know what to do with 'd'; did you mean --dataset d?");
  expect_refused({"inspect", "--dataset", "d", "o"}, 2, "did you mean --out o?");
  expect_refused({"verify", "--dataset", "d", "p"}, 2, "what to do with 'p'; see 'gneiss verify --help'");
  expect_refused({"train", "--dataset", "d", "--batch-size", "3"}, 2, "belongs to 'gneiss prepare'");
  expect_refused({"train", "--dataset", "d", "--epochs", "0"}, 2, "--epochs");
  expect_refused({"train", "--dataset", "d", "--memory", "10Mi"}, 2, "10Mi");
  expect_refused({"prepare", "--dataset", "d", "--batch-size", "-5"}, 2, "-5 is below 0");
  expect_refused({"prepare", "--dataset", "d", "--fanout", "x,1"}, 2, "--fanout");
  expect_refused({"prepare", "--dataset", "d", "--fanout", "0"}, 2, "--fanout 0");
  expect_refused({"prepare", "--dataset", "d", "--name", "../d"}, 2, "../d");
  expect_refused({"generate", "d", "--nodes", "-5"}, 2, "--nodes");
  expect_refused({"bench", "oi"}, 2, "did you mean io?");
  // As a variable of the shell leaves them that was never set.
  expect_refused({"train", "--dataset", "d", "--run=", "--seed=3"}, 2, "--run is given an empty value");
  expect_refused({"train", "--dataset", "d", "--lr", ""}, 2, "--lr is given an empty value");
  expect_refused({"info", "d", "--summary=", "--quiet"}, 2, "--summary is given an empty value");
  expect_refused({"train", "--dataset", "d", "--epochs"}, 2, "--epochs needs a value");
  expect_refused({"generate", "d", "--nodes", "18446744073709551616"}, 2, "18446744073709551616 is out of");
  expect_refused({"prepare", "--dataset", "d", "--disk-budget", "0"}, 2, "leave it out for all that is free");
}

TEST_CASE("what is not there, or not what it should be, is named") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  for (const char* command : {"train", "prepare", "info", "inspect"}) {
    CAPTURE(command);
    Arguments arguments{command, "--dataset", folder / "nothing"};
    if (std::string(command) == "inspect") arguments.insert(arguments.end(), {"--out", folder / "o"});
    expect_refused(arguments, 3, "nothing does not exist");
    arguments[2] = folder.path();
    expect_refused(arguments, 3, "not a Gneiss dataset");
  }
  const Arguments train{"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1"};
  const auto with = [&](std::initializer_list<std::string> more) {
    Arguments arguments = train;
    arguments.insert(arguments.end(), more);
    return arguments;
  };
  expect_refused({"train", "--dataset", dataset, "--preparation", "Q"}, 2, "no preparation 'Q'; it has: P");
  const auto before = tree(folder.path());
  expect_refused(with({"--memory", "1MiB"}), 2, "would do");
  expect_refused(with({"--lr", "-1"}), 2, "learning rate");
  expect_refused(with({"--dropout", "1"}), 2, "--dropout");
  expect_refused(with({"--summary", folder.path()}), 2, "is a folder");
  expect_refused(with({"--summary", folder / "no" / "s.json"}), 2, "does not exist");
  expect_refused(with({"--run", dataset + "/features.bin"}), 2, "is a file");
  expect_refused({"generate", dataset, "--nodes", "100"}, 2, "--force");
  expect_refused({"generate", folder / "no" / "d", "--nodes", "100"}, 3, "does not exist");
  expect_refused({"prepare", "--dataset", dataset, "--name", "P", "--fanout", "2"}, 2, "--force");
  CHECK(tree(folder.path()) == before);

  expect_done(with({"--run", folder / "run"}));
  expect_refused(with({"--run", folder / "run"}), 2, "holds a finished run");
  expect_done(with({"--run", folder / "run", "--force"}));
}

TEST_CASE("a name too long and links in a circle are told in a sentence of ours, whoever meets them") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const std::string circle = folder / "circle";
  std::filesystem::create_symlink(circle, folder / "other");
  std::filesystem::create_symlink(folder / "other", circle);
  for (const std::string& path : {std::string(folder / std::string(300, 'x')), circle}) {
    const char* reason = path == circle ? "levels of symbolic links; its links lead in a circle"
                                        : "File name too long; give a shorter one";
    for (const Arguments& arguments :
         {Arguments{"generate", path, "--nodes", "100"}, Arguments{"import", "npy", path, folder / "o"},
          Arguments{"train", "--dataset", dataset, "--preparation", "P", "--run", path},
          Arguments{"infer", "--dataset", dataset, "--run", path, "--out", folder / "o.npy"},
          Arguments{"report", path}}) {
      CAPTURE(arguments.front());
      const std::string sentence = expect_refused(arguments, 3, reason);
      CHECK(sentence.find("filesystem error") == std::string::npos);
    }
    for (const Arguments& arguments : {Arguments{"info", path}, Arguments{"prepare", "--dataset", path},
                                       Arguments{"bench", "io", "--dataset", path}})
      expect_refused(arguments, 3, "is not a folder");
    expect_refused({"info", dataset, "--summary", path}, 2, "cannot be a file");
  }
}

TEST_CASE("bytes of a hostile file are shown in a sentence, and move no terminal") {
  const TemporaryFolder folder;
  const std::string hostile = folder / "a\x1b[2J\x1b]0;pwn\x07\n caf\xc3\xa9";
  const std::string sentence =
      expect_refused({"info", hostile}, 3, "a\\x1b[2J\\x1b]0;pwn\\x07\\x0a caf\xc3\xa9");
  CHECK(sentence.find('\x1b') == std::string::npos);
}

TEST_CASE("a source that is missing, misshapen or out of range leaves no dataset") {
  struct Damage {
    const char* file;
    std::vector<std::int64_t> ids;  // empty: the file is removed
    const char* part;
  };
  for (const Damage& damage :
       {Damage{"edge_index.npy", {}, "edge_index.npy"}, Damage{"node_feat.npy", {}, "node_feat.npy"},
        Damage{"edge_index.npy", {0, 1, 2}, "edge_index.npy"}, Damage{"node_feat.npy", {1, 2, 3}, "3 rows"},
        Damage{"node_label.npy", {0, 1}, "node_label.npy"}, Damage{"train_idx.npy", {0, 4}, "train_idx.npy"},
        Damage{"test_idx.npy", {-1}, "test_idx.npy"}}) {
    const TemporaryFolder folder;
    const std::string source = write_ring(folder / "source");
    CAPTURE(std::string(damage.file));
    std::filesystem::remove(folder / "source" / damage.file);
    if (!damage.ids.empty()) write_ids(folder / "source" / damage.file, damage.ids);
    const std::string sentence =
        expect_refused({"import", "npy", source, folder / "d.gneiss"}, 3, damage.part);
    CHECK(sentence.size() > std::string(damage.part).size() + 20);
    std::filesystem::remove_all(source);
    CHECK(tree(folder.path()).empty());
  }
  const TemporaryFolder folder;
  expect_done({"import", "npy", write_ring(folder / "source"), folder / "d.gneiss"});
  expect_done({"prepare", "--dataset", folder / "d.gneiss", "--fanout", "2"});
  expect_done({"train", "--dataset", folder / "d.gneiss", "--epochs", "1"});
}

TEST_CASE("ids beyond the largest signed number are refused in the middle of a file") {
  const std::vector<std::uint64_t> ids{0, 1, 2, 3, 1, 2, 3, (1ULL << 63) + 5};
  const auto as_many = [&](std::size_t count) { return std::as_bytes(std::span(ids).last(count)); };
  for (const std::string file : {"edge_index.npy", "train_idx.npy", "test_idx.npy"}) {
    CAPTURE(file);
    const TemporaryFolder folder;
    const std::string source = write_ring(folder / "source");
    const bool is_edges = file == "edge_index.npy";
    const std::vector<std::uint64_t> shape =
        is_edges ? std::vector<std::uint64_t>{2, 4} : std::vector<std::uint64_t>{3};
    write_npy(folder / "source" / file, Dtype::u64, shape, as_many(is_edges ? 8 : 3));
    const std::string sentence = expect_refused({"import", "npy", source, folder / "d.gneiss"}, 3, file);
    CHECK(sentence.find("9223372036854775813") != std::string::npos);
    std::filesystem::remove_all(source);
    CHECK(tree(folder.path()).empty());
  }
}

TEST_CASE("a file of ours that was cut short or removed is named") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const Arguments train{"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1"};
  std::filesystem::resize_file(dataset + "/prepared/P/pack.bin", 8192);
  expect_refused(train, 4, "pack.bin");
  std::filesystem::remove(dataset + "/prepared/P/pack.bin");
  expect_refused(train, 4, "pack.bin is missing");
  std::filesystem::resize_file(dataset + "/features.bin", 4096);
  expect_refused(train, 4, "features.bin");
}

TEST_CASE("a dataset in a folder that cannot be written trains with --run elsewhere") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  namespace fs = std::filesystem;
  const auto set = [&](fs::perms files, fs::perms folders) {
    for (const auto& entry : fs::recursive_directory_iterator(dataset))
      fs::permissions(entry.path(), entry.is_directory() ? folders : files);
    fs::permissions(dataset, folders);
  };
  set(fs::perms(0444), fs::perms(0555));
  // Root may write all the same: then it takes another user, for whom the folders must be open.
  Arguments arguments;
  if (::geteuid() == 0) {
    fs::permissions(folder.path(), fs::perms(0777));
    arguments = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
  }
  const auto as_user = [&](const Arguments& more) {
    Arguments all = arguments;
    all.push_back(program());
    all.insert(all.end(), more.begin(), more.end());
    return run_command(all);
  };
  const bool can_run = as_user({"--version"}).exit_code == 0;
  if (can_run) {
    CommandResult result = as_user(
        {"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1", "--run", folder / "run"});
    CHECK_MESSAGE(result.exit_code == 0, result.output);
    result = as_user({"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1"});
    CHECK_MESSAGE(result.exit_code == 5, result.output);
    CHECK_MESSAGE(result.output.find("--run") != std::string::npos, result.output);
    result = as_user({"prepare", "--dataset", dataset, "--name", "Q", "--fanout", "2"});
    CHECK_MESSAGE(result.exit_code == 5, result.output);
    CHECK_MESSAGE(result.output.rfind("gneiss: ") != std::string::npos, result.output);
    result = as_user({"info", dataset});
    CHECK_MESSAGE(result.exit_code == 0, result.output);
  }
  set(fs::perms(0644), fs::perms(0755));
  if (!can_run) SKIP_TEST("no other user can be made here, and root may write everywhere");
}

TEST_CASE("a file that may not grow is an error of the system, and leaves nothing") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const auto before = tree(folder.path());
  const auto limited = [](const Arguments& arguments, const char* kilobytes) {
    // A write past the limit fails with EFBIG as one on a full disk fails with ENOSPC, and no SIGXFSZ.
    Arguments all{"bash", "-c", R"(ulimit -f "$0"; exec "$@")", kilobytes, program()};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return run_command(all);
  };
  for (const Arguments& arguments :
       {Arguments{"generate", folder / "big.gneiss", "--nodes", "30000", "--features", "64"},
        Arguments{"prepare", "--dataset", dataset, "--name", "Q", "--fanout", "9,9", "--batch-size", "50"}}) {
    const CommandResult result = limited(arguments, "256");
    CHECK_MESSAGE(result.exit_code == 5, result.output);
    CHECK_MESSAGE(result.output.find("gneiss: ") != std::string::npos, result.output);
    CHECK(tree(folder.path()) == before);
  }
  expect_done({"prepare", "--dataset", dataset, "--name", "Q", "--fanout", "9,9", "--batch-size", "50"});
  const CommandResult unseen =
      run_command({"bash", "-c", R"("$0" info "$1" > /dev/full)", program(), dataset});
  CHECK_MESSAGE(unseen.exit_code == 5, unseen.output);
}
