// Rows that batches share stand once a group, and every batch finds all of its own in what it reads.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "storage/base/random.h"
#include "storage/pack/group_choice.h"
#include "storage/pack/shared_packer.h"
#include "tests/support/expect_error.h"
#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

namespace fs = std::filesystem;

// Batches of training and validation over a dataset, a fixed set of rows cached.
struct Workload {
  const Dataset& dataset;
  const test::SmallDataset& source;
  InputLists lists;
  std::vector<BatchKey> keys;
  TierPlan plan;
  std::vector<BatchRows> rows;
  std::vector<std::vector<NodeId>> disk_nodes;  // of each batch, ascending

  Workload(const Dataset& of, const test::SmallDataset& from, const fs::path& scratch, std::uint64_t cached)
      : dataset(of), source(from), lists(scratch) {
    std::vector<std::uint32_t> accesses(of.info().node_count);
    RandomStream random(5);
    const std::vector<std::uint64_t> shares{2, 3, 3, 1, 40, 3, 1'000'000, 2, 5, 5};
    for (std::uint32_t batch = 0; batch < shares.size(); ++batch) {
      std::vector<NodeId> list;
      for (std::uint64_t node = 0; node < of.info().node_count; ++node) {
        if (random.below(shares[batch]) != 0) continue;
        list.push_back(static_cast<NodeId>(node));
        ++accesses[node];
      }
      lists.append(list);
      keys.push_back(batch < 7 ? BatchKey{Split::train, 0, 0, batch}
                               : BatchKey{Split::valid, 0, 0, batch - 7});
      disk_nodes.push_back(std::move(list));
    }
    plan = plan_static_tiers(accesses, {.cpu_rows = cached});
    rows = count_rows(lists, plan);
    for (auto& nodes : disk_nodes) {
      std::erase_if(nodes, [&](NodeId node) { return plan.placement_of[to_index(node)].is_cached(); });
    }
  }

  SharedLayout lay_out(std::size_t group_size, const fs::path& scratch) const {
    return lay_out_shared(lists, plan, group_batches(keys, group_size, group_batches_max),
                          dataset.info().row_bytes(), dataset.info().node_count, usual_read_gap_bytes,
                          scratch);
  }
  PackResult pack(const SharedLayout& layout, const fs::path& folder, std::uint64_t memory_bytes,
                  std::size_t threads) const {
    fs::create_directories(folder);
    ThreadPool pool(threads);
    return pack_shared_features({.dataset = &dataset,
                                 .lists = &lists,
                                 .plan = &plan,
                                 .keys = keys,
                                 .rows = rows,
                                 .folder = folder,
                                 .memory_bytes = memory_bytes},
                                layout, pool);
  }
  // What the packed file gives each batch, by its extents and runs, against the source's rows.
  void check(const SharedLayout& layout, const fs::path& folder) const {
    const PackFile pack(folder / pack_file_name);
    CHECK(pack.is_shared());
    pack.verify(nullptr);
    REQUIRE(pack.entries().size() == keys.size());
    const std::uint64_t row_bytes = dataset.info().row_bytes();
    for (std::size_t batch = 0; batch < keys.size(); ++batch) {
      CAPTURE(batch);
      const SegmentEntry& entry = pack.entries()[batch];
      CHECK(entry.key == keys[batch]);
      CHECK(entry.bytes == layout.read_bytes(batch));
      CHECK(entry.row_count == disk_nodes[batch].size());
      std::vector<std::byte> buffer;
      for (const Extent& extent : pack.extents(batch)) {
        buffer.resize(buffer.size() + extent.bytes);
        pack.file().file().read_at(extent.offset, std::span(buffer).last(extent.bytes));
      }
      REQUIRE(buffer.size() == entry.bytes);
      pack.check(batch, buffer);
      std::vector<NodeId> nodes(layout.batch_nodes.size(batch));
      layout.batch_nodes.read(batch, 0, nodes);
      std::vector<PageRun> runs(layout.batch_runs.size(batch));
      layout.batch_runs.read(batch, 0, runs);
      std::size_t at = 0;
      bool same = true;
      for (const PageRun& run : runs) {
        const std::uint64_t begin = run.position * page_row_unit(row_bytes);
        for (std::uint32_t i = 0; i < run.count; ++i, ++at) {
          same = same && at < nodes.size() &&
                 std::ranges::equal(std::span(buffer).subspan(begin + i * row_bytes, row_bytes),
                                    source.row(nodes[at]));
        }
      }
      CHECK(same);
      CHECK(at == nodes.size());
      std::ranges::sort(nodes);
      CHECK(nodes == disk_nodes[batch]);
    }
  }
};

