#include "storage/import/byte_source.h"

#include <algorithm>
#include <vector>

#include "storage/base/error.h"

namespace gneiss {

std::size_t ByteSource::read(std::span<std::byte> target) {
  if (target.empty()) return 0;
  const std::size_t taken = read_some(target);
  position_ += taken;
  return taken;
}

void ByteSource::read_exactly(std::span<std::byte> target) {
  while (!target.empty()) {
    const std::size_t taken = read(target);
    if (taken == 0) {
      fail(Kind::input,
           "{} ends after {} bytes where {} more were expected; the file is truncated, get it again", name_,
           position_, target.size());
    }
    target = target.subspan(taken);
  }
}

void ByteSource::skip(std::uint64_t bytes) {
  std::vector<std::byte> piece(std::min<std::uint64_t>(bytes, 1U << 20));
  while (bytes > 0) {
    const std::size_t take = std::min<std::uint64_t>(bytes, piece.size());
    read_exactly(std::span(piece).first(take));
    bytes -= take;
  }
}

void ByteSource::expect_end() {
  std::byte extra{};
  if (read({&extra, 1}) != 0) {
    fail(Kind::input, "{} goes on after byte {}, where its header says that it ends; the file is damaged",
         name_, position_ - 1);
  }
}

FileSource::FileSource(const std::filesystem::path& path)
    : ByteSource(path.string()), file_(File::open_for_reading(path)), bytes_(file_.size()) {}

std::size_t FileSource::read_some(std::span<std::byte> target) {
  if (position_ >= bytes_) return 0;
  const std::size_t take = std::min<std::uint64_t>(target.size(), bytes_ - position_);
  file_.read_at(position_, target.first(take));
  return take;
}

void FileSource::skip(std::uint64_t bytes) { position_ += bytes; }

}  // namespace gneiss
