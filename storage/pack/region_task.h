// What both ways of filling the regions of shared rows work with, and which of them is taken.
#pragma once

#include "storage/io/write_behind.h"
#include "storage/pack/packer.h"
#include "storage/pack/page_checksums.h"
#include "storage/pack/shared_layout.h"

namespace gneiss {

// How the regions come to be filled, by what fits in half of the memory.
struct RegionShape {
  // All regions at once in memory, in one scan; else dealt to parts on the drive, which are then put in order
  // one by one.
  bool is_in_memory = true;
  std::uint64_t part_bytes = 0;   // of rows, about
  std::uint64_t piece_bytes = 0;  // written at once

  // Of the drive, beyond the regions, while rows are dealt and put in order; about.
  std::uint64_t scratch_bytes() const noexcept { return parts_a_record * part_bytes; }
  // Between two records of which parts are in order so many are written: a record waits for the drive.
  static constexpr std::uint64_t parts_a_record = 8;
};

struct RegionTask {
  const PackTask* pack = nullptr;
  const SharedLayout* layout = nullptr;
  RegionShape shape;
  std::uint64_t row_bytes = 0;
  const File* file = nullptr;          // pack.bin, opened for direct access where the file system allows
  std::uint64_t first_region = 0;      // where the regions begin in it
  WriteBehind* writer = nullptr;       // of `file`
  PageChecksums* checksums = nullptr;  // of the regions, filled as they are written
  ThreadPool* pool = nullptr;

  std::uint64_t region_bytes() const { return layout->region_offsets.back(); }
  std::uint64_t node_count() const { return pack->dataset->info().node_count; }
};

RegionShape choose_region_shape(const SharedLayout& layout, std::uint64_t row_bytes,
                                std::uint64_t memory_bytes);

}  // namespace gneiss
