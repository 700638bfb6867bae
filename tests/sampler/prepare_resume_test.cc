// A preparation that was killed anywhere goes on there when asked for again, to the same files.
#include <doctest/doctest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <thread>

#include "sampler/preparation_in_work.h"
#include "storage/base/random.h"
#include "storage/base/stopwatch.h"
#include "storage/pack/pack_checkpoint.h"
#include "tests/sampler/prepare_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/run_command.h"
#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

namespace fs = std::filesystem;

// 12 MiB of features: three chunks of a scan.
constexpr test::SmallDatasetOptions medium{.nodes = 6000, .edges = 60'000, .dim = 500, .train = 600};
constexpr std::uint64_t scan_bytes = 6000 * 500 * 4;
constexpr std::uint64_t swept = std::uint64_t{62} << 20;  // of large_graph, see sweep_sampler_test.cc
constexpr test::SmallDatasetOptions large_graph{
    .nodes = 400'000, .edges = 4'000'000, .dim = 4, .train = 2000};

PrepareRequest request_for(const std::string& kind) {
  auto request = test::small_request();
  request.checkpoint_seconds = 0;
  request.options.batch_size = 40;
  request.options.cpu_cache_bytes = 500'000;
  if (kind == "gpu" || kind == "gpu shared" || kind == "gpu belady") {
    request.options.gpu_cache_bytes = 400'000;
  }
  if (kind == "reseeded") request.options.seed = 77;
  if (kind == "gpu belady") request.options.residency = Residency::belady;
  if (kind == "gpu shared") request.disk_budget_bytes = 14'000'000;
  if (kind == "belady") request.options.residency = Residency::belady;
  if (kind == "shared") request.disk_budget_bytes = 14'000'000;
  if (kind == "dealt") {  // more rows than half of the memory holds
    request.options.fanouts = {10, 10};
    request.options.sample_epochs = 4;
    request.disk_budget_bytes = 55'000'000;
    request.memory_bytes = 60U << 20;
  }
  if (kind == "scans") {
    request.options.batch_size = 4;
    request.memory_bytes = 60U << 20;
    request.checkpoint_seconds = 0.01;
  }
  if (kind == "swept") {
    request.options.fanouts = {5, 5};
    request.options.batch_size = 100;
    request.memory_bytes = swept;
  }
  return request;
}

std::map<std::string, std::string> files_of(const fs::path& dataset) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(dataset / "prepared/p"))
    files[entry.path().filename()] = read_text_file(entry.path());
  CHECK_FALSE(fs::exists(dataset / "prepared/p.partial"));
  return files;
}

// Compares without printing megabytes.
void expect_same(const fs::path& dataset, const std::map<std::string, std::string>& whole) {
  const bool same = files_of(dataset) == whole;
  CHECK(same);
  CHECK(Dataset::open(dataset).catalog().keys("preparing/").empty());
}

std::map<std::string, std::string> prepare_undisturbed(const fs::path& dataset, const std::string& kind) {
  auto request = request_for(kind);
  request.checkpoint_seconds = 1000;
  const PrepareResult result = test::run_prepare(dataset, request);
  CHECK((result.scans > 1) == (kind == "scans"));
  CHECK((result.cost.group_batches > 1) == (kind == "shared" || kind == "dealt" || kind == "gpu shared"));
  CHECK((result.cost.reordered_bytes > 0) == (kind == "dealt"));
  CHECK((result.sweep_waves > 0) == (kind == "swept"));
  auto files = files_of(dataset);
  CHECK(files.size() == (kind.starts_with("gpu") ? 4 : 3));
  Catalog(dataset / "catalog", Catalog::Access::write).apply({{"preparation/p", std::nullopt}});
  fs::remove_all(dataset / "prepared");
  return files;
}

// Kills a child that prepares: after so many microseconds, or as soon as the folder has the file. False when
// the child was done before.
bool kill_child(const fs::path& dataset, const std::string& kind, const std::string& when) {
  ::setenv("GNEISS_TEST_KIND", kind.c_str(), 1);
  ::setenv("GNEISS_TEST_WHEN", when.c_str(), 1);
  const auto result = test::run_command(test::child_command("killed as it prepares", dataset));
  if (result.exit_code != 0) CHECK_MESSAGE(result.exit_code == 128 + SIGKILL, result.output);
  return result.exit_code != 0;
}

}  // namespace

