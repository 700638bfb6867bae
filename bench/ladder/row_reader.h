// Reads scattered rows straight from the drive: many small direct reads in flight, neighbors read together.
//
// Why:     the reader of `lru` and `ginex`, as good as theirs and better: GraphBolt keeps up to 512 reads
//          in flight on a ring per thread (kGroupSize, graphbolt/src/cnumpy.h), each a row widened to the
//          file's block size; Ginex reads 4 or 8 KiB a row with a pread per thread
//          (lib/cpp_extension/gather.cpp). Neither reads 512-byte sectors nor coalesces; this one does
//          both, where the drive allows and it pays.
// Threads: one at a time.
// Memory:  queue_depth * read_bytes_max, registered with the engine; nothing is allocated after construction.
// Errors:  Error(io | corruption) naming file and offset, after the other reads came back.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bench/ladder/row_list.h"
#include "storage/base/aligned_buffer.h"
#include "storage/io/io_engine.h"

namespace gneiss::ladder {

// Row `node` of the file belongs into row `target` of a buffer.
struct RowRead {
  NodeId node{};
  std::uint32_t target = 0;
};

// One read of the drive and the rows [first, first + count) of the list that it brings.
struct Extent {
  std::uint64_t offset = 0;  // in the file; with `bytes` a multiple of the alignment
  std::uint64_t bytes = 0;
  std::size_t first = 0;
  std::size_t count = 0;
};

struct CoalesceOptions {
  std::uint64_t gap_bytes = 4096;            // sectors not asked for that are read rather than jumped over
  std::uint64_t read_bytes_max = 64U << 10;  // of a merged read; a single row may take more
};

// Joins rows into extents as it goes. Each row lies whole in exactly one extent; extents ascend and share no
// byte, unless read_bytes_max parts two rows that share a sector.
class ExtentCursor {
 public:
  ExtentCursor(const RowFile& file, std::uint32_t alignment, const CoalesceOptions& options,
               std::span<const RowRead> ascending);
  bool next(Extent& extent);  // false: the end

 private:
  std::uint64_t begin_of(std::size_t index) const;
  std::uint64_t end_of(std::size_t index) const;

  const RowFile& file_;
  const std::uint64_t alignment_;
  const CoalesceOptions options_;
  const std::span<const RowRead> rows_;
  std::size_t at_ = 0;
};

struct RowReaderOptions {
  std::string engine = "auto";
  std::uint32_t queue_depth = 256;
  CoalesceOptions coalesce;
};

struct RowReaderCost {
  std::uint64_t reads = 0;
  std::uint64_t bytes = 0;
  double copy_seconds = 0;  // from where a read landed to the rows' places
};

class RowReader {
 public:
  RowReader(const RowFile& file, const RowReaderOptions& options);

  // Brings every row to its place in `target`, [rows, row_bytes].
  void read(std::span<const RowRead> ascending, std::span<std::byte> target);

  const RowReaderCost& cost() const noexcept { return cost_; }
  std::string_view engine_name() const noexcept { return engine_->name(); }
  bool is_direct() const noexcept { return engine_->is_direct(id_); }
  std::uint32_t alignment() const noexcept { return engine_->alignment(id_); }

 private:
  const RowFile file_;
  const CoalesceOptions coalesce_;
  AlignedBuffer memory_;
  std::unique_ptr<IoEngine> engine_;  // after memory_: it waits for its reads before that goes
  FileId id_{};
  std::uint64_t slot_bytes_ = 0;
  std::vector<Extent> extents_;  // in flight, by slot
  std::vector<std::uint32_t> free_slots_;
  std::vector<ReadRequest> requests_;
  std::vector<ReadCompletion> completions_;
  RowReaderCost cost_;
};

}  // namespace gneiss::ladder
