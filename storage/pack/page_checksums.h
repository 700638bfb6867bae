// The checksum of each page of the regions of shared rows, by its number.
//
// Memory:  8 bytes for each 4 KiB.
// Threads: take() of other pages may run at the same time.
#pragma once

#include <algorithm>
#include <vector>

#include "storage/base/checksum.h"
#include "storage/format/checkpoint.h"
#include "storage/format/pack_file.h"

namespace gneiss {

class PageChecksums {
 public:
  explicit PageChecksums(std::uint64_t region_bytes) : checksums_(region_bytes / shared_page_bytes) {}

  // Whole pages, from `region_offset` of all regions on.
  void take(std::uint64_t region_offset, std::span<const std::byte> bytes) {
    for (std::uint64_t at = 0; at < bytes.size(); at += shared_page_bytes) {
      checksums_[(region_offset + at) / shared_page_bytes] = checksum(bytes.subspan(at, shared_page_bytes));
    }
  }
  std::vector<std::uint64_t> of(std::span<const Extent> extents) const {
    std::vector<std::uint64_t> all;
    for (const Extent& extent : extents) {
      const auto first = checksums_.begin() + static_cast<std::ptrdiff_t>(extent.offset / shared_page_bytes);
      all.insert(all.end(), first, first + static_cast<std::ptrdiff_t>(extent.bytes / shared_page_bytes));
    }
    return all;
  }
  // Of the first `region_bytes`.
  void save(std::uint64_t region_bytes, std::vector<std::uint64_t>& numbers) const {
    const auto count = static_cast<std::ptrdiff_t>(region_bytes / shared_page_bytes);
    numbers.insert(numbers.end(), checksums_.begin(), checksums_.begin() + count);
  }
  void go_on(CheckpointReader& saved, std::uint64_t region_bytes) {
    std::ranges::copy(saved.take_many(region_bytes / shared_page_bytes), checksums_.begin());
  }

 private:
  std::vector<std::uint64_t> checksums_;
};

}  // namespace gneiss