TEST_CASE("child: killed as it prepares" * doctest::skip()) {
  const fs::path dataset = std::getenv("GNEISS_TEST_FOLDER");
  const std::string when = std::getenv("GNEISS_TEST_WHEN");
  std::jthread([&](const std::stop_token& stop) {
    const Stopwatch clock;
    const bool is_time = when.find_first_not_of("0123456789") == std::string::npos;
    const double seconds = is_time ? std::stod(when) / 1e6 : 0;
    while (!stop.stop_requested()) {
      if (is_time ? clock.seconds() >= seconds : fs::exists(dataset / "prepared/p.partial" / when))
        ::kill(::getpid(), SIGKILL);
      std::this_thread::yield();
    }
  }).detach();
  test::run_prepare(dataset, request_for(std::getenv("GNEISS_TEST_KIND")));
  std::fflush(stdout);
  ::_exit(0);
}

TEST_CASE("killed at many moments, again and again, a preparation comes to be with the same bytes") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", medium);
  int killed = 0;
  std::uint64_t seed = 1;
  for (const std::string kind :
       {"own", "shared", "dealt", "belady", "scans", "gpu", "gpu shared", "gpu belady"}) {
    CAPTURE(kind);
    CAPTURE(seed);
    const auto whole = prepare_undisturbed(folder / "d", kind);
    const Stopwatch clock;
    kill_child(folder / "d", kind, "60000000");
    const double seconds = clock.seconds();
    expect_same(folder / "d", whole);
    RandomStream random(seed++);
    Catalog(folder / "d/catalog", Catalog::Access::write).apply({{"preparation/p", std::nullopt}});
    fs::remove_all(folder / "d/prepared");
    // Each goes on a little, until one is done.
    for (int kills = 0; kills < 5; ++kills) {
      const auto micros = static_cast<std::uint64_t>(random.uniform() * seconds * 0.7e6);
      if (!kill_child(folder / "d", kind, std::to_string(micros))) break;
      ++killed;
    }
    if (preparation_names(Dataset::open(folder / "d")).empty())
      test::run_prepare(folder / "d", request_for(kind));
    expect_same(folder / "d", whole);
    Catalog(folder / "d/catalog", Catalog::Access::write).apply({{"preparation/p", std::nullopt}});
    fs::remove_all(folder / "d/prepared");
  }
  CHECK(killed > 0);
}

TEST_CASE("each step that is done is not done again") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", medium);
  const auto whole = prepare_undisturbed(folder / "d", "own");
  struct Step {
    std::string file;
    std::string done;
  };
  int killed = 0;
  const std::uint64_t passes = 2 * (2 * 15 + 1 + 1);  // two epochs of 600 / 40 batches, and evaluation's
  for (const auto& [file, done] : std::initializer_list<Step>{{inputs_checkpoint_name, ""},
                                                              {plan_checkpoint_name, ""},
                                                              {samples_checkpoint_name, ""},
                                                              {pool_file_name, "writing the samples"},
                                                              {pack_checkpoint_name, "a part of packing"},
                                                              {cpu_tier_file_name, "a part of packing"}}) {
    CAPTURE(file);
    if (!kill_child(folder / "d", "own", file)) {
      MESSAGE("was done before it could be killed");
      Catalog(folder / "d/catalog", Catalog::Access::write).apply({{"preparation/p", std::nullopt}});
      fs::remove_all(folder / "d/prepared");
      continue;
    }
    ++killed;
    const PrepareResult result = test::run_prepare(folder / "d", request_for("own"));
    CHECK_FALSE(result.went_on_after.empty());
    CHECK(result.sampled_batches < passes);
    if (file == plan_checkpoint_name || file == samples_checkpoint_name) {
      CHECK(result.sampled_batches <= passes / 2);
    }
    if (!done.empty()) CHECK(result.sampled_batches == 0);
    if (done == "a part of packing") CHECK(result.bytes_read < scan_bytes);
    expect_same(folder / "d", whole);
    Catalog(folder / "d/catalog", Catalog::Access::write).apply({{"preparation/p", std::nullopt}});
    fs::remove_all(folder / "d/prepared");
  }
  CHECK(killed > 0);
}

