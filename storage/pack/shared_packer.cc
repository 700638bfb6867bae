#include "storage/pack/shared_packer.h"

#include <algorithm>
#include <cstring>

#include "storage/base/cancel.h"
#include "storage/base/checksum.h"
#include "storage/base/error.h"
#include "storage/base/progress.h"
#include "storage/base/stopwatch.h"
#include "storage/format/preparation.h"
#include "storage/io/write_behind.h"
#include "storage/pack/feature_scan.h"
#include "storage/pack/pack_checkpoint.h"
#include "storage/pack/tier_image.h"

namespace gneiss {
namespace {

constexpr std::uint64_t page = shared_page_bytes;
constexpr std::size_t piece_bytes = 1U << 20;
constexpr std::uint64_t least_part_bytes = 1U << 20;

// A part of one group's region that one scan fills.
struct Part {
  std::size_t group = 0;
  std::uint64_t first_row = 0;
  std::uint64_t row_count = 0;
  std::uint64_t region_offset = 0;  // where it lies among the regions; a multiple of 4096
  std::uint64_t buffer_offset = 0;
  std::uint64_t bytes = 0;  // padded to 4096
};

// How far the regions are filled: all groups before, and so many rows of this one.
struct FilledUntil {
  std::size_t group = 0;
  std::uint64_t row = 0;
};

// Deals what is left of the regions to scans, each of which fills at most `scan_bytes`.
std::vector<std::vector<Part>> plan_scans(const SharedLayout& layout, std::uint64_t row_bytes,
                                          std::uint64_t scan_bytes, const FilledUntil& filled_until) {
  // Parts of a region begin at pages: so many rows are whole pages.
  const std::uint64_t rows_of_pages = page / page_row_unit(row_bytes);
  std::vector<std::vector<Part>> scans(1);
  std::uint64_t filled = 0;
  for (std::size_t group = filled_until.group; group < layout.groups.size(); ++group) {
    const std::uint64_t row_count = layout.region_nodes.size(group);
    for (std::uint64_t first = group == filled_until.group ? filled_until.row : 0; first < row_count;) {
      const std::uint64_t left = row_count - first;
      const std::uint64_t room = scan_bytes - filled;
      std::uint64_t rows = round_down(room / row_bytes, rows_of_pages);
      if (round_up(left * row_bytes, page) <= room) rows = left;
      if (rows == 0 && filled == 0) rows = std::min(left, rows_of_pages);  // rows larger than all memory
      if (rows == 0) {
        scans.emplace_back();
        filled = 0;
        continue;
      }
      const std::uint64_t bytes = round_up(rows * row_bytes, page);
      scans.back().push_back({.group = group,
                              .first_row = first,
                              .row_count = rows,
                              .region_offset = layout.region_offsets[group] + first * row_bytes,
                              .buffer_offset = filled,
                              .bytes = bytes});
      filled += bytes;
      first += rows;
    }
  }
  return scans;
}

// A row that a scan looks for, and where in the buffer it goes, in units of page_row_unit().
struct Wanted {
  NodeId node;
  std::uint32_t place;
};

// What one scan may fill: a row takes its bytes and its entry of the index; places are 32 bits.
std::uint64_t scan_bytes_of(std::uint64_t row_bytes, std::uint64_t memory_bytes) {
  const std::uint64_t share = memory_bytes / 2 / (row_bytes + sizeof(Wanted)) * row_bytes;
  return round_down(std::clamp(share, least_part_bytes, 0xFFFFFFFFU * page_row_unit(row_bytes)), page);
}

std::vector<Wanted> find_wanted(const SharedLayout& layout, std::span<const Part> parts,
                                std::uint64_t row_bytes) {
  const std::uint64_t unit = page_row_unit(row_bytes);
  std::vector<Wanted> wanted;
  std::uint64_t count = 0;
  for (const Part& part : parts) count += part.row_count;
  wanted.reserve(count);
  std::vector<NodeId> nodes(std::min<std::uint64_t>(count, 64U << 10));
  for (const Part& part : parts) {
    for (std::uint64_t at = 0; at < part.row_count; at += nodes.size()) {
      const auto window = std::span(nodes).first(std::min<std::uint64_t>(nodes.size(), part.row_count - at));
      layout.region_nodes.read(part.group, part.first_row + at, window);
      for (std::size_t i = 0; i < window.size(); ++i) {
        const std::uint64_t place = (part.buffer_offset + (at + i) * row_bytes) / unit;
        wanted.push_back({window[i], static_cast<std::uint32_t>(place)});
      }
    }
  }
  std::ranges::sort(wanted, {},
                    [](const Wanted& row) { return std::uint64_t{to_index(row.node)} << 32 | row.place; });
  return wanted;
}

// The checksum of each page of the file's regions, by its number.
class PageChecksums {
 public:
  explicit PageChecksums(std::uint64_t region_bytes) : checksums_(region_bytes / page) {}
  void take(std::uint64_t region_offset, std::span<const std::byte> bytes, ThreadPool& pool) {
    constexpr std::size_t pages_at_once = 256;
    const std::uint64_t pages = bytes.size() / page;
    pool.parallel_for(divide_up(pages, pages_at_once), [&](std::size_t piece, std::size_t) {
      const std::uint64_t end = std::min<std::uint64_t>(pages, (piece + 1) * pages_at_once);
      for (std::uint64_t i = piece * pages_at_once; i < end; ++i) {
        checksums_[region_offset / page + i] = checksum(bytes.subspan(i * page, page));
      }
    });
  }
  std::span<std::uint64_t> first(std::uint64_t region_bytes) {
    return std::span(checksums_).first(region_bytes / page);
  }
  std::vector<std::uint64_t> of(std::span<const Extent> extents) const {
    std::vector<std::uint64_t> all;
    for (const Extent& extent : extents) {
      const auto first = checksums_.begin() + static_cast<std::ptrdiff_t>(extent.offset / page);
      all.insert(all.end(), first, first + static_cast<std::ptrdiff_t>(extent.bytes / page));
    }
    return all;
  }

