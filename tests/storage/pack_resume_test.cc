// A packing that ends early goes on where it stood, to the same bytes, and never from a damaged record.
#include <doctest/doctest.h>

#include <array>
#include <functional>

#include "storage/base/random.h"
#include "storage/format/preparation.h"
#include "storage/pack/feature_scan.h"
#include "storage/pack/pack_checkpoint.h"
#include "storage/pack/region_dealer.h"
#include "storage/pack/shared_packer.h"
#include "tests/support/expect_error.h"
#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

namespace fs = std::filesystem;

// 18 MiB of features: five chunks of a scan, whose ends cut rows.
constexpr test::SmallDatasetOptions some_chunks{.nodes = 8000, .edges = 1, .dim = 602};

struct Work {
  const Dataset& dataset;
  InputLists lists;
  std::vector<BatchKey> keys;
  TierPlan plan;
  std::vector<BatchRows> rows;
  std::optional<SharedLayout> shared;

  Work(const Dataset& of, const fs::path& scratch, bool shares) : dataset(of), lists(scratch) {
    std::vector<std::uint32_t> accesses(of.info().node_count);
    RandomStream random(5);
    for (const std::uint64_t share : {1U, 2U, 3U, 3U, 50U, 2000U, 10'000'000U}) {
      std::vector<NodeId> list;
      for (std::uint64_t node = 0; node < accesses.size(); ++node) {
        if (random.below(share) != 0) continue;
        list.push_back(static_cast<NodeId>(node));
        ++accesses[node];
      }
      lists.append(list);
      keys.push_back({Split::train, 0, 0, static_cast<std::uint32_t>(keys.size())});
    }
    plan = plan_static_tiers(accesses, {.gpu_rows = 300, .cpu_rows = 700});
    rows = count_rows(lists, plan);
    if (shares) {
      shared = lay_out_shared(lists, plan, group_batches(keys, 3, group_batches_max), of.info().row_bytes(),
                              of.info().node_count, usual_read_gap_bytes, scratch);
    }
  }

  PackResult pack(const fs::path& folder, std::optional<double> checkpoint_seconds,
                  std::uint64_t memory_bytes = 16U << 20) const {
    fs::create_directories(folder);
    ThreadPool pool(2);
    const PackTask task{.dataset = &dataset,
                        .lists = &lists,
                        .plan = &plan,
                        .keys = keys,
                        .rows = rows,
                        .folder = folder,
                        .memory_bytes = memory_bytes,
                        .checkpoint_seconds = checkpoint_seconds,
                        .made_from = dataset.fingerprint()};
    return shared ? pack_shared_features(task, *shared, pool) : pack_features(task, pool);
  }
};

std::string packed(const fs::path& folder) {
  return read_text_file(folder / pack_file_name) + read_text_file(folder / cpu_tier_file_name) +
         read_text_file(folder / gpu_tier_file_name);
}

void flip(const fs::path& path, std::uint64_t offset) {
  const File file = File::open_existing(path);
  std::array<std::byte, 1> byte{};
  file.read_at(offset, byte);
  byte[0] ^= std::byte{1};
  file.write_at(offset, byte);
}

// The scan ends there with an error, and goes on to be readable when this goes.
struct Unreadable {
  fs::path path;
  std::uint64_t offset;
  Unreadable(fs::path features, std::uint64_t at) : path(std::move(features)), offset(at) {
    flip(path, offset);
  }
  ~Unreadable() { flip(path, offset); }
};

}  // namespace

TEST_CASE("a packing that ended early goes on behind what is on disk, to the same bytes") {
  const test::TemporaryFolder folder;
  const auto source = test::write_small_dataset(folder / "d", some_chunks);
  const Dataset dataset = Dataset::open(folder / "d");
  const fs::path features = folder / "d/features.bin";
  const Work work(dataset, folder.path(), false);
  const std::uint64_t scan_bytes = source.features.size();
  CHECK(work.pack(folder / "whole", std::nullopt).bytes_read == scan_bytes);
  const std::string whole = packed(folder / "whole");
  for (const std::uint64_t megabytes : {5, 9, 13, 18}) {
    const Unreadable damage(features, megabytes * 1'000'000);
    EXPECT_ERROR(work.pack(folder / "p", 0), Kind::corruption, "features.bin");
    CHECK_FALSE(fs::exists(folder / "p" / pack_file_name));
  }
  const PackResult last = work.pack(folder / "p", 0);
  CHECK(last.scans == 1);
  CHECK(last.bytes_read < scan_bytes / 3);
  CHECK(packed(folder / "p") == whole);
}