TEST_CASE("rows that batches share are not read again when they have passed, nor dealt when they are") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", medium);
  int killed = 0;
  for (const std::string kind : {"shared", "dealt"}) {
    CAPTURE(kind);
    const auto whole = prepare_undisturbed(folder / "d", kind);
    for (const char* file : {pack_checkpoint_name, cpu_tier_file_name}) {
      CAPTURE(file);
      if (kill_child(folder / "d", kind, file)) {
        ++killed;
        const PrepareResult result = test::run_prepare(folder / "d", request_for(kind));
        // All of it, or all but its entry in the catalog, where the machine was busy and the watcher came
        // late.
        const bool was_packing = result.went_on_after == "a part of packing" ||
                                 result.went_on_after == "packing" || result.went_on_after.empty();
        CHECK_MESSAGE(was_packing, result.went_on_after);
        CHECK(result.sampled_batches == 0);
        CHECK(result.bytes_read < scan_bytes);
      } else {
        MESSAGE("was done before it could be killed");
      }
      expect_same(folder / "d", whole);
      Catalog(folder / "d/catalog", Catalog::Access::write).apply({{"preparation/p", std::nullopt}});
      fs::remove_all(folder / "d/prepared");
    }
  }
  CHECK(killed > 0);
}

TEST_CASE("killed between the cpu and the gpu image, a preparation goes on with what is there") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", medium);
  int killed = 0;
  for (const std::string kind : {"gpu", "gpu shared"}) {
    CAPTURE(kind);
    const auto whole = prepare_undisturbed(folder / "d", kind);
    for (const std::string file : {cpu_tier_file_name, gpu_tier_file_name}) {
      CAPTURE(file);
      if (kill_child(folder / "d", kind, file)) {
        ++killed;
        // As after a kill between the two: the second was not renamed yet.
        const fs::path partial = folder / "d/prepared/p.partial";
        const fs::path image = partial / gpu_tier_file_name;
        if (fs::exists(image) && !fs::exists(partial / pack_file_name))
          fs::rename(image, image.string() + ".tmp");
        const PrepareResult result = test::run_prepare(folder / "d", request_for(kind));
        CHECK(result.sampled_batches == 0);
      } else {
        MESSAGE("was done before it could be killed");
      }
      expect_same(folder / "d", whole);
      Catalog(folder / "d/catalog", Catalog::Access::write).apply({{"preparation/p", std::nullopt}});
      fs::remove_all(folder / "d/prepared");
    }
  }
  CHECK(killed > 0);
}

TEST_CASE("waves that have swept the graph are not swept again") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", large_graph);
  const auto whole = prepare_undisturbed(folder / "d", "swept");
  REQUIRE(kill_child(folder / "d", "swept", inputs_checkpoint_name));
  const PrepareResult result = test::run_prepare(folder / "d", request_for("swept"));
  CHECK(result.sweep_waves == 0);
  CHECK(result.graph_bytes_read == 0);
  expect_same(folder / "d", whole);
}

TEST_CASE("another request does not go on with what was left, and gives its space back") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", medium);
  REQUIRE(kill_child(folder / "d", "own", pool_file_name));
  auto other = request_for("own");
  other.options.seed = 77;
  const PrepareResult result = test::run_prepare(folder / "d", other);
  CHECK(result.went_on_after.empty());
  CHECK(result.bytes_read == scan_bytes);
  CHECK(Preparation::open(Dataset::open(folder / "d"), "p").info().options.seed == 77);
  CHECK_FALSE(fs::exists(folder / "d/prepared/p.partial"));
  // Left by a run that was to replace it: gone as soon as it is asked for as it is.
  auto forced = request_for("own");
  forced.force = true;
  {
    Dataset dataset = Dataset::open(folder / "d", Catalog::Access::write);
    ThreadPool pool(2);
    EXPECT_ERROR(prepare(dataset, forced, pool, [](const auto&) { fail(Kind::io, "stopped"); }), Kind::io,
                 "the same command goes on");
  }
  CHECK(fs::exists(folder / "d/prepared/p.partial"));
  CHECK(test::run_prepare(folder / "d", other).already_done);
  CHECK_FALSE(fs::exists(folder / "d/prepared/p.partial"));
}