 private:
  std::vector<std::uint64_t> checksums_;
};

class SharedPacker {
 public:
  SharedPacker(const PackTask& task, const SharedLayout& layout, ThreadPool& pool,
               std::optional<CheckpointReader> saved)
      : task_(task),
        layout_(layout),
        pool_(pool),
        row_bytes_(task.dataset->info().row_bytes()),
        features_(task.dataset->features()),
        rows_(features_.require(SectionKind::feature_rows)),
        unfinished_(task.checkpoint_seconds ? Unfinished::keep : Unfinished::remove),
        pack_(task.folder / pack_file_name, pack_magic, task.dataset->fingerprint(),
              saved ? Unfinished::go_on : unfinished_),
        first_region_(pack_.reserve({.kind = SectionKind::segments, .dtype = Dtype::u8}, layout.bytes())),
        direct_(pack_.file().reopen_direct(/*writable=*/true)),
        writer_(direct_ ? direct_ : pack_.file(), piece_bytes,
                writes_in_flight(task.memory_bytes, piece_bytes)),
        checksums_(layout.region_offsets.back()) {
    is_tier_done_ = task.checkpoint_seconds && std::filesystem::exists(task.folder / cpu_tier_file_name);
    if (saved) go_on(*saved);
  }

  PackResult pack() {
    const Stopwatch clock;
    const std::uint64_t scan_bytes = scan_bytes_of(row_bytes_, task_.memory_bytes);
    const auto scans = plan_scans(layout_, row_bytes_, scan_bytes, filled_until_);
    std::uint64_t largest = 0;
    for (const auto& parts : scans) {
      if (!parts.empty()) largest = std::max(largest, parts.back().buffer_offset + parts.back().bytes);
    }
    AlignedBuffer buffer(largest);
    std::optional<TierImage> cpu_tier;
    if (!is_tier_done_) cpu_tier.emplace(*task_.dataset, *task_.plan, task_.folder, unfinished_);
    PackResult result{.segment_bytes = layout_.bytes()};
    Progress progress("packing", scans.size() * rows_.bytes, Progress::Unit::bytes);
    for (const auto& parts : scans) {
      if (parts.empty() && !cpu_tier) break;  // all was there
      fill(parts, buffer.bytes(), cpu_tier ? &*cpu_tier : nullptr, progress);
      if (cpu_tier) cpu_tier->finish();
      cpu_tier.reset();
      write_parts(parts, buffer.bytes());
      if (task_.checkpoint_seconds && !parts.empty()) save(parts.back());
      ++result.scans;
      result.bytes_read += rows_.bytes;
    }
    writer_.finish();
    write_trailers();
    pack_.finish();
    result.seconds = clock.seconds();
    return result;
  }

 private:
  // All parts until `last` are filled.
  void save(const Part& last) {
    writer_.finish();
    pack_.file().sync();
    const auto checksums = checksums_.first(last.region_offset + last.bytes);
    std::vector<std::uint64_t> numbers{layout_.bytes(), last.group, last.first_row + last.row_count};
    numbers.insert(numbers.end(), checksums.begin(), checksums.end());
    write_pack_checkpoint(task_, numbers);
  }

  void go_on(CheckpointReader& saved) {
    if (saved.take() != layout_.bytes() || !is_tier_done_) {
      fail(Kind::corruption, "{} is of another layout", pack_.file().path());
    }
    filled_until_.group = saved.take(layout_.groups.size() - 1);
    filled_until_.row = saved.take(layout_.region_nodes.size(filled_until_.group));
    const std::uint64_t bytes =
        layout_.region_offsets[filled_until_.group] + round_up(filled_until_.row * row_bytes_, page);
    const auto checksums = checksums_.first(bytes);
    std::ranges::copy(saved.take_many(checksums.size()), checksums.begin());
  }