TEST_CASE("a packing in several scans goes on in the scan at work, also with other memory") {
  const test::TemporaryFolder folder;
  const auto source = test::write_small_dataset(folder / "d", some_chunks);
  const Dataset dataset = Dataset::open(folder / "d");
  const Work work(dataset, folder.path(), false);
  work.pack(folder / "whole", std::nullopt);
  const std::string whole = packed(folder / "whole");
  constexpr std::uint64_t two_at_once = 1U << 20;
  CHECK(work.pack(folder / "scans", 0, two_at_once).scans == 4);
  CHECK(packed(folder / "scans") == whole);
  for (const std::uint64_t then : {two_at_once, std::uint64_t{0}, std::uint64_t{2} << 20}) {
    CAPTURE(then);
    const fs::path target = folder / ("p" + std::to_string(then));
    {
      const Unreadable damage(folder / "d/features.bin", 13'000'000);
      EXPECT_ERROR(work.pack(target, 0, two_at_once), Kind::corruption, "features.bin");
    }
    const PackResult result = work.pack(target, 0, then);
    CHECK(result.scans == (then == 0 ? 7 : then == two_at_once ? 4 : 3));
    // One batch at a time cannot go on with two: their scan begins anew.
    CHECK((result.bytes_read < result.scans * source.features.size()) == (then != 0));
    CHECK(packed(target) == whole);
  }
}

TEST_CASE("a packing of shared rows goes on in the scan and behind it, in memory and on the drive") {
  const test::TemporaryFolder folder;
  const auto source = test::write_small_dataset(folder / "d", some_chunks);
  const Dataset dataset = Dataset::open(folder / "d");
  const Work work(dataset, folder.path(), true);
  work.pack(folder / "whole", std::nullopt);
  const std::string whole = packed(folder / "whole");
  for (const std::uint64_t memory : {std::uint64_t{256} << 20, std::uint64_t{16} << 20}) {
    CAPTURE(memory);
    const fs::path target = folder / ("p" + std::to_string(memory));
    CHECK((work.pack(target, 0, memory).parts > 1) == (memory < 100U << 20));
    const bool is_same = packed(target) == whole;
    CHECK(is_same);
    // Killed before it was renamed: only the trailers are written again.
    fs::rename(target / pack_file_name, target / (std::string(pack_file_name) + ".tmp"));
    const PackResult trailers = work.pack(target, 0, memory);
    CHECK(trailers.scans == 0);
    CHECK(trailers.bytes_read == 0);
    const bool is_same_again = packed(target) == whole;
    CHECK(is_same_again);

    fs::remove_all(target);
    for (const std::uint64_t megabytes : {5, 9, 13, 18}) {
      const Unreadable damage(folder / "d/features.bin", megabytes * 1'000'000);
      EXPECT_ERROR(work.pack(target, 0, memory), Kind::corruption, "features.bin");
    }
    const PackResult last = work.pack(target, 0, memory);
    CHECK(last.scans == 1);
    CHECK(last.bytes_read < source.features.size() / 3);
    const bool is_same_at_last = packed(target) == whole;
    CHECK(is_same_at_last);
  }
}

