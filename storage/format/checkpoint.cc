#include "storage/format/checkpoint.h"

#include <cstring>
#include <string_view>

#include "storage/base/checksum.h"
#include "storage/base/error.h"
#include "storage/io/file.h"

namespace gneiss {
namespace {

// Three numbers before the others, and a checksum of all behind them.
constexpr std::uint64_t magic = 0x54504B4349454E47;  // "GNEICKPT"
constexpr std::uint64_t version = 1;
constexpr std::size_t head_count = 3;

}  // namespace

void write_checkpoint(const std::filesystem::path& path, std::uint64_t made_from,
                      std::span<const std::uint64_t> numbers) {
  std::vector<std::uint64_t> all{magic, version, made_from};
  all.reserve(head_count + numbers.size() + 1);
  all.insert(all.end(), numbers.begin(), numbers.end());
  all.push_back(checksum(std::as_bytes(std::span(all))));
  const auto bytes = std::as_bytes(std::span(all));
  replace_file(path, std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

std::optional<CheckpointReader> CheckpointReader::open(const std::filesystem::path& path,
                                                       std::uint64_t made_from) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  const File file = File::open_for_reading(path);
  const std::uint64_t bytes = file.size();
  if (bytes % sizeof(std::uint64_t) != 0 || bytes / sizeof(std::uint64_t) < head_count + 1)
    return std::nullopt;
  std::vector<std::uint64_t> all(bytes / sizeof(std::uint64_t));
  file.read_at(0, std::as_writable_bytes(std::span(all)));
  const std::uint64_t expected = all.back();
  all.pop_back();
  if (all[0] != magic || all[1] != version || all[2] != made_from ||
      checksum(std::as_bytes(std::span(all))) != expected) {
    return std::nullopt;
  }
  all.erase(all.begin(), all.begin() + head_count);
  return CheckpointReader(path, std::move(all));
}

std::uint64_t CheckpointReader::take(std::uint64_t at_most) {
  if (next_ == numbers_.size() || numbers_[next_] > at_most) {
    fail(Kind::corruption, "{} says what cannot be; remove it, and prepare again", path_.string());
  }
  return numbers_[next_++];
}

std::vector<std::uint64_t> CheckpointReader::take_many(std::uint64_t count) {
  if (count > numbers_.size() - next_) {
    fail(Kind::corruption, "{} ends too early; remove it, and prepare again", path_.string());
  }
  const auto first = numbers_.begin() + static_cast<std::ptrdiff_t>(next_);
  next_ += count;
  return {first, first + static_cast<std::ptrdiff_t>(count)};
}

}  // namespace gneiss
