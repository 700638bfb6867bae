// Preparations, and what is left of them, that someone made up: every checksum is right.
#include <doctest/doctest.h>

#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>

#include "sampler/batch_scratch.h"
#include "sampler/preparation_in_work.h"
#include "storage/base/checksum.h"
#include "storage/format/verify.h"
#include "storage/pack/pack_checkpoint.h"
#include "tests/sampler/prepare_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

namespace fs = std::filesystem;
using test::expect_whole;
using test::run_prepare;
using test::small_request;

void put(const fs::path& dataset, const std::string& key, const std::string& value) {
  Catalog(dataset / "catalog", Catalog::Access::write).apply({{key, value}});
}

// Leaves a folder in which sampling is done, as an interrupt does.
void leave_counted(const fs::path& folder) {
  Dataset dataset = Dataset::open(folder, Catalog::Access::write);
  ThreadPool pool(1);
  EXPECT_ERROR(prepare(dataset, small_request(), pool,
                       [](const PreparationCost&) { fail(Kind::cancelled, "for now"); }),
               Kind::cancelled, "is kept");
  CHECK(fs::exists(folder / "prepared/p.partial" / inputs_checkpoint_name));
}

// The first batch's list, changed, and its checksum made right.
void change_first_list(const fs::path& folder, const std::function<void(std::vector<NodeId>&)>& change) {
  const fs::path partial = folder / "prepared/p.partial";
  const auto journal = Catalog(folder / "catalog", Catalog::Access::read).get_json("preparing/p");
  const std::string work = journal.at("made_from").dump();
  const std::uint64_t made_from = checksum(std::as_bytes(std::span(work)));
  auto numbers = CheckpointReader::open(partial / inputs_checkpoint_name, made_from).value().rest();
  BatchEntry entry{};
  std::memcpy(std::as_writable_bytes(std::span(&entry, 1)).data(), &numbers[2], sizeof(entry));
  std::vector<NodeId> nodes(entry.input_count);
  {
    const File lists = File::open_existing(partial / inputs_work_name);
    lists.read_at(0, std::as_writable_bytes(std::span(nodes)));
    change(nodes);
    lists.write_at(0, std::as_bytes(std::span(nodes)));
  }
  numbers[1] = checksum(std::as_bytes(std::span(nodes)));
  write_checkpoint(partial / inputs_checkpoint_name, made_from, numbers);
}

// The preparation "p" again, its pool's entries changed, and sealed.
void change_pool(const fs::path& folder, const std::function<void(BatchEntry&)>& change) {
  Dataset dataset = Dataset::open(folder, Catalog::Access::write);
  const fs::path prepared = preparation_folder(dataset, "p");
  PreparationInfo info;
  {
    const Preparation whole = Preparation::open(dataset, "p");
    info = whole.info();
    SamplePoolWriter writer(prepared / pool_file_name, dataset.fingerprint());
    for (const BatchEntry& entry : whole.pool().entries()) {
      CompressedBatch batch{.entry = entry,
                            .frame = std::vector<std::byte>(entry.frame_bytes),
                            .inputs = std::vector<std::byte>(entry.inputs_bytes)};
      whole.pool().file().file().read_at(entry.frame_offset, batch.frame);
      whole.pool().file().file().read_at(entry.inputs_offset, batch.inputs);
      if (entry.key == BatchKey{}) change(batch.entry);
      writer.append(batch);
    }
    writer.finish();
  }
  dataset.catalog().apply({seal_preparation(prepared, "p", info)});
}

struct Outside {
  test::TemporaryFolder folder;
  Outside() {
    write_text_file(folder / "precious", "kept");
    write_text_file(folder / pool_file_name, "kept too");
  }
  bool is_untouched() const {
    return test::tree_of(folder / "").size() == 2 && read_text_file(folder / "precious") == "kept" &&
           read_text_file(folder / pool_file_name) == "kept too";
  }
};

}  // namespace

TEST_CASE("a preparation's name in the catalog does not lead out of the dataset") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  test::write_small_dataset(folder / "e");
  run_prepare(folder / "e", small_request());
  fs::create_directories(folder / "d/prepared");
  const std::string entry = Catalog(folder / "e/catalog", Catalog::Access::read).get("preparation/p").value();
  for (const std::string name : {"../../e/prepared/p", "..", "", ".hidden", "a/b", "x.partial"}) {
    CAPTURE(name);
    put(folder / "d", "preparation/" + name, entry);
    const Dataset dataset = Dataset::open(folder / "d");
    EXPECT_ERROR(Preparation::open(dataset, name), Kind::corruption, "cannot be the name of one");
    EXPECT_ERROR(preparation_folder(dataset, name), Kind::corruption, "cannot be the name of one");
  }
  const std::string absolute = (folder / "e/prepared/p").string();
  put(folder / "d", "preparation/" + absolute, entry);
  EXPECT_ERROR(Preparation::open(Dataset::open(folder / "d"), absolute), Kind::corruption,
               "cannot be the name");
  const VerifyReport report = verify_dataset(folder / "d", {});
  CHECK(report.damaged_count() == 7);
  CHECK(report.parts.back().bytes == 0);
}