TEST_CASE("damage to what was left costs work, and never the result") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", medium);
  const auto whole = prepare_undisturbed(folder / "d", "own");
  const fs::path partial = folder / "d/prepared/p.partial";
  for (const char* file : {inputs_checkpoint_name, inputs_work_name, plan_checkpoint_name,
                           samples_checkpoint_name, "samples.zst.tmp"}) {
    for (const bool is_cut : {false, true}) {
      CAPTURE(file);
      CAPTURE(is_cut);
      if (!kill_child(folder / "d", "own", samples_checkpoint_name) || !fs::exists(partial / file)) {
        MESSAGE("was further before it could be killed");
      } else if (is_cut) {
        fs::resize_file(partial / file, fs::file_size(partial / file) / 2);
      } else {
        const File harmed = File::open_existing(partial / file);
        harmed.write_at(fs::file_size(partial / file) / 3, std::as_bytes(std::span("damage")));
      }
      test::run_prepare(folder / "d", request_for("own"));
      expect_same(folder / "d", whole);
      Catalog(folder / "d/catalog", Catalog::Access::write).apply({{"preparation/p", std::nullopt}});
      fs::remove_all(folder / "d/prepared");
    }
  }
}

// A power cut may bring a removed folder back, and a catalog that was cut an older word on it.
TEST_CASE("what another request has left is not taken up, whatever the catalog says of it") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", medium);
  const auto whole = prepare_undisturbed(folder / "d", "reseeded");
  const auto journal = [&] {
    return Catalog(folder / "d/catalog", Catalog::Access::read).get("preparing/p");
  };
  REQUIRE(kill_child(folder / "d", "reseeded", inputs_checkpoint_name));
  const auto of_this = journal();
  REQUIRE(of_this.has_value());
  for (const char* until : {inputs_checkpoint_name, plan_checkpoint_name, samples_checkpoint_name,
                            pool_file_name, pack_checkpoint_name, pack_file_name}) {
    CAPTURE(until);
    fs::remove_all(folder / "d/prepared");
    if (!kill_child(folder / "d", "own", until)) {  // too late; the folder is gone
      Catalog(folder / "d/catalog", Catalog::Access::write).apply({{"preparation/p", std::nullopt}});
      fs::remove_all(folder / "d/prepared");
      continue;
    }
    REQUIRE(journal() != of_this);
    Catalog(folder / "d/catalog", Catalog::Access::write)
        .apply({{"preparation/p", std::nullopt}, {"preparing/p", of_this}});
    test::run_prepare(folder / "d", request_for("reseeded"));
    expect_same(folder / "d", whole);
    Catalog(folder / "d/catalog", Catalog::Access::write).apply({{"preparation/p", std::nullopt}});
  }
}

TEST_CASE("a kill while a preparation is sealed is made good by the next run, also with --force") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", medium);
  auto request = request_for("own");
  test::run_prepare(folder / "d", request);
  const auto whole = files_of(folder / "d");
  const fs::path target = folder / "d/prepared/p";
  const std::string entry = Dataset::open(folder / "d").catalog().get("preparation/p").value();
  const std::uint64_t fingerprint = Dataset::open(folder / "d").fingerprint();
  const nlohmann::json journal{{"made_from",
                                {{"version", 4},
                                 {"dataset_fingerprint", fingerprint},
                                 {"options", to_json(request.options)},
                                 {"disk_budget_bytes", 0},
                                 {"read_gap_bytes", 0}}},
                               {"entry_key", "preparation/p"},
                               {"entry", entry}};
  request.force = true;
  for (const bool is_renamed : {false, true}) {
    CAPTURE(is_renamed);
    if (!is_renamed) {
      fs::rename(target, target.string() + ".partial");
      fs::create_directories(target);
      const File of_work = File::create(target.string() + ".partial/pack.state");
    }
    Catalog(folder / "d/catalog", Catalog::Access::write)
        .apply({{"preparation/p", std::nullopt}, {"preparing/p", journal.dump()}});
    CHECK(test::run_prepare(folder / "d", request).already_done);
    expect_same(folder / "d", whole);
    Preparation::open(Dataset::open(folder / "d"), "p").verify(nullptr);
  }
}

}  // namespace gneiss
