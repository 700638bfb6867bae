// What prepare() leaves behind: a whole preparation or none, whatever stops it.
#include <doctest/doctest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>

#include "storage/base/cancel.h"
#include "tests/sampler/prepare_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/run_command.h"
#include "tests/support/skip.h"
#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

namespace fs = std::filesystem;
using test::child_command;
using test::expect_whole;
using test::run_prepare;
using test::small_request;

// Larger than a small limit on file sizes, so that writing fails at several places.
constexpr test::SmallDatasetOptions medium{.nodes = 3000, .edges = 30'000, .dim = 100, .train = 400};

void expect_nothing_left(const fs::path& dataset) {
  CHECK_FALSE(fs::exists(dataset / "prepared"));
  CHECK(preparation_names(Dataset::open(dataset)).empty());
}

PrepareResult prepare_and(const fs::path& folder, const std::function<void()>& after_plan) {
  Dataset dataset = Dataset::open(folder, Catalog::Access::write);
  ThreadPool pool(2);
  return prepare(dataset, small_request(), pool, [&](const PreparationCost&) { after_plan(); });
}

}  // namespace

TEST_CASE("a preparation beyond the disk budget is refused before anything is written") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  auto request = small_request();
  request.disk_budget_bytes = 8192;
  EXPECT_ERROR(run_prepare(folder / "d", request), Kind::config, "--disk-budget 8.00 KiB is too little");
  expect_nothing_left(folder / "d");
  request.disk_budget_bytes = std::uint64_t{1} << 30;
  run_prepare(folder / "d", request);
  expect_whole(folder / "d");
}

TEST_CASE("what is there already is not made again, and nothing else is replaced without being told") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  CHECK_FALSE(run_prepare(folder / "d", small_request()).already_done);
  const auto files = test::tree_of(folder / "d/prepared");
  CHECK(run_prepare(folder / "d", small_request()).already_done);
  CHECK(test::tree_of(folder / "d/prepared") == files);

  auto smaller = small_request();
  smaller.disk_budget_bytes = Preparation::open(Dataset::open(folder / "d"), "p").bytes();
  CHECK(run_prepare(folder / "d", smaller).already_done);
  smaller.disk_budget_bytes -= 1;
  EXPECT_ERROR(run_prepare(folder / "d", smaller), Kind::config, "more than --disk-budget");

  auto other = small_request();
  other.options.seed = 4;
  EXPECT_ERROR(run_prepare(folder / "d", other), Kind::config, "--force");
  CHECK(test::tree_of(folder / "d/prepared") == files);
  other.force = true;
  CHECK_FALSE(run_prepare(folder / "d", other).already_done);
  CHECK(test::tree_of(folder / "d/prepared") != files);
  CHECK(Preparation::open(Dataset::open(folder / "d"), "p").info().options.seed == 4);
  expect_whole(folder / "d");
  EXPECT_ERROR(Preparation::open(Dataset::open(folder / "d"), "q"), Kind::config, "it has: p");
}

TEST_CASE("options that cannot be, and names that would leave the folder, are refused") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  const auto expect_refused = [&](const std::function<void(PrepareRequest&)>& change, const char* words) {
    auto request = small_request();
    change(request);
    EXPECT_ERROR(run_prepare(folder / "d", request), Kind::config, words);
  };
  for (const std::string name :
       {"../x", "", ".", "..", "a/b", "/tmp/x", ".hidden", "x.partial", "a b", "\xC3\xA4"})
    expect_refused([&](auto& request) { request.name = name; }, "cannot name a preparation");
  expect_refused([](auto& request) { request.name = std::string(201, 'x'); }, "cannot name a preparation");
  expect_refused([](auto& request) { request.options.fanouts = {}; }, "--fanout is empty");
  expect_refused([](auto& request) { request.options.fanouts = {5, 0}; }, "--fanout 0");
  expect_refused([](auto& request) { request.options.fanouts = {-2}; }, "--fanout -2");
  expect_refused([](auto& request) { request.options.fanouts.assign(17, 1); }, "17 hops");
  expect_refused([](auto& request) { request.options.batch_size = 0; }, "--batch-size is 0");
  expect_refused([](auto& request) { request.read_gap_bytes = (1ULL << 30) + 1; }, "--read-gap");
  expect_refused([](auto& request) { request.options.sample_epochs = 0; }, "--sample-epochs is 0");
  expect_refused(
      [](auto& request) {
        request.options.fanouts = {-1};
        request.options.replace = true;
      },
      "--replace");
  expect_nothing_left(folder / "d");
}