TEST_CASE("prepare neither writes nor removes through a link") {
  const test::TemporaryFolder folder;
  const Outside outside;
  test::write_small_dataset(folder / "d");
  fs::create_directory_symlink(outside.folder / "", folder / "d/prepared");
  EXPECT_ERROR(run_prepare(folder / "d", small_request()), Kind::config, "is a link");
  CHECK(outside.is_untouched());
  fs::remove(folder / "d/prepared");

  leave_counted(folder / "d");
  const fs::path partial = folder / "d/prepared/p.partial";
  fs::rename(partial, folder / "aside");
  fs::create_directory_symlink(outside.folder / "", partial);
  EXPECT_ERROR(run_prepare(folder / "d", small_request()), Kind::config, "is a link");
  // As if a kill had come while it was sealed: what is not of a preparation would be removed.
  put(folder / "d", "preparing/p",
      nlohmann::json{{"made_from", {}}, {"entry_key", "preparation/p"}, {"entry", "{}"}}.dump());
  EXPECT_ERROR(run_prepare(folder / "d", small_request()), Kind::config, "is a link");
  CHECK(outside.is_untouched());
  fs::remove(partial);
  Catalog(folder / "d/catalog", Catalog::Access::write).apply({{"preparing/p", std::nullopt}});

  // Files that prepare would empty, or go on with.
  leave_counted(folder / "d");
  for (const char* name : {pool_file_name, pack_file_name, cpu_tier_file_name, gpu_tier_file_name,
                           plan_checkpoint_name, samples_checkpoint_name, pack_checkpoint_name}) {
    fs::create_symlink(outside.folder / "precious", partial / (std::string(name) + ".tmp"));
  }
  auto request = small_request();
  request.checkpoint_seconds = 0;
  run_prepare(folder / "d", request);
  expect_whole(folder / "d");
  CHECK(outside.is_untouched());
}

TEST_CASE("a journal that was made up is not gone on with") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  const std::string manifest = Catalog(folder / "d/catalog", Catalog::Access::read).get("dataset").value();
  for (const char* journal :
       {R"({"entry_key": 7, "entry": "{}"})", R"({"entry_key": "dataset", "entry": "{}"})",
        R"({"entry_key": "preparation/p", "entry": 7})", R"({"entry_key": "preparation/p"})",
        R"({"made_from": 7})", "[]", "7", "{", "[[[[[[[["}) {
    CAPTURE(journal);
    put(folder / "d", "preparing/p", journal);
    Dataset dataset = Dataset::open(folder / "d", Catalog::Access::write);
    CHECK_FALSE(PreparationInWork::finish_sealing(dataset, "p", {}));
    CHECK(dataset.catalog().get("dataset") == manifest);
  }
  run_prepare(folder / "d", small_request());
  expect_whole(folder / "d");
}

TEST_CASE("counts that a batch of this dataset cannot have are refused when it is opened") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  const auto prepare_anew = [&] {
    auto request = small_request();
    request.force = true;
    run_prepare(folder / "d", request);
  };
  const auto expect_refused = [&](const std::function<void(BatchEntry&)>& change) {
    prepare_anew();
    change_pool(folder / "d", change);
    EXPECT_ERROR(Preparation::open(Dataset::open(folder / "d"), "p"), Kind::corruption,
                 "do not belong together");
  };
  // Buffers of gigabytes, for a dataset of kilobytes.
  expect_refused([](BatchEntry& entry) { entry.edge_count = 0xFFFFFFFF; });
  expect_refused([](BatchEntry& entry) { entry.edge_count = 2 * 2000 + 1; });
  expect_refused([](BatchEntry& entry) { entry.seed_count = 17; });
  prepare_anew();
  change_pool(folder / "d", [](BatchEntry& entry) { entry.edge_count = 2 * 2000; });
  static_cast<void>(Preparation::open(Dataset::open(folder / "d"), "p"));
}

