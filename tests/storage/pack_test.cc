#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

#include "storage/base/random.h"
#include "storage/format/preparation.h"
#include "storage/format/section_stream.h"
#include "storage/pack/packer.h"
#include "tests/support/expect_error.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

namespace fs = std::filesystem;

std::vector<NodeId> nodes(std::initializer_list<std::uint32_t> ids) {
  std::vector<NodeId> list;
  for (const std::uint32_t id : ids) list.push_back(static_cast<NodeId>(id));
  return list;
}

bool is_any(SectionKind) { return true; }

// Input lists of several batches over a dataset, and what each packing of them must give.
struct Workload {
  const Dataset& dataset;
  InputLists lists;
  std::vector<std::vector<NodeId>> inputs;
  std::vector<BatchKey> keys;
  TierPlan plan;
  std::vector<BatchRows> rows;

  Workload(const Dataset& of, const fs::path& scratch, const TierBudget& budget)
      : dataset(of), lists(scratch) {
    const std::uint64_t count = of.info().node_count;
    std::vector<std::uint32_t> accesses(count);
    RandomStream random(5);
    for (std::uint32_t batch = 0; batch < 5; ++batch) {
      std::vector<NodeId> list;
      for (std::uint64_t node = 0; node < count; ++node) {
        // All, half, none, few and the ends.
        const bool in = batch == 0   ? true
                        : batch == 1 ? random.below(2) == 0
                        : batch == 2 ? false
                        : batch == 3 ? random.below(50) == 0
                                     : node == 0 || node == count - 1;
        if (!in) continue;
        list.push_back(static_cast<NodeId>(node));
        ++accesses[node];
      }
      lists.append(list);
      inputs.push_back(std::move(list));
      keys.push_back({Split::train, 0, 0, batch});
    }
    plan = plan_static_tiers(accesses, budget);
    rows = count_rows(lists, plan);
  }

  PackResult pack(const fs::path& folder, std::uint64_t memory_bytes, std::size_t threads) const {
    fs::create_directories(folder);
    ThreadPool pool(threads);
    return pack_features({.dataset = &dataset,
                          .lists = &lists,
                          .plan = &plan,
                          .keys = keys,
                          .rows = rows,
                          .folder = folder,
                          .memory_bytes = memory_bytes},
                         pool);
  }

  // Every segment and image against the source's rows, bit for bit.
  void check(const fs::path& folder, const test::SmallDataset& source) const {
    const PackFile pack(folder / pack_file_name);
    pack.verify(nullptr);
    REQUIRE(pack.entries().size() == keys.size());
    for (std::size_t batch = 0; batch < keys.size(); ++batch) {
      std::vector<std::byte> expected;
      for (const NodeId node : inputs[batch]) {
        if (plan.placement_of[to_index(node)].is_cached()) continue;
        const auto row = source.row(node);
        expected.insert(expected.end(), row.begin(), row.end());
      }
      const SegmentEntry& entry = pack.entries()[batch];
      CHECK(entry.key == keys[batch]);
      CHECK(entry.row_count == rows[batch].disk_rows);
      std::vector<std::byte> read(expected.size());
      pack.file().file().read_at(entry.offset, read);
      CHECK_MESSAGE(read == expected, "batch ", batch);
    }
    check_image({folder / cpu_tier_file_name, cpu_tier_magic, is_any}, plan.cpu_nodes, source);
    CHECK(fs::exists(folder / gpu_tier_file_name) == !plan.gpu_nodes.empty());
    if (plan.gpu_nodes.empty()) return;
    check_image({folder / gpu_tier_file_name, gpu_tier_magic, is_any}, plan.gpu_nodes, source);
  }
  static void check_image(const SectionFile& image, std::span<const NodeId> held,
                          const test::SmallDataset& source) {
    verify_sections(image, nullptr);
    const AlignedBuffer cached = image.read_section(image.require(SectionKind::feature_rows));
    const std::uint64_t row_bytes = source.info.row_bytes();
    REQUIRE(cached.size() == held.size() * row_bytes);
    bool same = true;
    for (std::size_t slot = 0; slot < held.size(); ++slot) {
      same = same &&
             std::ranges::equal(cached.bytes().subspan(slot * row_bytes, row_bytes), source.row(held[slot]));
    }
    CHECK(same);
    const AlignedBuffer slots = image.read_section(image.require(SectionKind::tier_nodes));
    CHECK(std::ranges::equal(slots.as<NodeId>(), held));
  }
};

std::string pack_bytes(const fs::path& folder) {
  return read_text_file(folder / pack_file_name) + read_text_file(folder / cpu_tier_file_name) +
         read_text_file(folder / gpu_tier_file_name);
}

// Rows of 5 MiB: more than a chunk of the scan, whose end cuts a row.
std::uint32_t rows_of_some_chunks(std::uint32_t dim, Dtype dtype) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(20'000, (5U << 20) / (dim * size_of(dtype)) + 3));
}

}  // namespace

