#include "storage/pack/scratch_lists.h"

#include <algorithm>

#include "storage/base/checksum.h"
#include "storage/base/error.h"
#include "storage/base/rounding.h"
#include "storage/io/scratch_file.h"

namespace gneiss {
namespace {

std::span<const std::byte> block_at(std::span<const std::byte> bytes, std::uint64_t at) {
  return bytes.subspan(at, std::min<std::uint64_t>(list_block_bytes, bytes.size() - at));
}

}  // namespace

void ScratchBytes::add_list(std::span<const std::byte> bytes) {
  for (std::uint64_t at = 0; at < bytes.size(); at += list_block_bytes) {
    checksums_.push_back(checksum(block_at(bytes, at)));
  }
  offsets_.push_back(offsets_.back() + bytes.size());
  first_blocks_.push_back(checksums_.size());
}

void ScratchBytes::append(std::span<const std::byte> bytes) {
  file_.write_at(offsets_.back(), bytes);
  add_list(bytes);
}

std::uint64_t ScratchBytes::bytes_behind() const {
  const std::uint64_t file_bytes = file_.size();
  return file_bytes - std::min(file_bytes, offsets_.back());
}

void ScratchBytes::take_up(std::span<std::byte> target) {
  file_.read_at(offsets_.back(), target);
  add_list(target);
}

void ScratchBytes::drop_last() {
  offsets_.pop_back();
  first_blocks_.pop_back();
  checksums_.resize(first_blocks_.back());
}

void ScratchBytes::check_blocks(std::size_t list, std::uint64_t first,
                                std::span<const std::byte> bytes) const {
  std::size_t block = first_blocks_[list] + first / list_block_bytes;
  for (std::uint64_t at = 0; at < bytes.size(); at += list_block_bytes) {
    const auto part = block_at(bytes, at);
    if (checksum(part) == checksums_[block++]) continue;
    fail_not_as_written(file_.path(), offsets_[list] + first + at, part.size());
  }
}

void ScratchBytes::read(std::size_t list, std::uint64_t first, std::span<std::byte> target) const {
  GNEISS_ASSERT(list < list_count() && first + target.size() <= size(list));
  if (target.empty()) return;
  // Whole blocks, for these are what can be compared.
  const std::uint64_t begin = round_down(first, list_block_bytes);
  const std::uint64_t end =
      std::min<std::uint64_t>(round_up(first + target.size(), list_block_bytes), size(list));
  if (begin == first && end == first + target.size()) {
    file_.read_at(offsets_[list] + first, target);
    return check_blocks(list, first, target);
  }
  std::vector<std::byte> blocks(end - begin);
  file_.read_at(offsets_[list] + begin, blocks);
  check_blocks(list, begin, blocks);
  std::ranges::copy(std::span(blocks).subspan(first - begin, target.size()), target.begin());
}

}  // namespace gneiss
