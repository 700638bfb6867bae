// What the preloaded library and the tests tell each other: kinds of operations on files, and the record of
// them.
//
// The log is one record after another: FaultRecord, then path, second path and data, as long as it says.
#pragma once

#include <cstdint>

namespace gneiss::test {

// Numbered, for masks of kinds are passed as numbers.
enum class FileOperation : std::uint32_t {
  open_only,   // open() of what is there, for reading or writing; opendir()
  create,      // open() that may create or empties
  write,       // write, pwrite, writev
  reserve,     // fallocate, posix_fallocate
  punch_hole,  // fallocate that gives space back
  resize,      // ftruncate, truncate
  sync,        // fsync, fdatasync; of a folder too
  start_sync,  // sync_file_range: no promise, but the first to hear of a failed write
  rename,
  remove,  // unlink, unlinkat, rmdir, remove
  make_folder,
  link,
  read,  // pread; is stalled, and neither recorded nor failed
};
inline constexpr std::uint32_t file_operation_count = 13;

constexpr std::uint32_t mask_of(FileOperation kind) { return 1U << static_cast<std::uint32_t>(kind); }
template <class... Kinds>
constexpr std::uint32_t mask_of(FileOperation kind, Kinds... more) {
  return mask_of(kind) | mask_of(more...);
}
inline constexpr std::uint32_t all_operations =
    ((1U << file_operation_count) - 1) & ~mask_of(FileOperation::read);
// All that changes what is on disk, or makes it durable.
inline constexpr std::uint32_t changing_operations =
    all_operations & ~mask_of(FileOperation::open_only, FileOperation::start_sync);

struct FaultRecord {
  FileOperation kind{};
  std::int32_t error = 0;  // errno; 0: it was done
  std::uint32_t path_bytes = 0;
  std::uint32_t second_path_bytes = 0;  // of rename and link: the new name
  std::uint64_t offset = 0;             // of a write; the size of reserve and resize
  std::uint64_t data_bytes = 0;
  // create: what came of it.
  std::uint32_t is_new = 0;
  std::uint32_t is_emptied = 0;
};

// The environment that the library reads.
inline constexpr const char* fault_folder_variable = "GNEISS_FAULT_FOLDER";  // below which it acts
inline constexpr const char* fault_log_variable = "GNEISS_FAULT_LOG";        // outside of that folder
inline constexpr const char* fault_mode_variable = "GNEISS_FAULT_MODE";    // record, kill, tear, after, fail,
                                                                           // flip, lose, stall
inline constexpr const char* fault_at_variable = "GNEISS_FAULT_AT";        // which operation, from 1
inline constexpr const char* fault_kinds_variable = "GNEISS_FAULT_KINDS";  // mask of those that count
inline constexpr const char* fault_error_variable = "GNEISS_FAULT_ERROR";  // errno; 0: a short write
inline constexpr const char* fault_bit_variable = "GNEISS_FAULT_BIT";      // of flip: which, counted round
inline constexpr const char* fault_stall_variable = "GNEISS_FAULT_STALL";  // milliseconds
inline constexpr const char* fault_lasting_variable = "GNEISS_FAULT_LASTING";  // 1: those after it too
inline constexpr const char* fault_seconds_variable = "GNEISS_FAULT_SECONDS";  // until SIGALRM

}  // namespace gneiss::test
