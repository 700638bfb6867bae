#include "storage/io/drive_benchmark.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <system_error>
#include <utility>
#include <vector>

#include "storage/base/error.h"
#include "storage/base/progress.h"
#include "storage/base/random.h"
#include "storage/base/units.h"

namespace gneiss {
namespace {

using Clock = std::chrono::steady_clock;

void check(const ReadWorkload& workload, std::uint64_t file_bytes, const std::string& path) {
  if (workload.block_bytes == 0 || workload.block_bytes % direct_io_alignment != 0 ||
      workload.block_bytes > transfer_bytes_max) {
    fail(Kind::config, "a block of {} bytes cannot be measured; choose a multiple of 4 KiB up to 1 GiB",
         workload.block_bytes);
  }
  if (file_bytes < workload.block_bytes) {
    fail(Kind::config, "{} holds {}, less than one block of {}; choose a smaller block or a larger file",
         path, format_bytes(static_cast<double>(file_bytes)),
         format_bytes(static_cast<double>(workload.block_bytes)));
  }
  // Written so that a NaN is refused too.
  if (!(workload.seconds > 0)) {
    fail(Kind::config, "measuring for {} seconds makes no sense; choose a positive time", workload.seconds);
  }
}

// The blocks of a file, each once, in order or shuffled.
std::vector<std::uint32_t> order_blocks(const ReadWorkload& workload, std::uint64_t file_bytes) {
  // 2^24 blocks are 64 MiB of indices and more reads than seconds allow; the rest of a huge file is left out
  // by spreading the chosen blocks over it.
  constexpr std::uint64_t blocks_max = std::uint64_t{1} << 24;
  const std::uint64_t block_count = std::min<std::uint64_t>(file_bytes / workload.block_bytes, UINT32_MAX);
  const std::uint64_t step = workload.sequential ? 1 : divide_up(block_count, blocks_max);
  std::vector<std::uint32_t> blocks(std::min(block_count / step, blocks_max));
  for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<std::uint32_t>(i * step);
  if (!workload.sequential) {
    RandomStream random(mix_key(workload.seed, file_bytes));
    for (std::size_t i = blocks.size(); i > 1; --i) std::swap(blocks[i - 1], blocks[random.below(i)]);
  }
  return blocks;
}

}  // namespace

ReadMeasurement measure_reads(const std::filesystem::path& path, const ReadWorkload& workload,
                              const std::stop_token& stop) {
  const File file = File::open_for_reading(path);
  check(workload, file.size(), path.string());
  const std::vector<std::uint32_t> blocks = order_blocks(workload, file.size());

  ReadMeasurement measured{.workload = workload, .cost = {}};
  if (workload.engine == "mmap") measured.workload.queue_depth = 1;
  bool is_over = false;
  while (!is_over) {
    const auto engine = make_io_engine(
        workload.engine, {.queue_depth = measured.workload.queue_depth, .direct = workload.direct});
    const FileId id = engine->open(path);
    measured.workload.engine = engine->name();
    measured.workload.direct = engine->is_direct(id);
    if (!engine->is_direct(id)) file.drop_cache();
    ReadLoop loop(*engine, workload.block_bytes);

    const auto deadline =
        Clock::now() + std::chrono::duration<double>(workload.seconds - measured.cost.seconds);
    std::size_t next_block = 0;
    const auto next = [&](ReadLoop::Piece& piece) {
      // One read at least, however late the machine lets us begin.
      is_over = stop.stop_requested() || (measured.cost.reads > 0 && Clock::now() >= deadline);
      // What the cache now holds must go before it is read again; direct reads just go round.
      if (next_block == blocks.size() && engine->is_direct(id)) next_block = 0;
      if (is_over || next_block == blocks.size()) return false;
      piece = {.file = id,
               .offset = blocks[next_block++] * workload.block_bytes,
               .bytes = workload.block_bytes,
               .tag = 0};
      return true;
    };
    loop.run(next, [](std::uint64_t) {}, measured.cost);
  }
  if (stop.stop_requested()) fail(Kind::cancelled, "interrupted while {} was measured", path.string());
  return measured;
}

BenchmarkFile::BenchmarkFile(const std::filesystem::path& folder, std::uint64_t bytes,
                             const std::stop_token& stop)
    : path_(folder / (".gneiss-bench-" + std::to_string(::getpid()))), file_(File::create(path_)) {
  try {
    const File direct = file_.reopen_direct(true);
    const std::filesystem::path nameless = "/proc/self/fd/" + std::to_string(file_.descriptor());
    std::error_code ignored;
    if (std::filesystem::exists(nameless, ignored)) {
      std::filesystem::remove(path_, ignored);
      path_ = nameless;
    }
    fill(direct ? direct : file_, round_up(bytes, direct_io_alignment), stop);
  } catch (...) {
    remove_name();
    throw;
  }
}

BenchmarkFile::~BenchmarkFile() { remove_name(); }

void BenchmarkFile::remove_name() noexcept {
  // A name under /proc is no file's own and is not removed.
  std::error_code ignored;
  if (path_.parent_path() != "/proc/self/fd") std::filesystem::remove(path_, ignored);
}

void BenchmarkFile::fill(const File& target, std::uint64_t bytes, const std::stop_token& stop) {
  constexpr std::uint64_t piece_bytes = std::uint64_t{4} << 20;
  file_.reserve(bytes);
  AlignedBuffer piece(std::min(bytes, piece_bytes));
  RandomStream random(mix64(bytes));
  Progress progress("writing the test file", bytes, Progress::Unit::bytes);
  for (std::uint64_t offset = 0; offset < bytes;) {
    if (stop.stop_requested()) fail(Kind::cancelled, "interrupted while the test file was written");
    for (std::uint64_t& word : piece.as<std::uint64_t>()) word = random.next();
    const std::uint64_t length = std::min<std::uint64_t>(piece.size(), bytes - offset);
    target.write_at(offset, piece.bytes().first(length));
    offset += length;
    progress.advance(length);
  }
  file_.sync();
  file_.drop_cache();
}

}  // namespace gneiss
