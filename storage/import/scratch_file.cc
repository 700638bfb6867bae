#include "storage/import/scratch_file.h"

#include <fcntl.h>

#include "storage/base/aligned_buffer.h"

namespace gneiss {

ScratchFile::ScratchFile(const std::filesystem::path& folder, std::uint64_t cached_bytes)
    : file_(File::create_anonymous(folder)), cached_bytes_(cached_bytes) {}

std::uint64_t ScratchFile::append(std::span<const std::byte> bytes) {
  const std::uint64_t offset = end_.fetch_add(bytes.size(), std::memory_order_relaxed);
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
  return offset;
}

void ScratchFile::release(std::uint64_t offset, std::uint64_t bytes) const noexcept {
  // A file system that cannot punch holes keeps the space until the end: no harm but space.
  (void)::fallocate(file_.descriptor(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    static_cast<off_t>(offset), static_cast<off_t>(bytes));
}

}  // namespace gneiss
