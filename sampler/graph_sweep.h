// Reads wanted parts of graph.csc in the order of the file, with large reads, several in flight.
//
// Why:     a frontier of many batches needs neighbors from all over the file; in order and checked block by
//          block they come at the drive's sequential speed, and what no one wants is passed over.
// Threads: one; mark() may be called by many.
// Memory:  the pieces in flight, and 9 bytes a block of 64 KiB.
// Errors:  corruption (a checksum, a truncated file), io, cancelled.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "storage/base/aligned_buffer.h"
#include "storage/format/dataset.h"
#include "storage/io/io_engine.h"

namespace gneiss {

// Which blocks of a section are wanted.
class BlockSet {
 public:
  explicit BlockSet(std::uint64_t section_bytes)
      : wanted_(divide_up(section_bytes, graph_checksum_block_bytes)) {}

  // Wants bytes [begin, end) of the section. Threads: any.
  void mark(std::uint64_t begin, std::uint64_t end) noexcept;
  void clear() noexcept;
  bool contains(std::uint64_t block) const noexcept { return wanted_[block] != 0; }
  std::uint64_t size() const noexcept { return wanted_.size(); }

 private:
  std::vector<std::uint8_t> wanted_;
};

struct GraphSweepOptions {
  std::uint64_t piece_bytes = 2U << 20;  // of one read at most: a multiple of graph_checksum_block_bytes
  std::uint32_t pieces = 8;              // in flight: 16 MiB at 100 us a read outrun any one drive
};

class GraphSweep {
 public:
  // A file of before, with one checksum for all, is read through once here to check it and to know its
  // blocks.
  GraphSweep(const Dataset& dataset, GraphSweepOptions options);

  static std::uint64_t memory_bytes(const DatasetInfo& info, GraphSweepOptions options) noexcept;

  const DatasetInfo& info() const noexcept { return info_; }
  const std::string& name() const noexcept { return file_.name(); }
  BlockSet& offsets() noexcept { return offsets_.wanted; }
  BlockSet& edges() noexcept { return edges_.wanted; }

  // Hands on the wanted blocks of csc_indptr, or of csc_indices, as runs of values: the first's place in the
  // section, and the values. Runs come in order; each is borrowed until `use` returns.
  //   passed  is told the bytes of the section that are done with, read or not
  void read_offsets(const std::function<void(std::uint64_t, std::span<const std::uint64_t>)>& use,
                    const std::function<void(std::uint64_t)>& passed);
  void read_edges(const std::function<void(std::uint64_t, std::span<const NodeId>)>& use,
                  const std::function<void(std::uint64_t)>& passed);

  std::uint64_t bytes_read() const noexcept { return bytes_read_; }
  // Of both sections: what a sweep that passes nothing over reads.
  std::uint64_t section_bytes() const noexcept { return offsets_.entry.bytes + edges_.entry.bytes; }

 private:
  struct Section {
    SectionEntry entry;
    std::vector<std::uint64_t> checksums;  // of each block
    BlockSet wanted;
  };
  struct Piece {
    std::uint64_t offset = 0;  // in the section
    std::uint64_t bytes = 0;
    bool done = false;
  };
  using UseBytes = std::function<void(std::uint64_t, std::span<const std::byte>)>;

  Section open_section(SectionKind kind);
  std::vector<std::uint64_t> check_whole(const SectionEntry& entry);
  ReadRequest next_request(const Section& section, std::uint64_t& block, std::uint64_t tag);
  void await_piece(std::uint64_t tag);
  void read(const Section& section, const UseBytes& use, const std::function<void(std::uint64_t)>& passed);

  const DatasetInfo& info_;
  const SectionFile& file_;
  GraphSweepOptions options_;
  std::uint64_t bytes_read_ = 0;
  Section offsets_;
  Section edges_;
  AlignedBuffer memory_;
  std::vector<Piece> pieces_;
  std::vector<ReadRequest> requests_;  // by slot, as submitted
  std::unique_ptr<IoEngine> engine_;   // last: waits for its reads before their memory goes
  FileId graph_{};
};

}  // namespace gneiss
