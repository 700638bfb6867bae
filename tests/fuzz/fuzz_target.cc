#include "tests/fuzz/fuzz_target.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "storage/base/random.h"
#include "tests/support/temporary_folder.h"

namespace gneiss::test {

std::span<const FuzzTarget* const> fuzz_targets() {
  static const std::array<const FuzzTarget*, 15> targets{
      &npy_target,      &npz_target,         &csv_target,         &gz_target,         &ogb_target,
      &sections_target, &frame_target,       &preparation_target, &catalog_target,    &checkpoint_target,
      &resume_target,   &safetensors_target, &train_state_target, &run_record_target, &config_target};
  return targets;
}

std::size_t change_input(const FuzzTarget& target, std::span<std::uint8_t> memory, std::size_t size,
                         std::uint64_t seed, ChangeBytes change) {
  const std::uint64_t draw = mix64(seed);
  const auto input = [&] { return std::as_writable_bytes(memory.first(size)); };
  auto parts = target.parts != nullptr ? target.parts(input()) : std::vector<std::span<std::byte>>();
  std::erase_if(parts, [](const auto& part) { return part.empty(); });
  if (!parts.empty() && draw % 8 != 0) {
    // In place: what an offset points to stays where it is.
    const auto part = parts[(draw >> 8) % parts.size()];
    std::vector<std::uint8_t> bytes(part.size());
    std::ranges::copy(part, std::as_writable_bytes(std::span(bytes)).begin());
    const std::size_t left = change(bytes.data(), bytes.size(), bytes.size());
    std::ranges::copy(std::as_bytes(std::span(bytes)).first(left), part.begin());
  } else {
    size = change(memory.data(), size, memory.size());
  }
  if (target.seal != nullptr && (draw >> 4) % 16 != 0) target.seal(input());
  return size;
}

MemoryFile::MemoryFile(std::string_view bytes) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
  if (descriptor_ < 0) throw std::runtime_error("no file in memory");
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t put = ::write(descriptor_, bytes.data() + at, bytes.size() - at);
    if (put < 0) throw std::runtime_error("a file in memory cannot be written");
    at += static_cast<std::size_t>(put);
  }
}

MemoryFile::~MemoryFile() { ::close(descriptor_); }

const std::filesystem::path& fuzz_folder() {
  // In memory where that can be: what is written here is synced, some thousand times.
  if (::access("/dev/shm", W_OK) == 0) ::setenv("TMPDIR", "/dev/shm", /*overwrite=*/0);
  static const TemporaryFolder folder;
  static const std::filesystem::path path = folder / "";
  return path;
}

void put_file(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::vector<std::string_view> split_input(std::string_view input, std::size_t count) {
  std::vector<std::string_view> files;
  while (files.size() < count) {
    const std::size_t end = files.size() + 1 == count ? input.npos : input.find(part_separator);
    files.push_back(input.substr(0, end));
    if (end == input.npos) break;
    input.remove_prefix(end + 1);
  }
  files.resize(count);
  return files;
}

std::string join_input(const std::vector<std::string>& files) {
  std::string input;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (i > 0) input += part_separator;
    input += files[i];
  }
  return input;
}

}  // namespace gneiss::test
