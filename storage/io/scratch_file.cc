#include "storage/io/scratch_file.h"

#include <fcntl.h>

#include <limits>

#include "storage/base/checksum.h"
#include "storage/base/error.h"
#include "storage/base/rounding.h"

namespace gneiss {
namespace {

std::uint32_t half_checksum(std::span<const std::byte> bytes) {
  return static_cast<std::uint32_t>(checksum(bytes));
}

}  // namespace

void fail_not_as_written(const std::string& path, std::uint64_t offset, std::uint64_t bytes) {
  fail(Kind::corruption,
       "{}: {} bytes at byte {} are not what was written; the drive is damaged, or its space is shared", path,
       bytes, offset);
}

ScratchFile::ScratchFile(const std::filesystem::path& folder, std::uint64_t cached_bytes)
    : file_(File::create_anonymous(folder)), cached_bytes_(cached_bytes) {}

ScratchPiece ScratchFile::append(std::span<const std::byte> bytes) {
  GNEISS_ASSERT(bytes.size() <= std::numeric_limits<std::uint32_t>::max());
  const std::uint64_t offset = end_.fetch_add(bytes.size(), std::memory_order_relaxed);
  const ScratchPiece piece{
      .offset = offset, .bytes = static_cast<std::uint32_t>(bytes.size()), .xxh3 = half_checksum(bytes)};
  file_.write_at(offset, bytes);
  // Pages are pushed out in steps: a memory control group counts them, and dirty ones stall its reclaim. A
  // step is started when it is full and waited for when the next one is, so that drive and caller overlap.
  constexpr std::uint64_t step = 32ULL << 20;
  const std::uint64_t end = offset + bytes.size();
  const std::uint64_t step_begin = round_down(end, step);
  if (offset / step != end / step && end > cached_bytes_ && step_begin >= 3 * step) {
    file_.start_write_back(step_begin - 2 * step, step);
    file_.write_back(step_begin - 3 * step, step);
  }
  return piece;
}

void ScratchFile::read(const ScratchPiece& piece, std::span<std::byte> target) const {
  GNEISS_ASSERT(target.size() == piece.bytes);
  file_.read_at(piece.offset, target);
  if (half_checksum(target) != piece.xxh3) fail_not_as_written(file_.path(), piece.offset, piece.bytes);
}

void ScratchFile::release(const ScratchPiece& piece) const noexcept {
  // A file system that cannot punch holes keeps the space until the end: no harm but space.
  (void)::fallocate(file_.descriptor(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    static_cast<off_t>(piece.offset), static_cast<off_t>(piece.bytes));
}

}  // namespace gneiss
