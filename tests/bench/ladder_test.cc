// The strategies of the ladder bring the right rows, and their caches do what they are named after.
#include <doctest/doctest.h>

#include <algorithm>
#include <list>
#include <map>
#include <set>

#include "bench/ladder/cached_rows.h"
#include "bench/ladder/lru_cache.h"
#include "bench/ladder/mapped_rows.h"
#include "bench/ladder/measure.h"
#include "bench/ladder/memory_rows.h"
#include "bench/ladder/min_cache.h"
#include "storage/base/random.h"
#include "tests/engine/prepared_dataset.h"
#include "tests/support/expect_error.h"

namespace gneiss::ladder {
namespace {

using test::PreparedDataset;

PreparationOptions small_batches() {
  return {.fanouts = {4, 3},
          .batch_size = 8,
          .sample_epochs = 2,
          .evaluation = true,
          .seed = 5,
          .cpu_cache_bytes = 640};
}

// The same batches at three row sizes: many rows a sector, one a sector, and rows that straddle sectors.
std::vector<test::SmallDatasetOptions> graphs() {
  return {{.dim = 8}, {.dim = 128}, {.dim = 1433, .dtype = Dtype::f16}};
}

constexpr std::uint64_t cache_rows = 40;

std::unique_ptr<CachePolicy> make_policy(const std::string& name, const RowLists& lists,
                                         std::uint64_t positions, std::uint64_t node_count,
                                         std::uint64_t capacity) {
  if (name == "lru") return std::make_unique<LruCache>(node_count, capacity);
  return std::make_unique<MinCache>(lists, positions, node_count, capacity,
                                    std::filesystem::temp_directory_path());
}

// Hits of each batch by following the rule with plain sets: what the quick ones must equal.
std::vector<std::uint64_t> lru_hits(const std::vector<std::vector<NodeId>>& batches, std::size_t capacity) {
  std::list<NodeId> newest_first;
  std::vector<std::uint64_t> hits;
  for (const auto& batch : batches) {
    std::vector<NodeId> missing;
    std::size_t hit_count = 0;
    for (const NodeId node : batch) {
      const auto found = std::ranges::find(newest_first, node);
      if (found == newest_first.end()) {
        missing.push_back(node);
        continue;
      }
      newest_first.splice(newest_first.begin(), newest_first, found);
      ++hit_count;
    }
    // Rows of this batch are not replaced by rows of this batch.
    const std::size_t entering = std::min(missing.size(), capacity - hit_count);
    for (std::size_t i = missing.size() - entering; i < missing.size(); ++i) {
      if (newest_first.size() == capacity) newest_first.pop_back();
      newest_first.push_front(missing[i]);
    }
    hits.push_back(hit_count);
  }
  return hits;
}

std::vector<std::uint64_t> min_hits(const std::vector<std::vector<NodeId>>& cycle, std::size_t positions,
                                    std::size_t capacity) {
  const auto next_use = [&](NodeId node, std::size_t position) {
    for (std::size_t next = position + 1;; ++next) {
      if (std::ranges::find(cycle[next % cycle.size()], node) != cycle[next % cycle.size()].end())
        return next;
    }
  };
  std::set<NodeId> cached;
  std::vector<std::uint64_t> hits;
  for (std::size_t position = 0; position < positions; ++position) {
    const auto& batch = cycle[position % cycle.size()];
    hits.push_back(static_cast<std::uint64_t>(
        std::ranges::count_if(batch, [&](NodeId node) { return cached.contains(node); })));
    cached.insert(batch.begin(), batch.end());
    std::vector<std::pair<std::size_t, NodeId>> candidates;
    for (const NodeId node : cached) candidates.emplace_back(next_use(node, position), node);
    std::ranges::sort(candidates);
    cached.clear();
    for (std::size_t i = 0; i < std::min(capacity, candidates.size()); ++i)
      cached.insert(candidates[i].second);
  }
  return hits;
}

struct Batches {
  explicit Batches(const RowLists& lists) {
    RowList list;
    for (std::size_t i = 0; i < lists.batch_count(); ++i) {
      lists.read(i, list);
      cycle.push_back(list.nodes);
    }
  }
  std::vector<std::vector<NodeId>> cycle;
};

std::vector<std::uint64_t> hits_of(CachePolicy& policy, const RowLists& lists, std::uint64_t positions) {
  std::vector<std::uint64_t> hits;
  RowList list;
  CachePlan plan;
  for (std::uint64_t position = 0; position < positions; ++position) {
    lists.read(position, list);
    policy.plan(position, list, plan);
    hits.push_back(plan.hits);
    CHECK(std::ranges::count_if(plan.slots, [](std::uint32_t slot) { return slot != uncached; }) ==
          plan.hits);
  }
  return hits;
}

void expect_exact_rows(RowSource& source, const RowLists& lists, const RowFile& file,
                       const test::SmallDataset& truth) {
  std::vector<std::byte> target(lists.row_count_max() * file.row_bytes);
  RowList list;
  std::uint64_t rows = 0;
  for (std::uint64_t position = 0; position < 2 * lists.batch_count() + 1; ++position) {
    lists.read(position, list);
    std::ranges::fill(target, std::byte{0xA5});
    source.before(position, list);
    source.deliver(position, list, target);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < list.size(); ++i) {
      const auto delivered = std::span(target).subspan(list.targets[i] * file.row_bytes, file.row_bytes);
      wrong += std::ranges::equal(delivered, truth.row(list.nodes[i])) ? 0 : 1;
    }
    CHECK(wrong == 0);
    CHECK_NOTHROW(check_rows(file, list, target));
    rows += list.size();
  }
  CHECK(rows > 0);
  CHECK(source.cost().rows == rows);
}

TEST_CASE("every strategy delivers exactly the rows of the feature file, batch by batch") {
  for (const auto& graph : graphs()) {
    CAPTURE(graph.dim);
    const PreparedDataset prepared(small_batches(), graph);
    const RowFile file = row_file_of(prepared.dataset());
    for (const RowOrder order : {RowOrder::ascending, RowOrder::scattered}) {
      const RowLists lists(prepared.preparation().pool(), order);
      for (const bool advise_random : {true, false}) {
        MappedRows source(file, {.threads = 3, .advise_random = advise_random});
        expect_exact_rows(source, lists, file, prepared.source());
      }
      MemoryRows source(file, 2);
      expect_exact_rows(source, lists, file, prepared.source());
    }
    const RowLists lists(prepared.preparation().pool(), RowOrder::ascending);
    const std::uint64_t positions = 2 * lists.batch_count() + 1;
    for (const std::string policy : {"lru", "min"}) {
      for (const std::uint64_t gap : {0, 512, 1 << 20}) {
        for (const std::size_t readers : {1, 2}) {
          CAPTURE(policy);
          CAPTURE(gap);
          CachedRowsOptions options{.cache_rows = cache_rows,
                                    .batch_rows_max = lists.row_count_max(),
                                    .readers = readers,
                                    .reader = {}};
          options.reader = {.queue_depth = 4, .coalesce = {.gap_bytes = gap, .read_bytes_max = 8192}};
          CachedRows source(file, make_policy(policy, lists, positions, file.row_count, cache_rows), options);
          expect_exact_rows(source, lists, file, prepared.source());
          CHECK(source.cost().rows_from_cache > 0);
          CHECK(source.cost().reads > 0);
        }
      }
    }
  }
}

TEST_CASE("a row delivered to the wrong place is found") {
  const PreparedDataset prepared(small_batches());
  const RowFile file = row_file_of(prepared.dataset());
  const RowLists lists(prepared.preparation().pool(), RowOrder::ascending);
  MemoryRows source(file, 1);
  RowList list;
  lists.read(0, list);
  std::vector<std::byte> target(list.size() * file.row_bytes);
  source.deliver(0, list, target);
  std::swap(list.targets[0], list.targets[1]);
  EXPECT_ERROR(check_rows(file, list, target), Kind::corruption, "is not node");
}

TEST_CASE("both orders of a batch name the same rows for the same places") {
  const PreparedDataset prepared(small_batches());
  const RowLists ascending(prepared.preparation().pool(), RowOrder::ascending);
  const RowLists scattered(prepared.preparation().pool(), RowOrder::scattered);
  RowList first;
  RowList second;
  for (std::size_t position = 0; position < ascending.batch_count(); ++position) {
    ascending.read(position, first);
    scattered.read(position, second);
    CHECK(std::ranges::is_sorted(first.nodes));
    CHECK_FALSE(std::ranges::is_sorted(second.nodes));
    std::map<std::uint32_t, NodeId> places;
    for (std::size_t i = 0; i < first.size(); ++i) places[first.targets[i]] = first.nodes[i];
    REQUIRE(places.size() == second.size());
    for (std::size_t i = 0; i < second.size(); ++i) CHECK(places.at(second.targets[i]) == second.nodes[i]);
  }
}

TEST_CASE("lru hits as often as a list that moves what is used to its front") {
  const PreparedDataset prepared(small_batches());
  const RowLists lists(prepared.preparation().pool(), RowOrder::ascending);
  std::vector<std::vector<NodeId>> batches = Batches(lists).cycle;
  const std::vector<std::vector<NodeId>> once = batches;
  batches.insert(batches.end(), once.begin(), once.end());
  for (const std::size_t capacity : {0, 1, 17, 40, 90, 150, 200, 1000}) {
    CAPTURE(capacity);
    LruCache cache(200, capacity);
    CHECK(hits_of(cache, lists, batches.size()) == lru_hits(batches, capacity));
  }
}

TEST_CASE("ginex's cache hits as often as Belady's rule followed step by step, and never less than lru") {
  const PreparedDataset prepared(small_batches());
  const RowLists lists(prepared.preparation().pool(), RowOrder::ascending);
  const Batches batches(lists);
  const std::size_t positions = 2 * lists.batch_count() + 3;
  for (const std::size_t capacity : {0, 1, 17, 40, 90, 150, 200, 1000}) {
    CAPTURE(capacity);
    MinCache cache(lists, positions, 200, capacity, std::filesystem::temp_directory_path());
    const auto hits = hits_of(cache, lists, positions);
    CHECK(hits == min_hits(batches.cycle, positions, capacity));
    LruCache lru(200, capacity);
    const auto fewer = hits_of(lru, lists, positions);
    const auto total = [](const std::vector<std::uint64_t>& each) {
      std::uint64_t sum = 0;
      for (const std::uint64_t value : each) sum += value;
      return sum;
    };
    CHECK(total(hits) >= total(fewer));
    if (capacity == 40) CHECK(total(hits) > total(fewer));
  }
}

TEST_CASE("coalescing brings each row in one read, and no sector twice") {
  RandomStream random(11);
  for (int round = 0; round < 200; ++round) {
    CAPTURE(round);
    const RowFile file{.path = "", .offset = 4096, .row_bytes = 1 + random.below(3000), .row_count = 400};
    const std::uint32_t alignment = 1U << random.below(13);
    const CoalesceOptions options{.gap_bytes = random.below(3) * random.below(9000),
                                  .read_bytes_max = std::uint64_t{4096} << random.below(6)};
    std::vector<RowRead> rows;
    for (std::uint32_t node = 0; node < file.row_count; ++node) {
      if (random.below(1 + round % 5) == 0) rows.push_back({.node = NodeId{node}, .target = node});
    }
    ExtentCursor cursor(file, alignment, options, rows);
    Extent extent;
    Extent before;
    std::size_t covered = 0;
    while (cursor.next(extent)) {
      CHECK(extent.first == covered);
      REQUIRE(extent.count > 0);
      covered += extent.count;
      CHECK(extent.offset % alignment == 0);
      CHECK(extent.bytes % alignment == 0);
      CHECK((extent.count == 1 || extent.bytes <= options.read_bytes_max));
      const auto place = [&](std::size_t i) { return file.offset + to_index(rows[i].node) * file.row_bytes; };
      CHECK(extent.offset <= place(extent.first));
      CHECK(place(extent.first + extent.count - 1) + file.row_bytes <= extent.offset + extent.bytes);
      for (std::size_t i = extent.first + 1; i < extent.first + extent.count; ++i) {
        CHECK(place(i) <= place(i - 1) + file.row_bytes + options.gap_bytes + 2 * std::uint64_t{alignment});
      }
      if (extent.first > 0) {
        const std::uint64_t end = before.offset + before.bytes;
        const bool was_full =
            extent.offset + extent.bytes - before.offset > options.read_bytes_max ||
            place(extent.first) + file.row_bytes - before.offset > options.read_bytes_max - alignment;
        // What a gap would have joined was parted by the size of a read alone, at most one sector apart.
        CHECK((extent.offset > end + options.gap_bytes || was_full));
        CHECK(extent.offset + alignment >= end);
      }
      before = extent;
    }
    CHECK(covered == rows.size());
  }
}

TEST_CASE("the reader counts the reads and bytes of its extents, and nothing for no rows") {
  const PreparedDataset prepared(small_batches(), {.dim = 128});
  const RowFile file = row_file_of(prepared.dataset());
  RowReader reader(file, {.queue_depth = 3, .coalesce = {.gap_bytes = 0, .read_bytes_max = 2048}});
  std::vector<std::byte> target(7 * file.row_bytes);
  reader.read({}, target);
  CHECK(reader.cost().reads == 0);
  // 3, 4 and 5 adjoin; 9 is apart; 20 to 22 adjoin.
  std::vector<RowRead> rows;
  for (const std::uint32_t node : {3U, 4U, 5U, 9U, 20U, 21U, 22U}) {
    rows.push_back({.node = NodeId{node}, .target = static_cast<std::uint32_t>(rows.size())});
  }
  reader.read(rows, target);
  if (reader.alignment() <= 512) {
    CHECK(reader.cost().reads == 3);
    CHECK(reader.cost().bytes == 7 * file.row_bytes);
  }
  for (const RowRead& row : rows) {
    CHECK(std::ranges::equal(std::span(target).subspan(row.target * file.row_bytes, file.row_bytes),
                             prepared.source().row(row.node)));
  }
}

TEST_CASE("a feature file cut short is reported, not delivered") {
  const PreparedDataset prepared(small_batches(), {.dim = 128});
  RowFile file = row_file_of(prepared.dataset());
  file.row_count += 100;
  RowReader reader(file, {.queue_depth = 4, .coalesce = {}});
  std::vector<std::byte> target(file.row_bytes);
  const RowRead row{.node = NodeId{250}, .target = 0};
  EXPECT_ERROR(reader.read(std::span(&row, 1), target), Kind::corruption, "the file ends before");
}

TEST_CASE("a window of segments reads what its batches' segments hold, round the pool's end too") {
  const PreparedDataset prepared(small_batches(), {.dim = 128});
  const Preparation& preparation = prepared.preparation();
  const RowLists lists(preparation.pool(), RowOrder::ascending);
  const Window window{.warm_up = lists.batch_count() - 1, .batches = 3};
  const Measurement measured = measure_segments(preparation, window, {}, {});
  std::uint64_t bytes = 0;
  std::uint64_t disk_rows = 0;
  for (std::uint64_t position = window.warm_up; position < window.positions(); ++position) {
    bytes += preparation.pack().entries()[lists.pool_index(position)].bytes;
    disk_rows += preparation.pool().entries()[lists.pool_index(position)].disk_rows;
  }
  CHECK(disk_rows > 0);
  CHECK(measured.cost.bytes == bytes);
  CHECK(measured.cost.rows - measured.cost.rows_from_cache == disk_rows);
}

TEST_CASE("only the window is on the clock") {
  const PreparedDataset prepared(small_batches());
  const RowFile file = row_file_of(prepared.dataset());
  const RowLists lists(prepared.preparation().pool(), RowOrder::ascending);
  const Window window{.warm_up = 3, .batches = 2};
  MemoryRows source(file, 1);
  const Measurement measured = measure_rows(source, lists, file, window, true, {});
  CHECK(measured.batch_seconds.size() == 2);
  CHECK(measured.input_rows == lists.row_count(3) + lists.row_count(4));
  CHECK(measured.cost.rows == measured.input_rows);
}

}  // namespace
}  // namespace gneiss::ladder
