#include "storage/pack/shared_packer.h"

#include <algorithm>
#include <cmath>

#include "storage/base/error.h"
#include "storage/base/progress.h"
#include "storage/base/stopwatch.h"
#include "storage/format/preparation.h"
#include "storage/io/write_behind.h"
#include "storage/pack/feature_scan.h"
#include "storage/pack/pack_checkpoint.h"
#include "storage/pack/region_dealer.h"
#include "storage/pack/region_filler.h"
#include "storage/pack/tier_image.h"

namespace gneiss {
namespace {

constexpr std::uint64_t part_piece_bytes_max = 1U << 20;
constexpr std::uint64_t part_piece_bytes_min = segment_checksum_block_bytes;

// How far packing has come.
enum class Phase : std::uint64_t { scanning, ordering, trailers };

class SharedPacker {
 public:
  SharedPacker(const PackTask& task, const SharedLayout& layout, ThreadPool& pool,
               std::optional<CheckpointReader> saved)
      : task_(task),
        layout_(layout),
        features_(task.dataset->features()),
        pack_(task.folder / pack_file_name, pack_magic, task.dataset->fingerprint(),
              saved                     ? Unfinished::go_on
              : task.checkpoint_seconds ? Unfinished::keep
                                        : Unfinished::remove),
        first_region_(pack_.reserve({.kind = SectionKind::segments, .dtype = Dtype::u8}, layout.bytes())),
        direct_(pack_.file().reopen_direct(/*writable=*/true)),
        checksums_(layout.region_offsets.back()),
        region_{.pack = &task,
                .layout = &layout,
                .shape = choose_region_shape(layout, task.dataset->info().row_bytes(), task.memory_bytes),
                .row_bytes = task.dataset->info().row_bytes(),
                .file = direct_ ? &direct_ : &pack_.file(),
                .first_region = first_region_,
                .writer = &writer_,
                .checksums = &checksums_,
                .pool = &pool},
        tiers_(task),
        timer_(task.checkpoint_seconds.value_or(0)),
        writer_(*region_.file, region_.shape.piece_bytes,
                writes_in_flight(task.memory_bytes, region_.shape.piece_bytes)) {
    if (region_.shape.is_in_memory) {
      filler_.emplace(region_);
    } else {
      dealer_.emplace(region_);
    }
    if (saved) {
      go_on(*saved);
    } else {
      begin_scan();
    }
    tiers_.begin();
  }

  PackResult pack() {
    const Stopwatch clock;
    PackResult result{.segment_bytes = layout_.bytes(),
                      .parts = dealer_ ? static_cast<std::uint32_t>(dealer_->part_count()) : 0};
    if (phase_ == Phase::scanning) scan(result);
    if (phase_ == Phase::ordering) order();
    write_trailers();
    pack_.finish();
    result.seconds = clock.seconds();
    return result;
  }

 private:
  void begin_scan() {
    if (!dealer_) return;
    pack_.file().reserve(first_region_ + layout_.region_offsets.back() + dealer_->shift_bytes());
    dealer_->begin_dealing();
  }

  void scan(PackResult& result) {
    const SectionEntry& rows = features_.require(SectionKind::feature_rows);
    Progress progress("packing", rows.bytes, Progress::Unit::bytes);
    const auto take_rows = [&](std::uint64_t node, std::span<const std::byte> bytes) {
      tiers_.take_rows(node, bytes);
      if (filler_) filler_->take_rows(node, bytes);
      if (dealer_) dealer_->take_rows(node, bytes);
    };
    result.bytes_read += scan_features(features_, first_node_, progress, take_rows, [&](std::uint64_t node) {
      first_node_ = node;
      if (task_.checkpoint_seconds && timer_.is_due()) timer_.take([&] { save(); });
    });
    if (filler_) filler_->write();
    if (dealer_) dealer_->end_dealing();
    tiers_.finish();
    ++result.scans;
    phase_ = dealer_ ? Phase::ordering : Phase::trailers;
    save();
  }

  void order() {
    Progress progress("ordering shared rows on the drive", dealer_->part_count(), Progress::Unit::items);
    dealer_->order([&] { return task_.checkpoint_seconds && timer_.is_due(); },
                   [&] { timer_.take([&] { save(); }); }, progress);
    phase_ = Phase::trailers;
    save();
  }

