// Fills the regions of shared rows where memory does not hold them: rows are dealt to parts on the drive, and
// each part is then put in order.
//
// How:     a part is a stretch of a region. One scan deals each part its rows in node order, as batches get
//          theirs in packer.h. The dealt rows lie in pack.bin itself, `shift` bytes behind where they belong.
//          Part by part they are then read, one part ahead, put in order in memory and written to their
//          place.
// Why:     the drive reads the features once, and the regions are written twice and read once, whatever the
//          memory; filling as much as memory holds in each of several scans reads the features once a scan.
// Memory:  while dealing a piece a part, while ordering two parts and 20 bytes a row of one; 4 KiB of the
//          drive beyond the regions for each that `shift` has, until the last part is in order.
// Crash:   dealing goes on behind the last row saved. A part's dealt rows are written over only by parts that
//          are `shift` bytes further on, and not before it is recorded that it is in order.
// Errors:  io, corruption (dealt rows are not what was written), cancelled.
#pragma once

#include <functional>
#include <memory>

#include "storage/base/progress.h"
#include "storage/pack/listed_nodes.h"
#include "storage/pack/node_places.h"
#include "storage/pack/region_task.h"
#include "storage/pack/row_stream.h"

namespace gneiss {

class RegionDealer {
 public:
  explicit RegionDealer(const RegionTask& task);
  std::uint64_t shift_bytes() const noexcept { return shift_bytes_; }
  std::size_t part_count() const noexcept { return parts_.size(); }

  void begin_dealing();
  // The rows of nodes from first_node on; calls come in node order.
  void take_rows(std::uint64_t first_node, std::span<const std::byte> rows);
  void save_dealing(std::vector<std::uint64_t>& numbers);
  void go_on_dealing(CheckpointReader& saved, std::uint64_t node);
  void end_dealing();  // after the scan

  // Puts the parts from the first that is not in order on in order. Calls save() when it must be recorded
  // which are, and where `is_due` says that it may.
  void order(const std::function<bool()>& is_due, const std::function<void()>& save, Progress& progress);
  void save_ordering(std::vector<std::uint64_t>& numbers) const;
  void go_on_ordering(CheckpointReader& saved);

 private:
  struct Part {
    std::size_t group = 0;
    std::uint64_t first_row = 0;  // of the group's region
    std::uint64_t row_count = 0;
    std::uint64_t offset = 0;              // among the regions, a multiple of 4096
    std::uint64_t bytes = 0;               // padded to 4096
    std::vector<std::uint64_t> checksums;  // of each 64 KiB of the dealt rows
  };
  class Loader;

  std::vector<NodePlace> nodes_of(const Part& part) const;  // places count rows; by node
  std::uint64_t dealt_offset(const Part& part) const {
    return task_.first_region + shift_bytes_ + part.offset;
  }
  void put_in_order(const Part& part, std::span<const std::byte> dealt);

  const RegionTask task_;
  std::vector<Part> parts_;
  std::uint64_t shift_bytes_ = 0;
  ScratchLists<NodeId> part_nodes_;  // of each part, ascending
  std::vector<std::unique_ptr<RowStream<ListedNodes>>> streams_;
  std::size_t ordered_ = 0;  // parts written to their place
};

}  // namespace gneiss