std::string bytes_of(const fs::path& folder) { return read_text_file(folder / pack_file_name); }

}  // namespace

TEST_CASE("each batch finds its rows in what it reads, whatever the rows' size and the groups'") {
  for (const auto& [dim, dtype] :
       {std::pair{8U, Dtype::f32}, std::pair{1433U, Dtype::f16}, std::pair{1U, Dtype::bf16},
        std::pair{1200U, Dtype::f32}, std::pair{100U, Dtype::f32}}) {
    const test::TemporaryFolder folder;
    const test::SmallDataset source =
        test::write_small_dataset(folder / "d", {.nodes = 1500, .dim = dim, .dtype = dtype});
    const Dataset dataset = Dataset::open(source.folder);
    const Workload work(dataset, source, folder.path(), 40);
    CAPTURE(dim);
    for (const std::size_t size : {1U, 2U, 3U, 7U}) {
      CAPTURE(size);
      const SharedLayout layout = work.lay_out(size, folder.path());
      work.pack(layout, folder / "p", 64U << 20, 2);
      work.check(layout, folder / "p");
      fs::remove_all(folder / "p");
    }
  }
}

TEST_CASE("a group's rows stand once, and more batches a group take less space") {
  const test::TemporaryFolder folder;
  const test::SmallDataset source = test::write_small_dataset(folder / "d", {.nodes = 3000, .dim = 64});
  const Dataset dataset = Dataset::open(source.folder);
  const Workload work(dataset, source, folder.path(), 0);
  std::uint64_t last_bytes = ~std::uint64_t{0};
  for (const std::size_t size : {1U, 3U, 7U}) {
    const SharedLayout layout = work.lay_out(size, folder.path());
    const auto counts = count_group_rows(work.lists, work.plan, layout.groups, 3000);
    for (std::size_t group = 0; group < layout.groups.size(); ++group) {
      std::map<NodeId, int> expected;
      for (std::size_t i = 0; i < layout.groups[group].batch_count; ++i) {
        for (const NodeId node : work.disk_nodes[layout.groups[group].first_batch + i]) expected[node] = 1;
      }
      std::vector<NodeId> nodes(layout.region_nodes.size(group));
      layout.region_nodes.read(group, 0, nodes);
      std::map<NodeId, int> found;
      for (const NodeId node : nodes) ++found[node];
      CHECK(found == expected);
      CHECK(counts[group] == expected.size());
    }
    CHECK(layout.bytes() < last_bytes);
    last_bytes = layout.bytes();
  }
}

TEST_CASE("groups hold batches of one split, all of one size but for the last") {
  std::vector<BatchKey> keys;
  for (std::uint32_t i = 0; i < 10; ++i) keys.push_back({Split::train, 0, 0, i});
  for (std::uint32_t i = 0; i < 3; ++i) keys.push_back({Split::test, 0, 0, i});
  std::vector<std::pair<std::size_t, std::size_t>> found;
  for (const BatchGroup& group : group_batches(keys, 4, 64))
    found.emplace_back(group.first_batch, group.batch_count);
  CHECK(found == std::vector<std::pair<std::size_t, std::size_t>>{{0, 4}, {4, 4}, {8, 2}, {10, 3}});
  CHECK(group_batches({}, 4, 64).empty());
}