  // What stands in the files now is made durable, and then recorded.
  void save() {
    if (!task_.checkpoint_seconds) return;
    std::vector<std::uint64_t> numbers{layout_.bytes(),
                                       region_.shape.is_in_memory ? 0 : region_.shape.part_bytes,
                                       static_cast<std::uint64_t>(phase_)};
    if (phase_ == Phase::scanning) {
      numbers.push_back(first_node_);
      tiers_.save(numbers);
      if (filler_) filler_->save(first_node_, numbers);
      if (dealer_) dealer_->save_dealing(numbers);
    } else if (phase_ == Phase::ordering) {
      dealer_->save_ordering(numbers);
    } else {
      checksums_.save(layout_.region_offsets.back(), numbers);
    }
    region_.file->sync();
    write_pack_checkpoint(task_, numbers);
  }

  void go_on(CheckpointReader& saved) {
    const std::uint64_t bytes = saved.take();
    const std::uint64_t part_bytes = saved.take();
    phase_ = static_cast<Phase>(saved.take(static_cast<std::uint64_t>(Phase::trailers)));
    const bool is_other_shape = part_bytes != (region_.shape.is_in_memory ? 0 : region_.shape.part_bytes);
    // What is in order does not depend on how it came to be.
    if (bytes != layout_.bytes() || (is_other_shape && phase_ != Phase::trailers) ||
        (phase_ == Phase::ordering && !dealer_)) {
      fail(Kind::corruption, "{} was begun with another layout or other memory", pack_.file().path());
    }
    if (phase_ == Phase::scanning) {
      begin_scan();
      first_node_ = saved.take(task_.dataset->info().node_count);
      tiers_.go_on(saved, first_node_);
      if (filler_) filler_->go_on(saved, first_node_);
      if (dealer_) dealer_->go_on_dealing(saved, first_node_);
      return;
    }
    tiers_.expect_written();
    if (phase_ == Phase::trailers) {
      checksums_.go_on(saved, layout_.region_offsets.back());
    } else {
      const bool is_whole =
          pack_.file().size() >= first_region_ + layout_.region_offsets.back() + dealer_->shift_bytes();
      if (!is_whole) fail(Kind::corruption, "{} is cut short", pack_.file().path());
      dealer_->go_on_ordering(saved);
    }
  }

  void write_trailers() {
    // Where rows were dealt to behind the regions, zeros come to stand.
    pack_.file().resize(first_region_ + layout_.region_offsets.back());
    pack_.file().resize(first_region_ + layout_.bytes());
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
                         .row_bytes = static_cast<std::uint32_t>(region_.row_bytes)});
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
  const SectionFile& features_;
  SectionWriter pack_;
  const std::uint64_t first_region_;
  const File direct_;
  PageChecksums checksums_;
  const RegionTask region_;
  TiersInScan tiers_;
  CheckpointTimer timer_;
  Phase phase_ = Phase::scanning;
  std::uint64_t first_node_ = 0;        // the scan at work: rows of nodes below have passed
  std::optional<RegionFiller> filler_;  // one of these two
  std::optional<RegionDealer> dealer_;
  WriteBehind writer_;  // last: what it writes outlives it
};

}  // namespace

RegionShape choose_region_shape(const SharedLayout& layout, std::uint64_t row_bytes,
                                std::uint64_t memory_bytes) {
  constexpr std::uint64_t least_budget = 4U << 20;
  constexpr std::uint64_t usual_part_bytes = 16U << 20;
  constexpr std::uint64_t bytes_a_row = 2 * sizeof(NodePlace);
  const std::uint64_t regions = layout.region_offsets.back();
  const std::uint64_t budget = std::max(least_budget, memory_bytes / 2);
  if (regions + regions / row_bytes * bytes_a_row <= budget &&
      regions / page_row_unit(row_bytes) <= 0xFFFFFFFFU) {
    return {.is_in_memory = true, .part_bytes = 0, .piece_bytes = part_piece_bytes_max};
  }
  // Dealing takes a piece for each part, ordering two parts: least memory where these are alike.
  const auto alike = static_cast<std::uint64_t>(
      std::sqrt(static_cast<double>(regions) * static_cast<double>(part_piece_bytes_max)));
  const std::uint64_t part = std::min(budget / 3, std::max(usual_part_bytes, alike));
  const std::uint64_t parts = regions / part + layout.groups.size();
  return {.is_in_memory = false,
          .part_bytes = part,
          .piece_bytes = std::clamp(round_down(budget / parts, part_piece_bytes_min), part_piece_bytes_min,
                                    part_piece_bytes_max)};
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
