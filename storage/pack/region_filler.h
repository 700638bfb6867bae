// Fills all regions of shared rows in memory during one scan, and then writes them in one sweep.
//
// Memory:  the regions and 8 bytes a row; while the rows are sorted by node, 8 more.
// Crash:   save() puts what is filled so far where it belongs in pack.bin, with a checksum of its rows.
// Errors:  io, corruption, cancelled.
#pragma once

#include "storage/pack/node_places.h"
#include "storage/pack/region_task.h"

namespace gneiss {

class RegionFiller {
 public:
  explicit RegionFiller(const RegionTask& task);

  // The rows of nodes from first_node on; calls come in node order.
  void take_rows(std::uint64_t first_node, std::span<const std::byte> rows);
  // All rows of nodes below `node` have come, and no others are told of.
  void save(std::uint64_t node, std::vector<std::uint64_t>& numbers);
  void go_on(CheckpointReader& saved, std::uint64_t node);
  void write();  // after the scan, with the pages' checksums; durable when the writer's file is synced

 private:
  void zero_padding();  // what no row covers
  std::size_t first_of(std::uint64_t node) const;
  void checksum_until(std::size_t end);
  std::span<const std::byte> row(const NodePlace& place) const {
    return buffer_.bytes().subspan(place.place * unit_, task_.row_bytes);
  }
  void write_all(bool takes_checksums);

  const RegionTask task_;
  const std::uint64_t unit_;  // of places
  AlignedBuffer buffer_;      // as the regions are in the file
  std::vector<NodePlace> wanted_;
  std::size_t next_ = 0;
  StreamChecksum passed_;  // of the rows of wanted_[0, summed_)
  std::size_t summed_ = 0;
};

}  // namespace gneiss