TEST_CASE("rows of a group stand along the Gray code of the sets of its batches, of any number of them") {
  const test::TemporaryFolder folder;
  constexpr std::uint32_t node_count = 3000;
  for (const std::uint32_t batches : {5U, 64U, 65U, 150U, 256U}) {
    CAPTURE(batches);
    InputLists lists(folder.path());
    RandomStream random(batches);
    std::vector<BatchKey> keys;
    std::vector<std::vector<bool>> sets(node_count, std::vector<bool>(batches));
    for (std::uint32_t batch = 0; batch < batches; ++batch) {
      std::vector<NodeId> list;
      for (std::uint32_t node = 0; node < node_count; ++node) {
        // Some rows are read by many batches, most by few, and some by none.
        if (random.below(node % 7 == 0 ? 2 : 60) != 0) continue;
        list.push_back(static_cast<NodeId>(node));
        sets[node][batch] = true;
      }
      lists.append(list);
      keys.push_back({Split::train, 0, 0, batch});
    }
    const TierPlan plan = plan_static_tiers(std::vector<std::uint32_t>(node_count), {});
    const SharedLayout layout = lay_out_shared(lists, plan, group_batches(keys, group_batches_max, 1), 64,
                                               node_count, usual_read_gap_bytes, folder.path());
    REQUIRE(layout.groups.size() == 1);
    // The rank of a set in the Gray code: bit i is the parity of the first i + 1 bits of the set.
    std::vector<std::pair<std::vector<bool>, NodeId>> expected;
    for (std::uint32_t node = 0; node < node_count; ++node) {
      std::vector<bool> rank(batches);
      bool is_odd = false;
      bool is_read = false;
      for (std::uint32_t batch = 0; batch < batches; ++batch) {
        is_odd = is_odd != sets[node][batch];
        is_read = is_read || sets[node][batch];
        rank[batch] = is_odd;
      }
      if (is_read) expected.emplace_back(rank, static_cast<NodeId>(node));
    }
    std::ranges::sort(expected);
    std::vector<NodeId> nodes(layout.region_nodes.size(0));
    layout.region_nodes.read(0, 0, nodes);
    const bool is_same =
        std::ranges::equal(nodes, expected, {}, {}, [](const auto& row) { return row.second; });
    CHECK(is_same);
    for (std::uint32_t batch = 0; batch < batches; ++batch) {
      std::vector<NodeId> read(layout.batch_nodes.size(batch));
      layout.batch_nodes.read(batch, 0, read);
      std::vector<NodeId> of_batch;
      for (const NodeId node : nodes) {
        if (sets[to_index(node)][batch]) of_batch.push_back(node);
      }
      const bool is_same_batch = read == of_batch;
      CHECK(is_same_batch);
    }
  }
}

TEST_CASE("the largest group is as small as the space allows, and the space is exact") {
  const test::TemporaryFolder folder;
  constexpr std::uint32_t node_count = 4000;
  InputLists lists(folder.path());
  RandomStream random(8);
  std::vector<BatchKey> keys;
  for (std::uint32_t batch = 0; batch < 43; ++batch) {
    std::vector<NodeId> list;
    for (std::uint32_t node = 0; node < node_count; ++node) {
      if (random.below(8 + batch % 3) == 0) list.push_back(static_cast<NodeId>(node));
    }
    lists.append(list);
    keys.push_back(batch < 40 ? BatchKey{Split::train, batch / 20, 0, batch % 20}
                              : BatchKey{Split::valid, 0, 0, batch - 40});
  }
  const TierPlan plan = plan_static_tiers(std::vector<std::uint32_t>(node_count), {});
  constexpr std::uint64_t row_bytes = 512;
  const auto bytes_with = [&](std::size_t size) {
    return lay_out_shared(lists, plan, group_batches(keys, size, group_batches_max), row_bytes, node_count,
                          usual_read_gap_bytes, folder.path())
        .region_offsets.back();
  };
  std::vector<std::uint64_t> bytes{~std::uint64_t{0}};
  for (std::size_t size = 1; size <= 40; ++size) bytes.push_back(bytes_with(size));
  CHECK(std::ranges::is_sorted(bytes, std::greater()));
  GroupChoice choice(lists, plan, keys, row_bytes, node_count);
  CHECK(choice.largest() == 40);
  const auto expected = [&](std::uint64_t within) {
    std::size_t size = 1;
    while (size < 40 && bytes[size] > within) ++size;
    return size;
  };
  for (std::size_t size = 1; size <= 40; ++size) {
    CAPTURE(size);
    CHECK(choice.region_bytes(size) == bytes[size]);
    CHECK(choice.smallest_within(bytes[size]) == expected(bytes[size]));
    CHECK(choice.smallest_within(bytes[size] - 1) == expected(bytes[size] - 1));
    GroupChoice anew(lists, plan, keys, row_bytes, node_count);
    CHECK(anew.smallest_within(bytes[size]) == expected(bytes[size]));
  }
  CHECK(choice.smallest_within(0) == 40);
  CHECK(choice.smallest_within(~std::uint64_t{0}) == 1);
}

