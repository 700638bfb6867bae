// Writes and reads a file of sections.
//
// Writing: sections are streamed one after the other to a temporary name; finish() writes the header, syncs
//          and renames, so that a file under its own name is always whole. An unfinished one is removed.
// Reading: open() checks the header and table; data is checked against its checksums when it is read with
//          read_section() or verify_sections(). read_rows() trusts the caller to check (block_checksums()).
// Threads: a SectionWriter belongs to one thread; const members of SectionFile may run concurrently.
// Format:  storage/FORMAT.md, "Section table".
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "storage/base/aligned_buffer.h"
#include "storage/base/checksum.h"
#include "storage/format/section_table.h"
#include "storage/io/file.h"

namespace gneiss {

class Progress;

inline constexpr std::uint32_t feature_checksum_block_bytes = 1U << 20;
// Finer: a sweep of the graph reads only the blocks that hold neighbors of its few nodes.
inline constexpr std::uint32_t graph_checksum_block_bytes = 64U << 10;

struct SectionShape {
  SectionKind kind{};
  Dtype dtype{};
  std::uint64_t columns = 1;
  std::uint16_t store = 0;
  std::uint32_t checksum_block_bytes = 0;
};

// What becomes of the temporary file when its writer ends before finish().
enum class Unfinished {
  remove,
  keep,
  go_on,  // keep, and take up the one that is there
};

// How far a section has come: its bytes so far, and the checksum of each block of them, the last perhaps not
// whole; one of all where there are no blocks.
struct SectionState {
  std::uint64_t bytes = 0;
  std::vector<std::uint64_t> checksums;
};

class SectionWriter {
 public:
  SectionWriter(std::filesystem::path path, Magic magic, std::uint64_t made_from = 0,
                Unfinished unfinished = Unfinished::remove);
  ~SectionWriter();
  SectionWriter(const SectionWriter&) = delete;
  SectionWriter& operator=(const SectionWriter&) = delete;

  void begin(const SectionShape& shape);
  void append(std::span<const std::byte> bytes);  // any number of bytes at a time
  template <class T>
  void append_values(std::span<const T> values) {
    append(std::as_bytes(values));
  }
  void end();  // the section's bytes must be whole rows
  // Makes the bytes of the open section durable and says how far it has come; the writing may go on.
  SectionState save();
  // As begin(), behind the bytes that a writer before this one has saved in the same place. Throws
  // Error(corruption) when the last block of them is not what it was: then the state is still before begin().
  void go_on(const SectionShape& shape, const SectionState& state);
  template <class T>
  void write(const SectionShape& shape, std::span<const T> values) {
    begin(shape);
    append_values(values);
    end();
  }

  // A self-checked section of `bytes` that the caller fills at any offset through file(); returns where.
  std::uint64_t reserve(const SectionShape& shape, std::uint64_t bytes);
  const File& file() const noexcept { return file_; }
  std::uint64_t position() const noexcept { return position_; }

  // Header, sync, rename. Returns the file's fingerprint: a checksum over its header.
  std::uint64_t finish();

 private:
  void flush();
  void close_checksum_block();

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  Magic magic_;
  std::uint64_t made_from_;
  std::uint64_t header_bytes_;
  Unfinished unfinished_;
  File file_;
  std::uint64_t position_ = 0;  // where the next byte goes
  AlignedBuffer buffer_;        // bytes not yet written, all before position_
  std::size_t buffered_ = 0;
  std::vector<SectionEntry> entries_;
  bool open_section_ = false;
  bool finished_ = false;
  StreamChecksum stream_;
  std::vector<std::uint64_t> block_checksums_;
  std::uint64_t bytes_in_block_ = 0;
  std::uint64_t dropped_until_ = 0;
};

class SectionFile {
 public:
  // Throws Error: corruption (missing, damaged, another kind of file), input (another version), io.
  SectionFile(const std::filesystem::path& path, Magic magic, bool (*is_known)(SectionKind));

  const std::string& name() const noexcept { return file_.path(); }
  const File& file() const noexcept { return file_; }
  std::uint64_t file_bytes() const noexcept { return table_.header.file_bytes; }
  std::uint64_t made_from() const noexcept { return table_.header.made_from; }
  std::uint64_t fingerprint() const noexcept { return fingerprint_; }
  const SectionTable& table() const noexcept { return table_; }

  const SectionEntry* find(SectionKind kind, std::uint16_t store = 0) const noexcept {
    return table_.find(kind, store);
  }
  // Throws Error(corruption) when the section is missing.
  const SectionEntry& require(SectionKind kind, std::uint16_t store = 0) const;

  // Reads a whole section and checks it. Throws Error(corruption) with the place of the damage.
  AlignedBuffer read_section(const SectionEntry& entry) const;
  // Reads rows [first, first + target.size() / row_bytes) without checking them.
  void read_rows(const SectionEntry& entry, std::uint64_t first_row, std::span<std::byte> target) const;
  // The checksums of a section with checksum_block_bytes, themselves checked.
  std::vector<std::uint64_t> block_checksums(const SectionEntry& entry) const;
  // Throws Error(corruption) naming block and offset unless `bytes`, which begin at a multiple of the
  // block size within the section, match.
  void check_blocks(const SectionEntry& entry, std::span<const std::uint64_t> checksums, std::uint64_t offset,
                    std::span<const std::byte> bytes) const;

 private:
  File file_;
  SectionTable table_;
  std::uint64_t fingerprint_ = 0;
};

}  // namespace gneiss