TEST_CASE("the rows that are read most often are cached, ties by id") {
  const std::array<std::uint32_t, 7> counts{3, 1, 0, 3, 9, 1, 3};
  const auto cached = [&](std::uint64_t rows) {
    return plan_static_tiers(counts, {.cpu_rows = rows}).cpu_nodes;
  };
  CHECK(cached(0).empty());
  CHECK(cached(1) == nodes({4}));
  CHECK(cached(2) == nodes({0, 4}));
  CHECK(cached(3) == nodes({0, 3, 4}));
  CHECK(cached(5) == nodes({0, 1, 3, 4, 6}));
  CHECK(cached(6) == nodes({0, 1, 3, 4, 5, 6}));
  CHECK(cached(7) == cached(6));  // what is never read is not cached
  CHECK(cached(~std::uint64_t{0}) == cached(6));
  const TierPlan plan = plan_static_tiers(counts, {.cpu_rows = 3});
  const Placement on_disk = Placement::on_disk();
  CHECK(plan.placement_of == std::vector<Placement>{Placement::in_slot(0), on_disk, on_disk,
                                                    Placement::in_slot(1), Placement::in_slot(2), on_disk,
                                                    on_disk});
  CHECK(plan_static_tiers({}, {.gpu_rows = 5, .cpu_rows = 5}).cpu_nodes.empty());
}

TEST_CASE("the gpu tier takes the rows read most, the cpu tier the next, together what one of both would") {
  const std::array<std::uint32_t, 7> counts{3, 1, 0, 3, 9, 1, 3};
  const TierPlan plan = plan_static_tiers(counts, {.gpu_rows = 2, .cpu_rows = 3});
  CHECK(plan.gpu_nodes == nodes({0, 4}));
  CHECK(plan.cpu_nodes == nodes({1, 3, 6}));
  const Placement on_disk = Placement::on_disk();
  CHECK(plan.placement_of == std::vector<Placement>{Placement::on_gpu(0), Placement::in_slot(0), on_disk,
                                                    Placement::in_slot(1), Placement::on_gpu(1), on_disk,
                                                    Placement::in_slot(2)});
  RandomStream random(9);
  for (int round = 0; round < 50; ++round) {
    std::vector<std::uint32_t> many(300);
    for (auto& count : many) count = static_cast<std::uint32_t>(random.below(10));
    const TierBudget budget{.gpu_rows = random.below(400), .cpu_rows = random.below(400)};
    const TierPlan both = plan_static_tiers(many, budget);
    CHECK(both.gpu_nodes == plan_static_tiers(many, {.cpu_rows = budget.gpu_rows}).cpu_nodes);
    std::vector<NodeId> cached = both.gpu_nodes;
    cached.insert(cached.end(), both.cpu_nodes.begin(), both.cpu_nodes.end());
    std::ranges::sort(cached);
    CHECK(cached == plan_static_tiers(many, {.cpu_rows = budget.gpu_rows + budget.cpu_rows}).cpu_nodes);
  }
}

TEST_CASE("no other cache of that size saves more reads") {
  RandomStream random(8);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::uint32_t> counts(200);
    for (auto& count : counts) count = static_cast<std::uint32_t>(random.below(10));
    const std::uint64_t size = random.below(200);
    std::uint64_t saved = 0;
    for (const NodeId node : plan_static_tiers(counts, {.cpu_rows = size}).cpu_nodes)
      saved += counts[to_index(node)];
    std::ranges::sort(counts, std::greater());
    std::uint64_t best = 0;
    for (std::uint64_t i = 0; i < size; ++i) best += counts[i];
    CHECK(saved == best);
  }
}

