// Streams the cpu tier's rows into cpu.bin during a scan, which meets them in slot order.
//
// Crash: with save() and go_on() a later image takes up the file where this one left it.
#pragma once

#include <filesystem>
#include <optional>
#include <span>

#include "storage/format/checkpoint.h"
#include "storage/format/dataset.h"
#include "storage/format/section_file.h"
#include "storage/pack/packer.h"

namespace gneiss {

class TierImage {
 public:
  TierImage(const Dataset& dataset, const TierPlan& plan, const std::filesystem::path& folder,
            Unfinished unfinished = Unfinished::remove);
  // Behind what an earlier image has saved. Throws Error(corruption) unless that is there, and is all rows of
  // nodes below `first_node`.
  TierImage(const Dataset& dataset, const TierPlan& plan, const std::filesystem::path& folder,
            CheckpointReader& numbers, std::uint64_t first_node);
  // The rows of nodes from first_node on; calls come in node order.
  void take_rows(std::uint64_t first_node, std::span<const std::byte> rows);
  // The rows of nodes below `node` that the image begins with.
  static std::size_t rows_below(const TierPlan& plan, std::uint64_t node);
  void save(std::vector<std::uint64_t>& numbers);
  void finish();  // after the scan

 private:
  const TierPlan& plan_;
  std::uint64_t row_bytes_;
  SectionWriter file_;
  std::size_t next_ = 0;
};

// The image as a part of packing: written by the first scan, and by no other.
class TierInScan {
 public:
  explicit TierInScan(const PackTask& task);  // is written already where an earlier run has done so
  void begin();                               // unless it is written, or in work
  bool is_written() const noexcept { return is_written_; }
  bool is_in_work() const noexcept { return image_.has_value(); }
  void take_rows(std::uint64_t first_node, std::span<const std::byte> rows) {
    if (image_) image_->take_rows(first_node, rows);
  }
  void finish();  // after the scan
  // Of a scan that has come to `node`. go_on() throws Error(corruption) where it can neither go on nor is
  // written.
  void save(std::vector<std::uint64_t>& numbers);
  void go_on(CheckpointReader& saved, std::uint64_t node);
  void begin_anew() { image_.reset(); }

 private:
  const PackTask& task_;
  std::optional<TierImage> image_;
  bool is_written_ = false;
};

}  // namespace gneiss