TEST_CASE(
    "the slower a drive's random reads, the longer the gaps that are read over, and the fewer the reads") {
  const auto drive = [](double random_reads_per_second) {
    return DriveProfile{
        .engine = "pread",
        .direct = true,
        .points = {
            {.sequential = true, .block_bytes = 1 << 20, .bytes_per_second = 1e9},
            {.sequential = false, .block_bytes = 4096, .bytes_per_second = 4096 * random_reads_per_second}}};
  };
  CHECK(read_gap_for(drive(1e9 / 4096)) == 4096);               // as fast as in sequence
  CHECK(read_gap_for(drive(1e9 / (4096 + 11'000))) == 8192);    // nearer to 8 than to 16 KiB
  CHECK(read_gap_for(drive(1e9 / (4096 + 12'000))) == 16'384);  // and the other way round
  CHECK(read_gap_for(drive(100)) == 1 << 20);                   // a disk that turns

  const test::TemporaryFolder folder;
  InputLists lists(folder.path());
  RandomStream random(4);
  std::vector<BatchKey> keys;
  for (std::uint32_t batch = 0; batch < 8; ++batch) {
    std::vector<NodeId> list;
    for (std::uint32_t node = 0; node < 20'000; ++node) {
      if (random.below(4) == 0) list.push_back(static_cast<NodeId>(node));
    }
    lists.append(list);
    keys.push_back({Split::train, 0, 0, batch});
  }
  const TierPlan plan = plan_static_tiers(std::vector<std::uint32_t>(20'000), {});
  std::size_t last_reads = ~std::size_t{0};
  std::uint64_t last_bytes = 0;
  for (const std::uint64_t gap : {4096U, 16'384U, 65'536U}) {
    const SharedLayout layout =
        lay_out_shared(lists, plan, group_batches(keys, 8, 64), 512, 20'000, gap, folder.path());
    std::uint64_t bytes = 0;
    for (std::size_t batch = 0; batch < 8; ++batch) {
      bytes += layout.extent_bytes(batch);
      const auto extents = layout.extents_of(batch);
      for (std::size_t i = 1; i < extents.size(); ++i) {
        CHECK(extents[i].offset > extents[i - 1].offset + extents[i - 1].bytes + gap);
      }
    }
    CHECK(layout.extents.size() < last_reads);
    CHECK(bytes > last_bytes);
    last_reads = layout.extents.size();
    last_bytes = bytes;
  }
}

TEST_CASE("what is read is little more than what is needed, and in few pieces") {
  // 4 batches, each with half of all rows: 15 sets, some 200 rows of 512 bytes each.
  const test::TemporaryFolder folder;
  const test::SmallDataset source = test::write_small_dataset(folder / "d", {.nodes = 3000, .dim = 128});
  const Dataset dataset = Dataset::open(source.folder);
  InputLists lists(folder.path());
  RandomStream random(9);
  std::vector<BatchKey> keys;
  for (std::uint32_t batch = 0; batch < 4; ++batch) {
    std::vector<NodeId> list;
    for (std::uint32_t node = 0; node < 3000; ++node) {
      if (random.below(2) == 0) list.push_back(static_cast<NodeId>(node));
    }
    lists.append(list);
    keys.push_back({Split::train, 0, 0, batch});
  }
  const TierPlan plan = plan_static_tiers(std::vector<std::uint32_t>(3000), {});
  const SharedLayout layout =
      lay_out_shared(lists, plan, group_batches(keys, 4, 64), 512, 3000, usual_read_gap_bytes, folder.path());
  std::uint64_t extents = 0;
  for (std::size_t batch = 0; batch < 4; ++batch) {
    const std::uint64_t needed = lists.node_count(batch) * 512;
    CHECK(layout.extent_bytes(batch) < needed * 21 / 20);
    extents += layout.extents_of(batch).size();
  }
  // Along a Gray code of 4 bits the first batch has one run, and the others 1, 2 and 4.
  CHECK(extents <= 8);
}

TEST_CASE("memory and threads change neither a byte of the file nor the number of rows") {
  const test::TemporaryFolder folder;
  const test::SmallDataset source =
      test::write_small_dataset(folder / "d", {.nodes = 9000, .dim = 99, .dtype = Dtype::f32});
  const Dataset dataset = Dataset::open(source.folder);
  const Workload work(dataset, source, folder.path(), 100);
  const SharedLayout layout = work.lay_out(3, folder.path());
  const PackResult whole = work.pack(layout, folder / "a", 256U << 20, 1);
  const PackResult parts = work.pack(layout, folder / "b", 1U << 20, 3);
  CHECK(whole.parts == 0);
  CHECK(parts.parts > 3);
  CHECK(parts.bytes_read == whole.bytes_read);
  CHECK(bytes_of(folder / "a") == bytes_of(folder / "b"));
  CHECK(read_text_file(folder / "a" / "cpu.bin") == read_text_file(folder / "b" / "cpu.bin"));
  work.check(layout, folder / "b");
}

TEST_CASE("damage is found where it is: in a page, in the checksums, in the extents") {
  const test::TemporaryFolder folder;
  const test::SmallDataset source = test::write_small_dataset(folder / "d", {.nodes = 1500, .dim = 64});
  const Dataset dataset = Dataset::open(source.folder);
  const Workload work(dataset, source, folder.path(), 10);
  const SharedLayout layout = work.lay_out(4, folder.path());
  work.pack(layout, folder / "p", 64U << 20, 2);
  const fs::path path = folder / "p" / pack_file_name;
  const std::string sound = read_text_file(path);
  const PackFile pack(path);
  const auto first = pack.extents(0);
  REQUIRE(first.size() >= 2);
  const auto flip = [&](std::uint64_t offset) {
    std::string bytes = sound;
    bytes[offset] = static_cast<char>(bytes[offset] ^ 4);
    write_text_file(path, bytes);
  };
  flip(first.front().offset + 5000);
  EXPECT_ERROR(PackFile(path).verify(nullptr), Kind::corruption,
               fmt::format("at byte {}", first.front().offset + 4096));
  std::size_t spread = 0;  // a batch whose rows lie in two extents or more
  while (spread < pack.entries().size() && pack.extents(spread).size() < 3) ++spread;
  REQUIRE(spread < pack.entries().size());
  const Extent second = pack.extents(spread)[1];
  flip(second.offset + second.bytes - 1);
  EXPECT_ERROR(PackFile(path).verify(nullptr), Kind::corruption,
               fmt::format("4096 bytes at byte {} (", second.offset + second.bytes - 4096));
  flip(first.back().offset + 70);  // a checksum in the trailer
  EXPECT_ERROR(PackFile(path).verify(nullptr), Kind::corruption, "checksums of");
  flip(pack.file().require(SectionKind::segment_extents).offset + 3);
  EXPECT_ERROR(PackFile{path}, Kind::corruption, "checksum");
  write_text_file(path, sound.substr(0, sound.size() - 1));
  EXPECT_ERROR(PackFile{path}, Kind::corruption, "cut short");
}

}  // namespace gneiss