TEST_CASE("rows are counted by tier exactly, and lists longer than a window are read whole") {
  const test::TemporaryFolder folder;
  InputLists lists(folder.path());
  std::vector<NodeId> many;
  for (std::uint32_t node = 0; node < 100'000; ++node) many.push_back(static_cast<NodeId>(node));
  lists.append(many);
  lists.append({});
  lists.append(nodes({1, 99'999}));
  CHECK(lists.batch_count() == 3);
  CHECK(lists.total_count() == 100'002);
  std::vector<std::uint32_t> counts(100'000, 1);
  counts[1] = 2;
  const auto rows = count_rows(lists, plan_static_tiers(counts, {.gpu_rows = 1, .cpu_rows = 29}));
  CHECK(rows[0].gpu_rows == 1);
  CHECK(rows[0].cpu_rows == 29);
  CHECK(rows[0].disk_rows == 99'970);
  CHECK(rows[1].gpu_rows + rows[1].cpu_rows + rows[1].disk_rows == 0);
  CHECK(rows[2].gpu_rows == 1);
  CHECK(rows[2].cpu_rows == 0);
  CHECK(rows[2].disk_rows == 1);
  std::vector<NodeId> part(10);
  CHECK(lists.read(0, 99'995, part) == 5);
  CHECK(part[4] == NodeId{99'999});
  CHECK(fs::is_empty(folder.path()));  // the lists have no name
}

TEST_CASE("each segment holds its rows bit for bit, for any dimension and type") {
  for (const std::uint32_t dim : {1U, 7U, 100U, 128U, 602U, 768U, 1433U}) {
    for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
      CAPTURE(dim);
      CAPTURE(name_of(dtype));
      const test::TemporaryFolder folder;
      const auto source = test::write_small_dataset(
          folder / "d", {.nodes = rows_of_some_chunks(dim, dtype), .edges = 1, .dim = dim, .dtype = dtype});
      const Dataset dataset = Dataset::open(folder / "d");
      const Workload work(dataset, folder.path(),
                          {.gpu_rows = source.info.node_count / 20, .cpu_rows = source.info.node_count / 10});
      const PackResult result = work.pack(folder / "p", 1U << 30, 2);
      CHECK(result.scans == 1);
      work.check(folder / "p", source);
    }
  }
}

TEST_CASE("little memory means more scans and other pieces, many threads another order, and the same bytes") {
  const test::TemporaryFolder folder;
  const auto source = test::write_small_dataset(folder / "d", {.nodes = 2500, .edges = 1, .dim = 602});
  const Dataset dataset = Dataset::open(folder / "d");
  const Workload work(dataset, folder.path(), {.gpu_rows = 50, .cpu_rows = 100});
  CHECK(work.pack(folder / "one", 1U << 30, 1).scans == 1);
  const std::string bytes = pack_bytes(folder / "one");
  CHECK(work.pack(folder / "small-pieces", 5 << 20, 2).scans == 1);  // 512 KiB for each of 5
  CHECK(pack_bytes(folder / "small-pieces") == bytes);
  CHECK(work.pack(folder / "two-at-once", 1 << 20, 5).scans == 3);
  CHECK(pack_bytes(folder / "two-at-once") == bytes);
  CHECK(work.pack(folder / "none", 0, 2).scans == 5);
  CHECK(pack_bytes(folder / "none") == bytes);
  work.check(folder / "none", source);
}

TEST_CASE("with everything or nothing cached the files are whole too") {
  const test::TemporaryFolder folder;
  const auto source = test::write_small_dataset(folder / "d", {.nodes = 300, .edges = 1, .dim = 7});
  const Dataset dataset = Dataset::open(folder / "d");
  for (const TierBudget& budget : {TierBudget{}, TierBudget{.cpu_rows = 300}, TierBudget{.gpu_rows = 300},
                                   TierBudget{.gpu_rows = 299, .cpu_rows = 1}}) {
    const fs::path target = folder / fmt::format("p{}-{}", budget.gpu_rows, budget.cpu_rows);
    const Workload work(dataset, folder.path(), budget);
    const std::uint64_t cached = budget.gpu_rows + budget.cpu_rows;
    CHECK((work.pack(target, 1U << 30, 2).segment_bytes == 0) == (cached == 300));
    work.check(target, source);
  }
}

TEST_CASE("damaged features stop the packer with their place, and leave nothing behind") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", {.nodes = 2500, .edges = 1, .dim = 602});
  const fs::path features = folder / "d/features.bin";
  {
    const File file = File::open_existing(features);
    std::array<std::byte, 1> byte{};
    file.read_at(5'000'000, byte);
    byte[0] ^= std::byte{1};
    file.write_at(5'000'000, byte);
  }
  const Dataset dataset = Dataset::open(folder / "d");
  const Workload work(dataset, folder.path(), {.gpu_rows = 50, .cpu_rows = 100});
  EXPECT_ERROR(work.pack(folder / "p", 1U << 30, 2), Kind::corruption,
               "features.bin: 1048576 bytes at byte 41");
  CHECK(fs::is_empty(folder / "p"));
}

TEST_CASE("a file that may not grow stops the packer, and nothing is left behind") {
  const test::TemporaryFolder folder;
  const auto source = test::write_small_dataset(folder / "d", {.nodes = 2500, .edges = 1, .dim = 602});
  const Dataset dataset = Dataset::open(folder / "d");
  const Workload work(dataset, folder.path(), {.cpu_rows = 1000});
  for (const std::uint64_t limit : {0, 4096, 1'000'000, 3'000'000}) {
    const test::FileSizeLimit full(limit);
    EXPECT_ERROR(work.pack(folder / "p", 1U << 30, 2), Kind::io, "bin");
    CHECK(fs::is_empty(folder / "p"));
  }
  work.pack(folder / "p", 1U << 30, 2);
  work.check(folder / "p", source);
}

}  // namespace gneiss
