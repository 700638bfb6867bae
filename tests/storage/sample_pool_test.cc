// The pool and the pack of a preparation: keys, and indices that lie although their checksums are right.
#include "storage/format/sample_pool.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "storage/base/random.h"
#include "storage/format/pack_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

namespace fs = std::filesystem;

// A batch of one seed and its one input.
struct TinyBatch {
  std::array<NodeId, 1> node{NodeId{3}};
  std::array<std::int32_t, 1> target{0};
  std::array<std::uint32_t, 2> indptr{0, 0};
  std::array<std::uint32_t, 1> self{0};
  std::array<PlanRange, 1> plan{{{0, Tier::disk, 0, 1, 0}}};

  CompressedBatch compress(const BatchKey& key) const {
    const BatchFrame frame{.seeds = node,
                           .targets = target,
                           .target_seeds = {},
                           .hidden_nodes = node,
                           .plan = plan,
                           .cpu_slots = {},
                           .admitted_rows = {},
                           .admitted_slots = {},
                           .page_runs = {},
                           .blocks = {{1, 1, indptr, {}, self, {}}}};
    return BatchCompressor().compress(key, frame, node);
  }
};

const std::vector<BatchKey> keys{{Split::train, 0, 0, 0},
                                 {Split::train, 0, 3, 1},
                                 {Split::train, 7, 0, 0},
                                 {Split::valid, 0, 0, 0},
                                 {Split::test, 0, 0, 4'000'000'000U}};

void write_pool(const fs::path& path, const std::function<void(BatchEntry&)>& change = [](BatchEntry&) {}) {
  SamplePoolWriter writer(path, 1);
  for (const BatchKey& key : keys) {
    CompressedBatch batch = TinyBatch().compress(key);
    change(batch.entry);
    writer.append(batch);
  }
  writer.finish();
}

// A pack with one segment of three rows of 8 bytes, whose entry was changed after it was written.
void write_pack(const fs::path& path, const std::function<void(SegmentEntry&)>& change) {
  SectionWriter writer(path, pack_magic, 1);
  const std::array<std::uint64_t, 3> rows{1, 2, 3};
  SegmentEntry entry{
      .key = {}, .offset = 0, .bytes = segment_bytes_for(3, 8), .row_count = 3, .row_bytes = 8};
  entry.offset = writer.reserve({.kind = SectionKind::segments, .dtype = Dtype::u8}, entry.bytes);
  const std::uint64_t sum = checksum(std::as_bytes(std::span(rows)));
  writer.file().write_at(entry.offset, std::as_bytes(std::span(rows)));
  writer.file().write_at(entry.offset + 24, build_segment_trailer(entry.key, 24, std::span(&sum, 1)));
  change(entry);
  writer.write<SegmentEntry>(
      {.kind = SectionKind::segment_index, .dtype = Dtype::u32, .columns = sizeof(SegmentEntry) / 4},
      std::span(&entry, 1));
  writer.finish();
}

}  // namespace

TEST_CASE("a pool is keyed by split, epoch, worker and batch") {
  const test::TemporaryFolder folder;
  write_pool(folder / "samples.zst");
  const SamplePool pool(folder / "samples.zst");
  REQUIRE(pool.entries().size() == keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    CHECK(pool.find(keys[i]) == i);
    CHECK(pool.entries()[i].frame_offset % 4096 == 0);
    CHECK(pool.read_input_nodes(pool.entries()[i]) == std::vector{NodeId{3}});
    const AlignedBuffer raw = pool.read_frame(pool.entries()[i]);
    BatchFrame frame;
    parse_batch_frame(raw.bytes(), "a frame", true, frame);
    CHECK(frame.seeds.front() == NodeId{3});
  }
  EXPECT_ERROR(pool.find({Split::train, 0, 0, 1}), Kind::config, "there is no train epoch 0 batch 1");
  EXPECT_ERROR(pool.find({Split::train, 9, 2, 1}), Kind::config, "worker 2");
  CHECK(to_string(keys[1]) == "train epoch 0 batch 1 worker 3");
}

TEST_CASE("sizes that a pool's counts do not justify are refused before they are allocated") {
  const test::TemporaryFolder folder;
  const auto expect_refused = [&](const std::function<void(BatchEntry&)>& change) {
    write_pool(folder / "bad", change);
    EXPECT_ERROR(SamplePool(folder / "bad"), Kind::corruption, "an entry of the index is damaged");
  };
  expect_refused([](BatchEntry& entry) { entry.frame_raw_bytes = 0xFFFFFFFFU; });
  expect_refused([](BatchEntry& entry) { entry.inputs_raw_bytes = 64U << 20; });
  expect_refused([](BatchEntry& entry) { entry.frame_bytes = 0xFFFFFFFFU; });
  expect_refused([](BatchEntry& entry) { entry.inputs_bytes = 1U << 20; });
  expect_refused([](BatchEntry& entry) { entry.disk_rows = 0xFFFFFFFFU; });
  expect_refused([](BatchEntry& entry) { entry.cpu_rows = 0xFFFFFFFFU; });
  expect_refused([](BatchEntry& entry) { entry.seed_count = 2; });
  expect_refused([](BatchEntry& entry) { entry.hidden_count = 0xFFFFFFFFU; });
  expect_refused([](BatchEntry& entry) { entry.inner_edge_count = 1; });
  expect_refused([](BatchEntry& entry) { entry.key.split = static_cast<Split>(3); });
}

TEST_CASE("a frame that would decompress to more than its entry says is refused unread") {
  const test::TemporaryFolder folder;
  write_pool(folder / "bomb", [](BatchEntry& entry) {
    // Counts that would justify 4 GiB; the compressed bytes say how many they really hold.
    entry.edge_count = 0xFFFFFFFFU;
    entry.frame_raw_bytes = 0xFFFFFF00U;
  });
  const SamplePool pool(folder / "bomb");
  EXPECT_ERROR(pool.read_frame(pool.entries()[0]), Kind::corruption,
               "does not decompress to 4294967040 bytes");
}

TEST_CASE("frames whose compressed bytes are damaged are named") {
  const test::TemporaryFolder folder;
  write_pool(folder / "p", [](BatchEntry& entry) { entry.frame_xxh3 ^= 1; });
  const SamplePool pool(folder / "p");
  EXPECT_ERROR(pool.read_frame(pool.entries()[1]), Kind::corruption, "train epoch 0 batch 1 worker 3");
  write_pool(folder / "q", [](BatchEntry& entry) { entry.input_count = 2; });
  const SamplePool other(folder / "q");
  EXPECT_ERROR(other.read_input_nodes(other.entries()[0]), Kind::corruption, "its index says 2");
}

TEST_CASE("a pack gives back its segments, checked") {
  const test::TemporaryFolder folder;
  write_pack(folder / "pack.bin", [](SegmentEntry&) {});
  const PackFile pack(folder / "pack.bin");
  CHECK(pack.entries().size() == 1);
  pack.verify(nullptr);
}

TEST_CASE("a pack's index that points outside of its segments is refused") {
  const test::TemporaryFolder folder;
  const auto expect_refused = [&](const std::function<void(SegmentEntry&)>& change) {
    write_pack(folder / "bad", change);
    EXPECT_ERROR(PackFile(folder / "bad"), Kind::corruption, "an entry of the index is damaged");
  };
  expect_refused([](SegmentEntry& entry) { entry.offset += 4096; });
  expect_refused([](SegmentEntry& entry) { entry.bytes *= 2; });
  expect_refused([](SegmentEntry& entry) { entry.row_bytes = 0; });
  expect_refused([](SegmentEntry& entry) { entry.row_count = 4096; });
  expect_refused([](SegmentEntry& entry) {
    entry.row_count = 100'000;
    entry.bytes = segment_bytes_for(100'000, 8);
  });
  expect_refused([](SegmentEntry& entry) {  // rows, trailer and checksums wrap around to a small size
    entry.row_count = 0xFFFFFFFFU;
    entry.row_bytes = 0xFFFFFFFFU;
    entry.bytes = segment_bytes_for(0xFFFFFFFFU, 0xFFFFFFFFU);
  });
  expect_refused([](SegmentEntry& entry) { entry.key.split = static_cast<Split>(9); });
}

TEST_CASE("any damage of a segment's rows, trailer or checksums is found, with its place") {
  RandomStream random(1);
  std::vector<std::byte> rows(150'000);  // three checksum blocks, the last one short
  for (std::byte& value : rows) value = static_cast<std::byte>(random.next());
  const SegmentEntry entry{.key = {Split::train, 2, 0, 5},
                           .offset = 8192,
                           .bytes = segment_bytes_for(1500, 100),
                           .row_count = 1500,
                           .row_bytes = 100};
  std::vector<std::byte> segment(entry.bytes);
  std::ranges::copy(rows, segment.begin());
  std::vector<std::uint64_t> sums;
  for (std::size_t at = 0; at < rows.size(); at += 65536)
    sums.push_back(checksum(std::span(rows).subspan(at, std::min<std::size_t>(65536, rows.size() - at))));
  const auto trailer = build_segment_trailer(entry.key, rows.size(), sums);
  std::ranges::copy(trailer, segment.begin() + 150'000);
  check_segment(entry, segment, "pack.bin");
  for (std::size_t at = 0; at < 150'000 + trailer.size(); at += at < 149'000 ? 997 : 1) {
    segment[at] ^= std::byte{0x40};
    EXPECT_ERROR(check_segment(entry, segment, "pack.bin"), Kind::corruption, "train epoch 2 batch 5");
    segment[at] ^= std::byte{0x40};
  }
  segment[140'000] ^= std::byte{1};
  EXPECT_ERROR(check_segment(entry, segment, "pack.bin"), Kind::corruption, "18928 bytes at byte 139264");
  segment[140'000] ^= std::byte{1};
  SegmentEntry other = entry;  // another batch's segment in this one's place
  other.key.batch = 6;
  EXPECT_ERROR(check_segment(other, segment, "pack.bin"), Kind::corruption, "is damaged");
}

TEST_CASE("threads that share a segment's checking tell of the first damage, as one would") {
  RandomStream random(2);
  const std::uint64_t rows_bytes = 2'000'000;  // four pieces
  const SegmentEntry entry{.key = {Split::train, 0, 0, 1},
                           .offset = 4096,
                           .bytes = segment_bytes_for(1000, 2000),
                           .row_count = 1000,
                           .row_bytes = 2000};
  std::vector<std::byte> segment(entry.bytes);
  for (std::byte& value : segment) value = static_cast<std::byte>(random.next());
  std::vector<std::uint64_t> sums;
  for (std::size_t at = 0; at < rows_bytes; at += 65536) {
    sums.push_back(checksum(std::span(segment).subspan(at, std::min<std::size_t>(65536, rows_bytes - at))));
  }
  std::ranges::copy(build_segment_trailer(entry.key, rows_bytes, sums), segment.begin() + rows_bytes);
  ThreadPool pool(3);
  check_segment(entry, segment, "pack.bin", &pool);
  segment[1'999'999] ^= std::byte{1};
  EXPECT_ERROR(check_segment(entry, segment, "pack.bin", &pool), Kind::corruption,
               "33920 bytes at byte 1970176");
  for (int again = 0; again < 20; ++again) {
    segment[600'000] ^= std::byte{1};  // in a block of the second piece, beside that of the last
    EXPECT_ERROR(check_segment(entry, segment, "pack.bin", &pool), Kind::corruption,
                 "65536 bytes at byte 593920");
    segment[600'000] ^= std::byte{1};
  }
}

}  // namespace gneiss
