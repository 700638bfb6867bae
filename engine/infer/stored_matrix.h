// A matrix on the drive, by runs of its columns: each run is a matrix of its own, dense and in order of rows.
//
// Why:    a run of columns of all rows fits in memory where the matrix does not; it is then read once, in
//         sequence, and neighbors are gathered in memory. The features are such a matrix of one run.
// Memory: readers and writers hold pieces; see bytes().
// Errors: io, corruption.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/compute/matrix_view.h"
#include "storage/base/checksum.h"
#include "storage/format/dataset.h"
#include "storage/io/sequential_reader.h"
#include "storage/io/sequential_writer.h"

namespace gneiss {

struct ColumnRun {
  std::size_t first = 0;
  std::size_t count = 0;

  bool operator==(const ColumnRun&) const = default;
};

// Cuts columns into runs of at most `most`: nearly equal, or of whole cache lines where
// walking over all edges is then cheaper.
std::vector<ColumnRun> cut_columns(std::size_t columns, std::size_t most, std::size_t value_bytes);

class StoredMatrix {
 public:
  virtual ~StoredMatrix() = default;
  StoredMatrix(const StoredMatrix&) = delete;
  StoredMatrix& operator=(const StoredMatrix&) = delete;

  Dtype dtype() const noexcept { return dtype_; }
  std::uint64_t rows() const noexcept { return rows_; }
  std::size_t columns() const noexcept { return columns_; }
  std::span<const ColumnRun> runs() const noexcept { return runs_; }
  std::size_t row_bytes() const noexcept { return columns_ * size_of(dtype_); }
  std::uint64_t run_bytes(std::size_t run) const noexcept {
    return rows_ * runs_[run].count * size_of(dtype_);
  }
  std::uint64_t bytes() const noexcept;  // of all runs

  // The rows of a run, [rows, count] dense, from the first on.
  virtual SequentialReader read_run(std::size_t run, ReadAhead ahead) const = 0;
  // The same into memory. `arrived` is told again and again how many of the first bytes are there, and may
  // change them.
  //   target  of the run's bytes, aligned and rounded up to direct_io_alignment
  virtual void load_run(std::size_t run, ReadAhead ahead, std::span<std::byte> target,
                        const std::function<void(std::uint64_t bytes)>& arrived) const = 0;

 protected:
  StoredMatrix(Dtype dtype, std::uint64_t rows, std::size_t columns, std::vector<ColumnRun> runs)
      : dtype_(dtype), rows_(rows), columns_(columns), runs_(std::move(runs)) {}

 private:
  Dtype dtype_;
  std::uint64_t rows_;
  std::size_t columns_;
  std::vector<ColumnRun> runs_;
};

// The features as they lie in features.bin.
class StoredFeatures final : public StoredMatrix {
 public:
  explicit StoredFeatures(const Dataset& dataset);
  SequentialReader read_run(std::size_t run, ReadAhead ahead) const override;
  void load_run(std::size_t run, ReadAhead ahead, std::span<std::byte> target,
                const std::function<void(std::uint64_t bytes)>& arrived) const override;

 private:
  const SectionFile& file_;
  const SectionEntry& entry_;
};

// A matrix in a file without a name: gone when this ends, however the process ends. Each run has a checksum,
// which is compared when the run's last bytes are read.
class ScratchMatrix final : public StoredMatrix {
 public:
  // `runs` may leave out columns. Takes the space. Throws Error(io) where there is too little.
  ScratchMatrix(const std::filesystem::path& folder, Dtype dtype, std::uint64_t rows, std::size_t columns,
                std::vector<ColumnRun> runs);
  static std::uint64_t file_bytes(Dtype dtype, std::uint64_t rows, std::span<const ColumnRun> runs);

  SequentialReader read_run(std::size_t run, ReadAhead ahead) const override;
  void load_run(std::size_t run, ReadAhead ahead, std::span<std::byte> target,
                const std::function<void(std::uint64_t bytes)>& arrived) const override;
  std::uint64_t offset(std::size_t run) const noexcept { return offsets_[run]; }
  // Of all the bytes of a run, which is written now; it is not read before.
  void set_checksum(std::size_t run, std::uint64_t xxh3) { checksums_[run] = xxh3; }
  // Bypasses the page cache where the file system lets it.
  const File& target() const noexcept { return direct_ ? direct_ : file_; }

 private:
  FileRange range(std::size_t run) const;
  SequentialReader::Check whole_check(std::size_t run) const;

  File file_;
  File direct_;
  std::vector<std::uint64_t> offsets_;
  std::vector<std::optional<std::uint64_t>> checksums_;  // by run
};

// All columns of consecutive rows, from the first row on, or those of some runs.
class RowReader {
 public:
  RowReader(const StoredMatrix& matrix, ReadAhead ahead);
  //   runs  the first of them, and their number
  RowReader(const StoredMatrix& matrix, ColumnRun runs, ReadAhead ahead);
  // The next `count` rows: row i at target + i * stride_bytes, where the matrix's first column, or that of
  // the first of some runs, has its place. Columns that no run holds are left as they are.
  void next(std::size_t count, std::byte* target, std::size_t stride_bytes);

 private:
  struct Run {
    SequentialReader reader;
    std::size_t offset;  // in a row; bytes
    std::size_t bytes;
  };
  void add_runs(const StoredMatrix& matrix, ColumnRun runs, std::size_t first_column, ReadAhead ahead);

  std::vector<Run> runs_;
};

// Writes rows in order into some runs of a matrix.
class RowWriter {
 public:
  //   runs  indices into matrix.runs()
  RowWriter(ScratchMatrix& matrix, std::span<const std::size_t> runs, std::size_t piece_bytes);

  // The next `count` rows: of run j of those given, row i at source + i * stride_bytes + offsets[j] bytes.
  void append(std::size_t count, const std::byte* source, std::size_t stride_bytes,
              std::span<const std::size_t> offsets);
  // The same, for rows that hold all columns.
  void append(std::size_t count, const std::byte* source, std::size_t stride_bytes);
  void finish();  // all rows of the matrix have been appended

 private:
  ScratchMatrix& matrix_;
  std::vector<std::size_t> runs_;
  std::vector<std::size_t> offsets_;  // of rows that hold all columns
  std::vector<StreamChecksum> sums_;
  WriteBehind behind_;
  std::vector<SequentialWriter> writers_;  // last: they borrow
};

// Memory of a RowReader or RowWriter over so many runs.
std::uint64_t reader_bytes(std::size_t runs, ReadAhead ahead) noexcept;
std::uint64_t writer_bytes(std::size_t runs, std::size_t piece_bytes) noexcept;

}  // namespace gneiss
