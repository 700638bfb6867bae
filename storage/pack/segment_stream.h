// One batch's segment on its way through a scan: its rows, and at the end the trailer.
#pragma once

#include "storage/pack/disk_nodes.h"
#include "storage/pack/row_stream.h"

namespace gneiss {

class SegmentStream {
 public:
  // As RowStream's.
  SegmentStream(const InputLists& lists, const TierPlan& plan, std::size_t batch, const SegmentEntry& entry,
                WriteBehind& writer, std::size_t piece_bytes);

  RowStream<DiskNodes>& rows() noexcept { return rows_; }
  // After the scan: writes what is left and the trailer. Asserts that every row came.
  void finish();

 private:
  const SegmentEntry entry_;
  RowStream<DiskNodes> rows_;
};

}  // namespace gneiss
