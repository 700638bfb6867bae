// What the batches of a pack read, read ahead: each batch's bytes, whatever their sizes; damage where it is.
#include "storage/format/segment_reader.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "storage/base/random.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace gneiss::test {
namespace {

constexpr std::uint32_t row_bytes = 1000;

struct Batch {
  SegmentEntry entry{};
  std::vector<std::byte> rows;
};

// A pack with a segment of so many rows for each batch; 0: a batch that reads nothing.
std::vector<Batch> write_pack(const std::filesystem::path& path, const std::vector<std::uint32_t>& counts) {
  SectionWriter writer(path, pack_magic, 1);
  std::uint64_t all = 0;
  for (const std::uint32_t count : counts) all += segment_bytes_for(count, row_bytes);
  std::uint64_t offset = writer.reserve({.kind = SectionKind::segments, .dtype = Dtype::u8}, all);
  RandomStream random(counts.size());
  std::vector<Batch> batches;
  std::vector<SegmentEntry> entries;
  for (const std::uint32_t count : counts) {
    Batch& batch = batches.emplace_back();
    batch.entry = {.key = {.batch = static_cast<std::uint32_t>(entries.size())},
                   .offset = offset,
                   .bytes = segment_bytes_for(count, row_bytes),
                   .row_count = count,
                   .row_bytes = row_bytes};
    entries.push_back(batch.entry);
    if (count == 0) continue;
    batch.rows.resize(std::size_t{count} * row_bytes);
    for (std::size_t at = 0; at < batch.rows.size(); at += 64) batch.rows[at] = std::byte(random.below(256));
    std::vector<std::uint64_t> checksums;
    for (std::size_t at = 0; at < batch.rows.size(); at += segment_checksum_block_bytes) {
      checksums.push_back(checksum(
          std::span(batch.rows)
              .subspan(at, std::min<std::size_t>(segment_checksum_block_bytes, batch.rows.size() - at))));
    }
    writer.file().write_at(offset, batch.rows);
    writer.file().write_at(offset + round_up(batch.rows.size(), 8),
                           build_segment_trailer(batch.entry.key, batch.rows.size(), checksums));
    offset += batch.entry.bytes;
  }
  writer.write<SegmentEntry>(
      {.kind = SectionKind::segment_index, .dtype = Dtype::u32, .columns = sizeof(SegmentEntry) / 4},
      entries);
  writer.finish();
  return batches;
}

// Reads go around the ring several times: it is of 8 MiB, or twice the largest segment.
std::vector<std::uint32_t> sizes(std::uint64_t seed, std::uint32_t largest) {
  RandomStream random(seed);
  std::vector<std::uint32_t> counts;
  for (std::uint64_t bytes = 0; bytes < 5 * std::max(2ULL * largest * row_bytes, 8ULL << 20);) {
    // Many small ones, few large, and some that read nothing.
    const auto count = static_cast<std::uint32_t>(random.below(1 + largest / (1 + random.below(8))));
    counts.push_back(random.below(5) == 0 ? 0 : count);
    bytes += std::uint64_t{counts.back()} * row_bytes;
  }
  return counts;
}

}  // namespace

TEST_CASE("each batch's bytes come in turn, whatever their sizes") {
  const TemporaryFolder folder;
  for (const std::uint32_t largest : {40U, 3'000U, 9'000U}) {
    CAPTURE(largest);
    std::vector<std::uint32_t> counts = sizes(largest, largest);
    counts.insert(counts.begin(), {0, 0});
    counts.push_back(largest);
    counts.push_back(0);
    const std::vector<Batch> batches = write_pack(folder / "pack", counts);
    const PackFile pack(folder / "pack");
    SegmentReader stream(pack);
    for (std::size_t batch = 0; batch < batches.size(); ++batch) {
      const auto bytes = stream.next();
      REQUIRE(bytes.size() == batches[batch].entry.bytes);
      REQUIRE(std::ranges::equal(bytes.first(batches[batch].rows.size()), batches[batch].rows));
      pack.check(batch, bytes);
    }
    pack.verify(nullptr);
  }
}

TEST_CASE("a pack without a batch, and one whose batches read nothing, is whole") {
  const TemporaryFolder folder;
  for (const std::vector<std::uint32_t>& counts : {std::vector<std::uint32_t>{}, {0, 0, 0}}) {
    write_pack(folder / "pack", counts);
    PackFile(folder / "pack").verify(nullptr);
  }
}

TEST_CASE(
    "of several damaged segments the first is told, and of a pack that was cut the first that is gone") {
  const TemporaryFolder folder;
  const std::vector<Batch> batches = write_pack(folder / "pack", std::vector<std::uint32_t>(30, 1'500));
  const auto flip = [&](std::size_t batch) {
    const File file = File::open_existing(folder / "pack");
    std::array<std::byte, 1> byte{};
    file.read_at(batches[batch].entry.offset + 70'000, byte);
    byte[0] ^= std::byte{4};
    file.write_at(batches[batch].entry.offset + 70'000, byte);
  };
  for (const std::size_t batch : {28U, 20U, 3U}) {
    flip(batch);
    EXPECT_ERROR(PackFile(folder / "pack").verify(nullptr), Kind::corruption,
                 "the segment of train epoch 0 batch " + std::to_string(batch));
  }
  const PackFile pack(folder / "pack");
  for (const std::size_t batch : {29U, 12U}) {
    // Opened before it was cut, and after.
    SegmentReader stream(pack);
    const File file = File::open_existing(folder / "pack");
    const std::uint64_t end = file.size();
    file.resize(batches[batch].entry.offset + (2U << 20) / 3);
    SegmentReader late(pack);
    for (SegmentReader* each : {&stream, &late}) {
      const auto read_all = [&] {
        for (std::size_t i = 0; i < batches.size(); ++i) each->next();
      };
      // What was read ahead before the cut is there.
      if (each == &stream && batch * batches[0].entry.bytes < (8U << 20)) continue;
      EXPECT_ERROR(read_all(), Kind::corruption, "was cut short");
    }
    file.resize(end);
  }
}

}  // namespace gneiss::test
