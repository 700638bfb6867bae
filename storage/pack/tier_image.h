// Streams the cpu tier's rows into cpu.bin during a scan, which meets them in slot order.
#pragma once

#include <filesystem>
#include <span>

#include "storage/format/dataset.h"
#include "storage/format/section_file.h"
#include "storage/pack/tier_planner.h"

namespace gneiss {

class TierImage {
 public:
  TierImage(const Dataset& dataset, const TierPlan& plan, const std::filesystem::path& folder);
  // The rows of nodes from first_node on; calls come in node order.
  void take_rows(std::uint64_t first_node, std::span<const std::byte> rows);
  void finish();  // after the scan

 private:
  const TierPlan& plan_;
  std::uint64_t row_bytes_;
  SectionWriter file_;
  std::size_t next_ = 0;
};

}  // namespace gneiss