TEST_CASE("a cpu image without the checksums that its reader relies on is refused") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  run_prepare(folder / "d", small_request());
  Dataset dataset = Dataset::open(folder / "d", Catalog::Access::write);
  const fs::path prepared = preparation_folder(dataset, "p");
  PreparationInfo info;
  {
    const Preparation whole = Preparation::open(dataset, "p");
    info = whole.info();
    const SectionFile& image = whole.cpu_tier();
    const AlignedBuffer rows = image.read_section(image.require(SectionKind::feature_rows));
    const AlignedBuffer nodes = image.read_section(image.require(SectionKind::tier_nodes));
    SectionWriter writer(prepared / cpu_tier_file_name, cpu_tier_magic, dataset.fingerprint());
    writer.write<std::byte>({.kind = SectionKind::feature_rows, .dtype = Dtype::f32, .columns = 8},
                            rows.bytes());
    writer.write<std::byte>({.kind = SectionKind::tier_nodes, .dtype = Dtype::u32}, nodes.bytes());
    writer.finish();
  }
  dataset.catalog().apply({seal_preparation(prepared, "p", info)});
  EXPECT_ERROR(Preparation::open(dataset, "p"), Kind::corruption, "do not belong together");
}

TEST_CASE("input lists that were made up do not meet the batches that are sampled") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  leave_counted(folder / "d");
  change_first_list(folder / "d", [](std::vector<NodeId>& nodes) {
    // Still ascending and in range, but of another batch.
    for (std::size_t i = 0; i < nodes.size(); ++i) nodes[i] = static_cast<NodeId>(i);
  });
  EXPECT_ERROR(run_prepare(folder / "d", small_request()), Kind::corruption, "is not what is sampled");
  run_prepare(folder / "d", small_request());
  expect_whole(folder / "d");

  // Lists out of order are not taken up at all.
  test::write_small_dataset(folder / "e");
  leave_counted(folder / "e");
  change_first_list(folder / "e", [](std::vector<NodeId>& nodes) { std::swap(nodes[0], nodes[1]); });
  run_prepare(folder / "e", small_request());
  expect_whole(folder / "e");
}

TEST_CASE("batches of an earlier run are loaded only as large as their file, and with ids that exist") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  const Dataset dataset = Dataset::open(folder / "d");
  const BatchSchedule schedule(dataset, {.batch_size = 100, .evaluation = false});
  REQUIRE(schedule.size() == 1);
  const SampledBatch whole{.key = schedule.key(0),
                           .nodes = {NodeId{7}, NodeId{8}, NodeId{9}},
                           .blocks = {{2, 3, {0, 2, 3}, {0, 2, 1}, {}}, {1, 2, {0, 1}, {1}, {}}},
                           .seed_count = 1};
  // Stores `batch`, changes what is told of it, and loads it as another process.
  const auto load = [&](const SampledBatch& batch,
                        const std::function<void(std::vector<std::uint64_t>&)>& change) {
    std::vector<std::uint64_t> numbers;
    {
      BatchScratch scratch(File::create(folder / "work"), 1);
      scratch.store(0, batch);
      scratch.save(1, numbers);
    }
    change(numbers);
    write_checkpoint(folder / "state", 1, numbers);
    BatchScratch scratch(File::open_existing(folder / "work"), 1);
    auto saved = CheckpointReader::open(folder / "state", 1);
    REQUIRE(saved);
    scratch.go_on(*saved, schedule, dataset.info().node_count);
    SampledBatch loaded;
    scratch.load(0, loaded);
    CHECK(loaded.nodes == batch.nodes);
  };
  const auto unchanged = [](std::vector<std::uint64_t>&) {};
  load(whole, unchanged);
  // bytes, count; seeds, nodes, offset, bytes, checksum, blocks; of each: destinations, sources, edges,
  // positions
  constexpr std::size_t nodes_at = 3;
  constexpr std::size_t blocks_at = 7;
  for (const std::size_t at : {nodes_at, blocks_at + 1, blocks_at + 3, blocks_at + 4}) {
    for (const std::uint64_t value : {std::uint64_t{0xFFFFFFFF}, std::uint64_t{64}}) {
      CAPTURE(at);
      EXPECT_ERROR(load(whole, [&](auto& numbers) { numbers[at] = value; }), Kind::corruption, "");
    }
  }
  const auto expect_unsound = [&](const std::function<void(SampledBatch&)>& change) {
    SampledBatch batch = whole;
    change(batch);
    EXPECT_ERROR(load(batch, unchanged), Kind::corruption, "is not what was written");
  };
  expect_unsound([](SampledBatch& batch) { batch.nodes[1] = NodeId{200}; });
  expect_unsound([](SampledBatch& batch) { batch.blocks[0].indices[1] = 3; });
  expect_unsound([](SampledBatch& batch) { batch.blocks[0].indptr = {0, 4, 3}; });
  expect_unsound([](SampledBatch& batch) { batch.blocks[0].indptr = {0, 1, 2}; });
  expect_unsound([](SampledBatch& batch) { batch.blocks[1].src_count = 3; });
  expect_unsound([](SampledBatch& batch) { batch.blocks.clear(); });
  expect_unsound([](SampledBatch& batch) { batch.seed_count = 2; });
}

}  // namespace gneiss
