#include "storage/pack/packing_speed.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstring>

#include "storage/base/aligned_buffer.h"
#include "storage/base/checksum.h"
#include "storage/base/error.h"
#include "storage/base/random.h"
#include "storage/base/stopwatch.h"
#include "storage/format/pack_file.h"
#include "storage/io/write_behind.h"
#include "storage/pack/feature_scan.h"

namespace gneiss {
namespace {

constexpr std::uint64_t piece_bytes = 1U << 20;
constexpr std::uint64_t scanned_bytes = 64U << 20;
constexpr std::uint64_t written_bytes = 32U << 20;

// Seconds of all threads of the process, in the program and for it in the kernel.
double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void measure_reading(const Dataset& dataset, PackingSpeed& speed) {
  const SectionFile& features = dataset.features();
  const SectionEntry& rows = features.require(SectionKind::feature_rows);
  // From the middle: the beginning and the end are what is most likely still in the page cache.
  const std::uint64_t first =
      rows.bytes <= 2 * scanned_bytes ? 0 : round_down(rows.bytes / 2, rows.checksum_block_bytes);
  const Stopwatch clock;
  const double cpu = cpu_seconds();
  std::uint64_t bytes = 0;
  FeatureScan scan(features, rows, first, std::min(rows.bytes, first + scanned_bytes));
  while (auto chunk = scan.next()) {
    bytes += chunk->size;
    scan.give_back(std::move(*chunk));
  }
  speed.read_seconds_a_byte = clock.seconds() / static_cast<double>(bytes);
  speed.read_cpu_a_byte = (cpu_seconds() - cpu) / static_cast<double>(bytes);
}

// Rows out of what a scan reads at once to many pieces: neighbors in a chunk go far apart.
void measure_copying(std::uint64_t row_bytes, std::uint64_t memory_bytes, PackingSpeed& speed) {
  constexpr std::uint64_t chunk_bytes = 4 * piece_bytes;
  const std::uint64_t target_bytes = std::clamp<std::uint64_t>(round_down(memory_bytes / 64, piece_bytes),
                                                               4 * piece_bytes, 60 * piece_bytes);
  AlignedBuffer chunk(std::max(chunk_bytes, row_bytes));
  Stopwatch clock;
  AlignedBuffer target(std::max(target_bytes, row_bytes));  // zeroed: every page is touched
  speed.fill_cpu_a_byte = clock.restart() / static_cast<double>(target.size()) / 2;
  const std::uint64_t from_rows = chunk.size() / row_bytes;
  const std::uint64_t to_rows = target.size() / row_bytes;
  const std::uint64_t count = std::max<std::uint64_t>(1, 16 * piece_bytes / row_bytes);
  RandomStream random(1);
  clock.restart();
  for (std::uint64_t i = 0; i < count; ++i) {
    std::memcpy(target.data() + random.below(to_rows) * row_bytes, chunk.data() + i % from_rows * row_bytes,
                row_bytes);
  }
  speed.copy_cpu_a_byte = clock.restart() / static_cast<double>(count * row_bytes);
  std::uint64_t sum = 0;
  for (std::uint64_t at = 0; at + segment_checksum_block_bytes <= target.size();
       at += segment_checksum_block_bytes) {
    sum ^= checksum(std::span<const std::byte>(target.bytes()).subspan(at, segment_checksum_block_bytes));
  }
  speed.checksum_cpu_a_byte = clock.seconds() / static_cast<double>(target.size());
  if (sum == 1) speed.checksum_cpu_a_byte *= 1.0 + 1e-12;  // the sum is looked at: it is not left out
}

void measure_writing(const std::filesystem::path& folder, PackingSpeed& speed) {
  const File file = File::create_anonymous(folder);
  file.reserve(written_bytes);
  WriteBehind writer(file, piece_bytes, 2);
  AlignedBuffer piece(piece_bytes);
  const double cpu = cpu_seconds();
  for (std::uint64_t at = 0; at < written_bytes; at += piece_bytes) writer.write(at, piece, piece_bytes);
  writer.finish();
  speed.write_cpu_a_byte = (cpu_seconds() - cpu) / static_cast<double>(written_bytes);
  file.sync();
  // Once more with nothing but a page to write: what a sync costs by itself.
  file.write_at(0, piece.bytes().first(4096));
  const Stopwatch clock;
  file.sync();
  speed.sync_seconds = clock.seconds();
}

}  // namespace

PackingSpeed measure_packing_speed(const Dataset& dataset, std::size_t thread_count,
                                   std::uint64_t memory_bytes) {
  PackingSpeed speed;
  speed.cores = static_cast<double>(std::max<std::size_t>(1, std::min(thread_count, available_cores())));
  measure_reading(dataset, speed);
  measure_copying(dataset.info().row_bytes(), memory_bytes, speed);
  try {
    measure_writing(dataset.folder(), speed);
  } catch (const Error&) {
    // A folder that cannot be written, or is full: it can be planned for all the same, and who writes is
    // told.
  }
  return speed;
}

double packing_seconds(const PackingSpeed& speed, const DriveProfile& drive, const PackingWork& work) {
  const double read_a_byte = 1 / drive.sequential_bytes_per_second();
  const double write_a_byte = 1 / drive.write_bytes_per_second;
  const auto features = static_cast<double>(work.feature_bytes);
  const auto rows = static_cast<double>(work.row_count) * static_cast<double>(work.row_bytes);
  const auto written = static_cast<double>(work.written_bytes);
  const auto reordered = static_cast<double>(work.reordered_bytes);
  const double scan_cpu = features * speed.read_cpu_a_byte + rows * speed.copy_cpu_a_byte;
  const double write_cpu = written * (speed.checksum_cpu_a_byte + speed.write_cpu_a_byte);
  const double scan_least = features * speed.read_seconds_a_byte;  // one thread reads
  // Syncs of cpu.bin, pack.bin and the record, their folders', and what was written last.
  double seconds = 8 * speed.sync_seconds;
  if (work.is_filled_in_memory) {
    seconds += std::max(
        {features * read_a_byte, scan_least, (scan_cpu + rows * speed.fill_cpu_a_byte) / speed.cores});
    seconds += std::max(written * write_a_byte, write_cpu / speed.cores);
    return seconds;
  }
  seconds += std::max(
      {features * read_a_byte + written * write_a_byte, scan_least, (scan_cpu + write_cpu) / speed.cores});
  const double order_cpu = reordered * (speed.read_cpu_a_byte + speed.copy_cpu_a_byte +
                                        2 * speed.checksum_cpu_a_byte + speed.write_cpu_a_byte);
  return seconds + std::max(reordered * (read_a_byte + write_a_byte), order_cpu / speed.cores);
}

}  // namespace gneiss
