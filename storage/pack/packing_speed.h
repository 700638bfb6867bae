// How long packing takes on this machine: what the drive and the processor need, measured in the moment.
//
// Why:     a fast drive is not what bounds packing: rows are copied and checksummed, pages of the page cache
//          filled, files synced. What each costs is another on every machine, and at every moment.
// How:     a part of the features is read as a scan reads it, rows are copied as streams copy them, and a
//          nameless file is written and synced. The drive's lasting speeds come from its profile.
//          Phases in which drive and processors work at once take as long as the slower.
// Effect:  on what is printed, never on a file.
#pragma once

#include "storage/base/parallel.h"
#include "storage/format/dataset.h"
#include "storage/io/drive_profile.h"

namespace gneiss {

// Processor seconds, on one thread, unless said otherwise.
struct PackingSpeed {
  double read_seconds_a_byte = 0;  // of a scan that does nothing else: by the clock
  double read_cpu_a_byte = 0;      // read through the page cache, and checked
  double copy_cpu_a_byte = 0;      // copied row by row
  double checksum_cpu_a_byte = 0;  // of what is written
  double write_cpu_a_byte = 0;
  double fill_cpu_a_byte = 0;  // memory touched for the first time
  double sync_seconds = 0;     // by the clock: what was written made durable
  double cores = 1;            // that work at once
};

// Memory: a sixty-fourth of memory_bytes, from 4 to 60 MiB, and 5 MiB. Errors: io, corruption (of the
// features); where the folder cannot be written, what concerns writing is 0.
PackingSpeed measure_packing_speed(const Dataset& dataset, std::size_t thread_count,
                                   std::uint64_t memory_bytes);

struct PackingWork {
  std::uint64_t feature_bytes = 0;  // read, in all scans
  std::uint64_t row_count = 0;      // written to pack.bin
  std::uint64_t row_bytes = 0;
  std::uint64_t written_bytes = 0;    // of pack.bin and cpu.bin, once
  std::uint64_t reordered_bytes = 0;  // dealt to parts, read and written once more
  bool is_filled_in_memory = false;   // regions, which are written after the scan
};

// Precondition: the drive's reads and writes were measured.
double packing_seconds(const PackingSpeed& speed, const DriveProfile& drive, const PackingWork& work);

}  // namespace gneiss