TEST_CASE("other memory, or a damaged record, makes a packing of shared rows begin anew, to the same bytes") {
  const test::TemporaryFolder folder;
  const auto source = test::write_small_dataset(folder / "d", some_chunks);
  const Dataset dataset = Dataset::open(folder / "d");
  const Work work(dataset, folder.path(), true);
  work.pack(folder / "whole", std::nullopt);
  const std::string whole = packed(folder / "whole");
  const fs::path target = folder / "p";
  const fs::path state = target / pack_checkpoint_name;
  const fs::path pack = target / (std::string(pack_file_name) + ".tmp");
  const fs::path image = target / (std::string(cpu_tier_file_name) + ".tmp");
  const fs::path gpu_image = target / (std::string(gpu_tier_file_name) + ".tmp");
  constexpr std::uint64_t much = 256U << 20;
  constexpr std::uint64_t little = 16U << 20;
  const std::vector<std::function<void()>> harms{
      [&] { flip(state, fs::file_size(state) / 2); },
      [&] { fs::resize_file(state, 0); },
      [&] { write_checkpoint(state, dataset.fingerprint(), std::vector<std::uint64_t>{7, 0, 0, 9, 1}); },
      [&] { fs::remove(pack); },
      [&] { fs::resize_file(pack, 4096); },
      [&] { File::create(pack).resize(60U << 20); },  // zeros
      [&] { fs::remove(image); },
      [&] { fs::remove(gpu_image); },
      [&] { flip(gpu_image, 4096 + 100); },
      [] {}};  // and other memory
  for (const std::uint64_t memory : {much, little}) {
    for (std::size_t i = 0; i < harms.size(); ++i) {
      CAPTURE(memory);
      CAPTURE(i);
      fs::remove_all(target);
      {
        const Unreadable damage(folder / "d/features.bin", 13'000'000);
        EXPECT_ERROR(work.pack(target, 0, memory), Kind::corruption, "features.bin");
      }
      harms[i]();
      const bool is_last = i + 1 == harms.size();
      const PackResult result = work.pack(target, 0, is_last ? much + little - memory : memory);
      CHECK(result.bytes_read == source.features.size());
      const bool is_same = packed(target) == whole;
      CHECK(is_same);
    }
  }
}

TEST_CASE("dealt rows are put in order from the last record on, which comes before they are written over") {
  const test::TemporaryFolder folder;
  const auto source = test::write_small_dataset(folder / "d", some_chunks);
  const Dataset dataset = Dataset::open(folder / "d");
  const Work work(dataset, folder.path(), true);
  work.pack(folder / "whole", std::nullopt);
  const PackFile whole(folder / "whole" / pack_file_name);
  const std::uint64_t first = whole.file().require(SectionKind::segments).offset;
  const std::uint64_t row_bytes = dataset.info().row_bytes();
  const std::uint64_t region_bytes = work.shared->region_offsets.back();
  std::vector<std::byte> expected(region_bytes);
  whole.file().file().read_at(first, expected);
  const PackTask pack_task{.dataset = &dataset,
                           .lists = &work.lists,
                           .plan = &work.plan,
                           .keys = work.keys,
                           .rows = work.rows,
                           .folder = folder.path()};
  ThreadPool pool(2);
  const File file = File::create(folder / "f");
  // Each run stops where a second record is due, as a kill would: what came after the first is written, and
  // not recorded. The last runs to the end.
  std::optional<std::vector<std::uint64_t>> saved;
  struct Stopped {};
  std::size_t records = 0;
  for (bool is_done = false; !is_done;) {
    PageChecksums checksums(region_bytes);
    WriteBehind writer(file, 64U << 10, 4);
    RegionDealer dealer({.pack = &pack_task,
                         .layout = &*work.shared,
                         .shape = {.is_in_memory = false, .part_bytes = 300'000, .piece_bytes = 64U << 10},
                         .row_bytes = row_bytes,
                         .file = &file,
                         .first_region = 4096,
                         .writer = &writer,
                         .checksums = &checksums,
                         .pool = &pool});
    REQUIRE(dealer.part_count() > 2 * RegionShape::parts_a_record);
    if (!saved) {
      file.resize(4096 + region_bytes + dealer.shift_bytes());
      dealer.begin_dealing();
      Progress progress("test", 1, Progress::Unit::bytes);
      scan_features(
          dataset.features(), 0, progress,
          [&](std::uint64_t node, std::span<const std::byte> rows) { dealer.take_rows(node, rows); },
          [](std::uint64_t) {});
      dealer.end_dealing();
    } else {
      write_checkpoint(folder / "record", 1, *saved);
      auto record = CheckpointReader::open(folder / "record", 1);
      REQUIRE(record);
      dealer.go_on_ordering(*record);
    }
    Progress progress("test", 1, Progress::Unit::items);
    bool is_recorded = false;
    try {
      dealer.order([] { return false; },
                   [&] {
                     if (is_recorded) throw Stopped();
                     saved.emplace();
                     dealer.save_ordering(*saved);
                     is_recorded = true;
                     ++records;
                   },
                   progress);
      is_done = true;
      const bool is_same = checksums.of(std::vector<Extent>{{0, region_bytes}}) == [&] {
        PageChecksums all(region_bytes);
        all.take(0, expected);
        return all.of(std::vector<Extent>{{0, region_bytes}});
      }();
      CHECK(is_same);
    } catch (const Stopped&) {
      CHECK(records < 100);
    }
  }
  CHECK(records > 1);
  std::vector<std::byte> found(region_bytes);
  file.read_at(4096, found);
  const bool is_same = found == expected;
  CHECK(is_same);
}

TEST_CASE("dealt rows that are damaged on the drive are found before they are put in order") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", some_chunks);
  const Dataset dataset = Dataset::open(folder / "d");
  const Work work(dataset, folder.path(), true);
  const std::uint64_t region_bytes = work.shared->region_offsets.back();
  const PackTask pack_task{.dataset = &dataset,
                           .lists = &work.lists,
                           .plan = &work.plan,
                           .keys = work.keys,
                           .rows = work.rows,
                           .folder = folder.path()};
  ThreadPool pool(2);
  const File file = File::create(folder / "f");
  PageChecksums checksums(region_bytes);
  WriteBehind writer(file, 64U << 10, 4);
  RegionDealer dealer({.pack = &pack_task,
                       .layout = &*work.shared,
                       .shape = {.is_in_memory = false, .part_bytes = 2'000'000, .piece_bytes = 64U << 10},
                       .row_bytes = dataset.info().row_bytes(),
                       .file = &file,
                       .first_region = 0,
                       .writer = &writer,
                       .checksums = &checksums,
                       .pool = &pool});
  file.resize(region_bytes + dealer.shift_bytes());
  dealer.begin_dealing();
  Progress progress("test", 1, Progress::Unit::bytes);
  scan_features(
      dataset.features(), 0, progress,
      [&](std::uint64_t node, std::span<const std::byte> rows) { dealer.take_rows(node, rows); },
      [](std::uint64_t) {});
  dealer.end_dealing();
  flip(folder / "f", dealer.shift_bytes() + region_bytes / 2);
  EXPECT_ERROR(dealer.order([] { return false; }, [] {}, progress), Kind::corruption, "do not match");
}

