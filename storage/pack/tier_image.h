// Streams the rows of the tiers in memory into cpu.bin and gpu.bin during a scan, which meets them in slot
// order.
//
// Crash: with save() and go_on() a later image takes up the file where this one left it.
#pragma once

#include <algorithm>
#include <deque>
#include <filesystem>
#include <optional>
#include <span>

#include "storage/format/checkpoint.h"
#include "storage/format/dataset.h"
#include "storage/format/section_file.h"
#include "storage/pack/packer.h"

namespace gneiss {

// What an image holds: the rows of `nodes`, slot by slot.
struct TierContent {
  const char* file_name = nullptr;
  Magic magic{};
  std::span<const NodeId> nodes;              // ascending
  std::span<const std::uint32_t> moves = {};  // of `belady`

  std::size_t rows_below(std::uint64_t node) const;
};

class TierImage {
 public:
  TierImage(const Dataset& dataset, const TierContent& content, const std::filesystem::path& folder,
            Unfinished unfinished = Unfinished::remove);
  // Behind what an earlier image has saved. Throws Error(corruption) unless that is there, and is all rows of
  // nodes below `first_node`.
  TierImage(const Dataset& dataset, const TierContent& content, const std::filesystem::path& folder,
            CheckpointReader& numbers, std::uint64_t first_node);
  // The rows of nodes from first_node on; calls come in node order.
  void take_rows(std::uint64_t first_node, std::span<const std::byte> rows);
  void save(std::vector<std::uint64_t>& numbers);
  void finish();  // after the scan

 private:
  const TierContent content_;
  std::uint64_t row_bytes_;
  SectionWriter file_;
  std::size_t next_ = 0;
};

// An image as a part of packing: written by the first scan, and by no other.
class TierInScan {
 public:
  // Is written already where an earlier run has done so.
  TierInScan(const PackTask& task, const TierContent& content);
  void begin();  // unless it is written, or in work
  bool is_written() const noexcept { return is_written_; }
  bool is_in_work() const noexcept { return image_.has_value(); }
  void take_rows(std::uint64_t first_node, std::span<const std::byte> rows) {
    if (image_) image_->take_rows(first_node, rows);
  }
  void finish();                // after the scan
  void expect_written() const;  // throws Error(corruption)
  // Of a scan that has come to `node`. go_on() throws Error(corruption) where it can neither go on nor is
  // written.
  void save(std::vector<std::uint64_t>& numbers);
  void go_on(CheckpointReader& saved, std::uint64_t node);
  void begin_anew() { image_.reset(); }

 private:
  const PackTask& task_;
  const TierContent content_;
  std::optional<TierImage> image_;
  bool is_written_ = false;
};

// The images of a plan: the cpu tier's, and the gpu tier's where it has rows.
class TiersInScan {
 public:
  explicit TiersInScan(const PackTask& task);
  void begin() { each(&TierInScan::begin); }
  bool is_in_work() const { return std::ranges::any_of(images_, &TierInScan::is_in_work); }
  void take_rows(std::uint64_t first_node, std::span<const std::byte> rows) {
    for (TierInScan& image : images_) image.take_rows(first_node, rows);
  }
  void finish() { each(&TierInScan::finish); }
  void expect_written() const { std::ranges::for_each(images_, &TierInScan::expect_written); }
  void save(std::vector<std::uint64_t>& numbers) {
    for (TierInScan& image : images_) image.save(numbers);
  }
  void go_on(CheckpointReader& saved, std::uint64_t node) {
    for (TierInScan& image : images_) image.go_on(saved, node);
  }
  void begin_anew() { each(&TierInScan::begin_anew); }

 private:
  void each(void (TierInScan::*call)()) {
    for (TierInScan& image : images_) (image.*call)();
  }
  std::deque<TierInScan> images_;  // they stay where they are
};

}  // namespace gneiss