TEST_CASE("too little memory is refused with the least that does, and that does") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  auto request = small_request();
  request.memory_bytes = 1U << 20;
  std::uint64_t least_mib = 0;
  try {
    run_prepare(folder / "d", request);
  } catch (const Error& error) {
    const std::string words = error.what();
    CHECK(error.kind() == Kind::config);
    least_mib = std::stoull(words.substr(words.find("; ") + 2));
  }
  REQUIRE(least_mib > 1);
  request.memory_bytes = (least_mib - 1) << 20;
  EXPECT_ERROR(run_prepare(folder / "d", request), Kind::config, std::to_string(least_mib) + "MiB would do");
  expect_nothing_left(folder / "d");
  request.memory_bytes = least_mib << 20;
  run_prepare(folder / "d", request);
  expect_whole(folder / "d");
}

TEST_CASE("a dry run writes nothing, even into a folder that cannot be written") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  const auto before = test::tree_of(folder / "d");
  auto request = small_request();
  request.dry_run = true;
  CHECK(run_prepare(folder / "d", request).cost.input_rows > 0);
  CHECK(test::tree_of(folder / "d") == before);

  // Root may write anywhere, so it becomes nobody.
  fs::permissions(folder.path(), fs::perms(0755));
  for (const auto& entry : fs::recursive_directory_iterator(folder / "d"))
    fs::permissions(entry, entry.is_directory() ? fs::perms(0555) : fs::perms(0444));
  fs::permissions(folder / "d", fs::perms(0555));
  const bool root = ::geteuid() == 0;
  if (root) REQUIRE(::seteuid(65534) == 0);
  double rows = 0;
  std::string failure;
  try {
    rows = run_prepare(folder / "d", request).cost.input_rows;
  } catch (const std::exception& error) {
    failure = error.what();
  }
  if (root) REQUIRE(::seteuid(0) == 0);
  CHECK(failure == "");
  CHECK(rows > 0);
  for (const auto& entry : fs::recursive_directory_iterator(folder / "d"))
    if (entry.is_directory()) fs::permissions(entry, fs::perms(0755));
  fs::permissions(folder / "d", fs::perms(0755));
  CHECK(test::tree_of(folder / "d") == before);
}

TEST_CASE("files that may not grow: an io error, and what was done is kept for the same command") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", medium);
  for (const std::uint64_t limit : {4096, 200'000, 900'000, 2'000'000}) {
    {
      EXPECT_ERROR(
          {
            std::optional<test::FileSizeLimit> full;
            prepare_and(folder / "d", [&] { full.emplace(limit); });
          },
          Kind::io, "p.partial: the same command goes on with it");
    }
    CHECK(preparation_names(Dataset::open(folder / "d")).empty());
  }
  run_prepare(folder / "d", small_request());
  expect_whole(folder / "d");
}