TEST_CASE("a damaged record of packing, or one of bytes that are no more, is not used") {
  const test::TemporaryFolder folder;
  const auto source = test::write_small_dataset(folder / "d", some_chunks);
  const Dataset dataset = Dataset::open(folder / "d");
  const Work work(dataset, folder.path(), false);
  work.pack(folder / "whole", std::nullopt);
  const std::string whole = packed(folder / "whole");
  const fs::path target = folder / "p";
  const fs::path state = target / pack_checkpoint_name;
  const fs::path pack = target / (std::string(pack_file_name) + ".tmp");
  const fs::path image = target / (std::string(cpu_tier_file_name) + ".tmp");
  const fs::path gpu_image = target / (std::string(gpu_tier_file_name) + ".tmp");
  const std::vector<std::function<void()>> harms{
      [&] { flip(state, fs::file_size(state) / 2); },
      [&] { fs::resize_file(state, fs::file_size(state) - 8); },
      [&] { fs::resize_file(state, 0); },
      [&] { write_checkpoint(state, dataset.fingerprint() + 1, {}); },
      [&] { write_checkpoint(state, dataset.fingerprint(), {}); },
      [&] { write_checkpoint(state, dataset.fingerprint(), std::vector<std::uint64_t>{7, 3, 2, 9, 1}); },
      [&] { fs::remove(pack); },
      [&] { fs::resize_file(pack, 4096); },
      [&] { File::create(pack).resize(60U << 20); },  // zeros
      [&] { fs::remove(image); },
      [&] { fs::resize_file(image, 0); },
      [&] { fs::remove(gpu_image); },
      [&] { fs::resize_file(gpu_image, 0); }};
  for (std::size_t i = 0; i < harms.size(); ++i) {
    CAPTURE(i);
    fs::remove_all(target);
    {
      const Unreadable damage(folder / "d/features.bin", 13'000'000);
      EXPECT_ERROR(work.pack(target, 0), Kind::corruption, "features.bin");
    }
    harms[i]();
    CHECK(work.pack(target, 0).bytes_read == source.features.size());
    CHECK(packed(target) == whole);
  }
}

}  // namespace gneiss
