#include "engine/infer/stored_matrix.h"

#include <algorithm>

#include "storage/format/section_stream.h"
#include "storage/io/range_load.h"
#include "storage/io/scratch_file.h"

namespace gneiss {
namespace {

constexpr std::size_t writes_on_their_way = 8;
constexpr std::size_t line_bytes = 64;
constexpr std::size_t copied_at_once = 8U << 20;

std::vector<ColumnRun> cut_into(std::size_t columns, std::size_t width) {
  std::vector<ColumnRun> runs;
  for (std::size_t first = 0; first < columns; first += width) {
    runs.push_back({first, std::min(width, columns - first)});
  }
  return runs;
}

// Of all runs, in cache lines from memory. A row that is no whole number of lines straddles one more nearly
// always: 22 columns of f32 take two and a half times as long as 16 (bench_operators). The edge itself, which
// is read and resolved again in each run, costs about as much as a line.
double cost_per_edge(std::span<const ColumnRun> runs, std::size_t value_bytes) {
  double lines = 0;
  for (const ColumnRun& run : runs) {
    const std::size_t bytes = run.count * value_bytes;
    const bool straddles = bytes % line_bytes != 0 && line_bytes % bytes != 0;
    lines += 1.25 +
             static_cast<double>(straddles ? bytes + line_bytes - value_bytes : std::max(bytes, line_bytes)) /
                 line_bytes;
  }
  return lines;
}

}  // namespace

std::vector<ColumnRun> cut_columns(std::size_t columns, std::size_t most, std::size_t value_bytes) {
  GNEISS_ASSERT(columns > 0 && most > 0);
  std::vector<ColumnRun> equal = cut_into(columns, divide_up(columns, divide_up(columns, most)));
  const std::size_t whole_lines = round_down(most, line_bytes / value_bytes);
  if (whole_lines == 0) return equal;
  std::vector<ColumnRun> lines = cut_into(columns, whole_lines);
  return cost_per_edge(lines, value_bytes) < cost_per_edge(equal, value_bytes) ? lines : equal;
}

std::uint64_t StoredMatrix::bytes() const noexcept {
  std::uint64_t sum = 0;
  for (std::size_t run = 0; run < runs_.size(); ++run) sum += run_bytes(run);
  return sum;
}

StoredFeatures::StoredFeatures(const Dataset& dataset)
    : StoredMatrix(dataset.info().feature_dtype, dataset.info().node_count, dataset.info().feature_dim,
                   {{0, dataset.info().feature_dim}}),
      file_(dataset.features()),
      entry_(file_.require(SectionKind::feature_rows)) {}

SequentialReader StoredFeatures::read_run(std::size_t run, ReadAhead ahead) const {
  GNEISS_ASSERT(run == 0);
  return stream_section(file_, entry_, ahead);
}

void StoredFeatures::load_run(std::size_t run, ReadAhead ahead, std::span<std::byte> target,
                              const std::function<void(std::uint64_t bytes)>& arrived) const {
  // Their checksums are of pieces that need not end where memory wants them to.
  SequentialReader reader = read_run(run, ahead);
  while (reader.left() > 0) {
    const std::uint64_t done = run_bytes(run) - reader.left();
    reader.read(target.subspan(done, std::min<std::uint64_t>(reader.left(), copied_at_once)));
    arrived(run_bytes(run) - reader.left());
  }
}

std::uint64_t ScratchMatrix::file_bytes(Dtype dtype, std::uint64_t rows, std::span<const ColumnRun> runs) {
  std::uint64_t bytes = 0;
  for (const ColumnRun& run : runs) {
    bytes += round_up(rows * run.count * size_of(dtype), direct_io_alignment);
  }
  return bytes;
}

ScratchMatrix::ScratchMatrix(const std::filesystem::path& folder, Dtype dtype, std::uint64_t rows,
                             std::size_t columns, std::vector<ColumnRun> runs)
    : StoredMatrix(dtype, rows, columns, std::move(runs)), file_(File::create_anonymous(folder)) {
  std::uint64_t offset = 0;
  for (std::size_t run = 0; run < this->runs().size(); ++run) {
    offsets_.push_back(offset);
    offset += round_up(run_bytes(run), direct_io_alignment);
  }
  checksums_.resize(offsets_.size());
  file_.reserve(offset);
  direct_ = file_.reopen_direct(/*writable=*/true);
}

FileRange ScratchMatrix::range(std::size_t run) const {
  return {.path = file_.descriptor_path(),
          .offset = offsets_[run],
          .bytes = run_bytes(run),
          .name = file_.path()};
}

SequentialReader::Check ScratchMatrix::whole_check(std::size_t run) const {
  GNEISS_ASSERT(checksums_[run]);
  return [this, run, stream = std::make_shared<StreamChecksum>()](std::uint64_t offset,
                                                                  std::span<const std::byte> bytes) {
    stream->update(bytes);
    if (offset + bytes.size() < run_bytes(run) || stream->value() == *checksums_[run]) return;
    fail_not_as_written(file_.path(), offsets_[run], run_bytes(run));
  };
}

SequentialReader ScratchMatrix::read_run(std::size_t run, ReadAhead ahead) const {
  return {range(run), ahead, whole_check(run)};
}

void ScratchMatrix::load_run(std::size_t run, ReadAhead ahead, std::span<std::byte> target,
                             const std::function<void(std::uint64_t bytes)>& arrived) const {
  std::uint64_t checked = 0;
  load_range(range(run), ahead, target, [&, check = whole_check(run)](std::uint64_t bytes) {
    check(checked, target.subspan(checked, bytes - checked));
    checked = bytes;
    arrived(bytes);
  });
}

RowReader::RowReader(const StoredMatrix& matrix, ReadAhead ahead) {
  add_runs(matrix, {0, matrix.runs().size()}, 0, ahead);
}

RowReader::RowReader(const StoredMatrix& matrix, ColumnRun runs, ReadAhead ahead) {
  add_runs(matrix, runs, matrix.runs()[runs.first].first, ahead);
}

void RowReader::add_runs(const StoredMatrix& matrix, ColumnRun runs, std::size_t first_column,
                         ReadAhead ahead) {
  const std::size_t value_bytes = size_of(matrix.dtype());
  runs_.reserve(runs.count);
  for (std::size_t run = runs.first; run < runs.first + runs.count; ++run) {
    const ColumnRun& columns = matrix.runs()[run];
    runs_.push_back({.reader = matrix.read_run(run, ahead),
                     .offset = (columns.first - first_column) * value_bytes,
                     .bytes = columns.count * value_bytes});
  }
}

void RowReader::next(std::size_t count, std::byte* target, std::size_t stride_bytes) {
  for (Run& run : runs_) run.reader.read_rows(target + run.offset, run.bytes, stride_bytes, count);
}

RowWriter::RowWriter(ScratchMatrix& matrix, std::span<const std::size_t> runs, std::size_t piece_bytes)
    : matrix_(matrix),
      runs_(runs.begin(), runs.end()),
      sums_(runs.size()),
      behind_(matrix.target(), piece_bytes, writes_on_their_way) {
  writers_.reserve(runs.size());
  for (std::size_t j = 0; j < runs_.size(); ++j) {
    const std::size_t run = runs_[j];
    writers_.emplace_back(behind_, matrix.offset(run), piece_bytes, &sums_[j]);
    offsets_.push_back(matrix.runs()[run].first * size_of(matrix.dtype()));
  }
}

void RowWriter::append(std::size_t count, const std::byte* source, std::size_t stride_bytes,
                       std::span<const std::size_t> offsets) {
  GNEISS_ASSERT(offsets.size() == runs_.size());
  for (std::size_t j = 0; j < runs_.size(); ++j) {
    const std::size_t bytes = matrix_.runs()[runs_[j]].count * size_of(matrix_.dtype());
    writers_[j].append_rows(source + offsets[j], bytes, stride_bytes, count);
  }
}

void RowWriter::append(std::size_t count, const std::byte* source, std::size_t stride_bytes) {
  append(count, source, stride_bytes, offsets_);
}

void RowWriter::finish() {
  for (std::size_t j = 0; j < runs_.size(); ++j) {
    writers_[j].finish();
    matrix_.set_checksum(runs_[j], sums_[j].value());
  }
  behind_.finish();
}

std::uint64_t reader_bytes(std::size_t runs, ReadAhead ahead) noexcept { return runs * ahead.memory_bytes(); }
std::uint64_t writer_bytes(std::size_t runs, std::size_t piece_bytes) noexcept {
  return (runs + writes_on_their_way) * piece_bytes;
}

}  // namespace gneiss