  void fill(std::span<const Part> parts, std::span<std::byte> buffer, TierImage* cpu_tier,
            Progress& progress) {
    for (const Part& part : parts) {  // what no row covers is zero
      const std::uint64_t rows = part.row_count * row_bytes_;
      std::memset(buffer.data() + part.buffer_offset + rows, 0, part.bytes - rows);
    }
    const std::vector<Wanted> wanted = find_wanted(layout_, parts, row_bytes_);
    const std::uint64_t unit = page_row_unit(row_bytes_);
    auto next = wanted.begin();
    FeatureScan scan(features_, rows_);
    RowAligner aligner(row_bytes_);
    while (auto chunk = scan.next()) {
      throw_if_interrupted();
      const auto bytes = std::span<const std::byte>(chunk->bytes.bytes().first(chunk->size));
      aligner.feed(bytes, [&](std::uint64_t first_node, std::span<const std::byte> rows) {
        if (cpu_tier != nullptr) cpu_tier->take_rows(first_node, rows);
        const std::uint64_t end_node = first_node + rows.size() / row_bytes_;
        const auto last = std::partition_point(
            next, wanted.end(), [&](const Wanted& row) { return to_index(row.node) < end_node; });
        const auto count = static_cast<std::size_t>(last - next);
        constexpr std::size_t rows_at_once = 512;
        pool_.parallel_for(divide_up(count, rows_at_once), [&](std::size_t piece, std::size_t) {
          const std::size_t end = std::min(count, (piece + 1) * rows_at_once);
          for (std::size_t i = piece * rows_at_once; i < end; ++i) {
            const Wanted& row = next[static_cast<std::ptrdiff_t>(i)];
            std::memcpy(buffer.data() + row.place * unit,
                        rows.data() + (to_index(row.node) - first_node) * row_bytes_, row_bytes_);
          }
        });
        next = last;
      });
      progress.advance(chunk->size);
      scan.give_back(std::move(*chunk));
    }
    GNEISS_ASSERT(next == wanted.end());
  }

  void write_parts(std::span<const Part> parts, std::span<const std::byte> buffer) {
    AlignedBuffer piece(piece_bytes);
    for (const Part& part : parts) {
      throw_if_interrupted();
      const auto bytes = buffer.subspan(part.buffer_offset, part.bytes);
      checksums_.take(part.region_offset, bytes, pool_);
      for (std::uint64_t at = 0; at < bytes.size(); at += piece_bytes) {
        const auto from = bytes.subspan(at, std::min<std::uint64_t>(piece_bytes, bytes.size() - at));
        std::memcpy(piece.data(), from.data(), from.size());
        writer_.write(first_region_ + part.region_offset + at, piece, from.size());
      }
    }
  }

  void write_trailers() {
    std::vector<SegmentEntry> entries;
    std::vector<std::uint32_t> counts;
    std::vector<Extent> extents(layout_.extents);
    for (Extent& extent : extents) extent.offset += first_region_;
    std::uint64_t offset = first_region_ + layout_.region_offsets.back();
    for (std::size_t batch = 0; batch < task_.keys.size(); ++batch) {
      const auto read = layout_.extents_of(batch);
      const std::uint64_t trailer_bytes = layout_.read_bytes(batch) - layout_.extent_bytes(batch);
      entries.push_back({.key = task_.keys[batch],
                         .offset = offset,
                         .bytes = layout_.read_bytes(batch),
                         .row_count = task_.rows[batch].disk_rows,
                         .row_bytes = static_cast<std::uint32_t>(row_bytes_)});
      counts.push_back(static_cast<std::uint32_t>(read.size()));
      if (trailer_bytes == 0) continue;
      const auto trailer = build_shared_trailer(task_.keys[batch], checksums_.of(read));
      GNEISS_ASSERT(trailer.size() == trailer_bytes);
      pack_.file().write_at(offset, trailer);
      offset += trailer_bytes;
    }
    pack_.write<SegmentEntry>(
        {.kind = SectionKind::segment_index, .dtype = Dtype::u32, .columns = sizeof(SegmentEntry) / 4},
        entries);
    pack_.write<Extent>({.kind = SectionKind::segment_extents, .dtype = Dtype::u64, .columns = 2}, extents);
    pack_.write<std::uint32_t>({.kind = SectionKind::segment_extent_counts, .dtype = Dtype::u32}, counts);
  }

  const PackTask& task_;
  const SharedLayout& layout_;
  ThreadPool& pool_;
  const std::uint64_t row_bytes_;
  const SectionFile& features_;
  const SectionEntry& rows_;
  const Unfinished unfinished_;
  SectionWriter pack_;
  const std::uint64_t first_region_;
  const File direct_;
  WriteBehind writer_;
  PageChecksums checksums_;
  FilledUntil filled_until_;
  bool is_tier_done_ = false;  // by an earlier run
};

}  // namespace

std::uint32_t count_shared_scans(const SharedLayout& layout, std::uint64_t row_bytes,
                                 std::uint64_t memory_bytes) {
  return static_cast<std::uint32_t>(
      plan_scans(layout, row_bytes, scan_bytes_of(row_bytes, memory_bytes), {}).size());
}

PackResult pack_shared_features(const PackTask& task, const SharedLayout& layout, ThreadPool& pool) {
  return go_on_or_begin<SharedPacker>(task,
                                      [&](std::optional<CheckpointReader> saved) {
                                        return std::make_unique<SharedPacker>(task, layout, pool,
                                                                              std::move(saved));
                                      })
      ->pack();
}

}  // namespace gneiss