TEST_CASE("a full disk: said before the work, and survived when it fills up meanwhile") {
  const test::TemporaryFolder folder;
  if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=12m") != 0)
    SKIP_TEST("may not mount a tmpfs");
  struct Unmount {
    fs::path path;
    ~Unmount() { ::umount2(path.c_str(), MNT_DETACH); }
  } const unmount{folder.path()};
  test::write_small_dataset(folder / "d", medium);
  const fs::path other = folder / "other";
  const auto fill_all_but = [&](std::uint64_t bytes) {
    const File file = File::create(other);
    file.reserve(free_bytes(folder.path()) - bytes);
  };
  fill_all_but(1'000'000);
  EXPECT_ERROR(run_prepare(folder / "d", small_request()), Kind::io,
               "no space left: the preparation takes up to");
  fs::remove(other);
  EXPECT_ERROR(prepare_and(folder / "d", [&] { fill_all_but(800'000); }), Kind::io, "no space left");
  CHECK(preparation_names(Dataset::open(folder / "d")).empty());
  fs::remove(other);
  CHECK(run_prepare(folder / "d", small_request()).went_on_after != "");
  expect_whole(folder / "d");
}

TEST_CASE("child: interrupted" * doctest::skip()) {
  install_signal_handlers();
  try {
    prepare_and(std::getenv("GNEISS_TEST_FOLDER"), [] {
      ::kill(::getpid(), SIGINT);
      while (!interrupt_token().stop_requested()) std::this_thread::yield();
    });
  } catch (const Error& error) {
    std::puts(error.what());
    std::fflush(stdout);
    ::_exit(exit_code(error.kind()));
  }
}

TEST_CASE("an interrupt keeps what is done and says how to go on") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", medium);
  const auto result = test::run_command(child_command("interrupted", folder / "d"));
  CHECK(result.exit_code == 130);
  CHECK(result.output.find("run the same command again") != std::string::npos);
  CHECK(preparation_names(Dataset::open(folder / "d")).empty());
  CHECK(run_prepare(folder / "d", small_request()).went_on_after == "sampling, or a part of it");
  expect_whole(folder / "d");
}

TEST_CASE("child: killed while it writes" * doctest::skip()) {
  prepare_and(std::getenv("GNEISS_TEST_FOLDER"), [] {
    // The kernel kills at the first byte beyond: in the samples or in the pack.
    const rlimit core{0, 0};
    ::setrlimit(RLIMIT_CORE, &core);
    const auto bytes = std::strtoull(std::getenv("GNEISS_TEST_BYTES"), nullptr, 10);
    const rlimit limit{bytes, bytes};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  });
}

TEST_CASE("who has opened a dataset sees what is prepared afterwards, whole, and as no damage") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  auto request = small_request();
  run_prepare(folder / "d", request);
  const Dataset reader = Dataset::open(folder / "d");
  const std::uint64_t before = Preparation::open(reader, "p").pool().file().fingerprint();
  request.force = true;
  request.options.seed += 1;
  run_prepare(folder / "d", request);
  const Preparation replaced = Preparation::open(reader, "p");
  CHECK(replaced.pool().file().fingerprint() != before);
  CHECK(replaced.info().options.seed == request.options.seed);
  request.name = "later";
  run_prepare(folder / "d", request);
  CHECK(lost_preparations(reader).empty());
  // Half replaced, by a process that may be alive.
  Catalog(folder / "d/catalog", Catalog::Access::write)
      .apply({{"preparation/p", std::nullopt}, {"preparing/p", "{}"}});
  fs::remove_all(folder / "d/prepared/p");
  EXPECT_ERROR(Preparation::open(reader, "p"), Kind::io, "is being replaced by another gneiss");
}

TEST_CASE("what a killed run left is never taken for whole") {
  for (const char* bytes : {"100000", "1000000"}) {
    const test::TemporaryFolder folder;
    test::write_small_dataset(folder / "d", medium);
    ::setenv("GNEISS_TEST_BYTES", bytes, 1);
    const auto result = test::run_command(child_command("killed while it writes", folder / "d"));
    CHECK_MESSAGE(result.exit_code == 128 + SIGXFSZ, result.output);
    CHECK(fs::exists(folder / "d/prepared/p.partial"));
    EXPECT_ERROR(Preparation::open(Dataset::open(folder / "d"), "p"), Kind::config,
                 "run 'gneiss prepare' first");
    run_prepare(folder / "d", small_request());
    expect_whole(folder / "d");
  }
}

TEST_CASE("a kill between the steps of sealing leaves a state that the next run repairs") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  run_prepare(folder / "d", small_request());
  // The entry is gone, the folder stands: killed after the rename, or before the old folder was removed.
  Catalog(folder / "d/catalog", Catalog::Access::write)
      .apply({{"preparation/p", std::nullopt}, {"preparing/p", "{}"}});
  EXPECT_ERROR(Preparation::open(Dataset::open(folder / "d"), "p"), Kind::config,
               "run 'gneiss prepare' first");
  CHECK_FALSE(run_prepare(folder / "d", small_request()).already_done);
  expect_whole(folder / "d");
  // Without a word of work on it, it is the catalog that has lost something.
  Catalog(folder / "d/catalog", Catalog::Access::write).apply({{"preparation/p", std::nullopt}});
  EXPECT_ERROR(Preparation::open(Dataset::open(folder / "d"), "p"), Kind::corruption, "it was cut short");
  CHECK_FALSE(run_prepare(folder / "d", small_request()).already_done);
  expect_whole(folder / "d");
}

TEST_CASE("a preparation of another dataset, version or with damaged files is refused") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  test::write_small_dataset(folder / "e", {.seed = 2});
  run_prepare(folder / "d", small_request());
  const std::string entry = Dataset::open(folder / "d").catalog().get("preparation/p").value();
  fs::copy(folder / "d/prepared", folder / "e/prepared", fs::copy_options::recursive);
  Catalog(folder / "e/catalog", Catalog::Access::write).apply({{"preparation/p", entry}});
  EXPECT_ERROR(Preparation::open(Dataset::open(folder / "e"), "p"), Kind::input, "made from other files");
  EXPECT_ERROR(run_prepare(folder / "e", small_request()), Kind::input, "made from other files");
  auto forced = small_request();
  forced.force = true;
  run_prepare(folder / "e", forced);
  expect_whole(folder / "e");

  const auto put = [&](const char* key, const nlohmann::json& value) {
    auto changed = nlohmann::json::parse(entry);
    changed[key] = value;
    Catalog(folder / "d/catalog", Catalog::Access::write).apply({{"preparation/p", changed.dump()}});
  };
  put("format_version", 9);
  EXPECT_ERROR(Preparation::open(Dataset::open(folder / "d"), "p"), Kind::input, "newer gneiss");
  put("options", 3);
  EXPECT_ERROR(Preparation::open(Dataset::open(folder / "d"), "p"), Kind::corruption, "entry is damaged");
  put("files", 3);
  EXPECT_ERROR(Preparation::open(Dataset::open(folder / "d"), "p"), Kind::corruption,
               "not those that the catalog");
  put("train_batches_per_epoch", 4);
  CHECK(Preparation::open(Dataset::open(folder / "d"), "p").cpu_row_count() > 0);
  fs::copy_file(folder / "e/prepared/p/pack.bin", folder / "d/prepared/p/pack.bin",
                fs::copy_options::overwrite_existing);
  EXPECT_ERROR(Preparation::open(Dataset::open(folder / "d"), "p"), Kind::corruption,
               "not those that the catalog");
  fs::remove(folder / "d/prepared/p/pack.bin");
  EXPECT_ERROR(Preparation::open(Dataset::open(folder / "d"), "p"), Kind::corruption, "pack.bin is missing");
}

TEST_CASE("a dataset that is imported anew has no preparations of the old one") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  run_prepare(folder / "d", small_request());
  test::write_small_dataset(folder / "d", {.seed = 2, .force = true});
  expect_nothing_left(folder / "d");
}

TEST_CASE("damaged features stop prepare, and nothing is left behind") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", medium);
  {
    const File file = File::open_existing(folder / "d/features.bin");
    file.write_at(600'000, std::as_bytes(std::span("damage")));
  }
  EXPECT_ERROR(run_prepare(folder / "d", small_request()), Kind::corruption, "features.bin");
  expect_nothing_left(folder / "d");
}

}  // namespace gneiss
