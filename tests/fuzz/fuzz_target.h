// A parser, told how it is fed: what libFuzzer and the replay in `make test` need to know of each.
//
// Why:   a hostile file may be answered with an Error, with values, and with nothing else: no other
// exception,
//        no crash, no hang, no memory that its bytes do not justify.
// Reach: behind a checksum nothing is ever met by chance. A target that knows the checksums of its format
// makes
//        them right again after bytes were changed (`seal`), and says which parts are worth changing
//        (`parts`).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "storage/base/error.h"

namespace gneiss::test {

struct FuzzTarget {
  const char* name;
  // Files as our own writers, and other programs, make them.
  std::vector<std::string> (*seeds)();
  // Reads them as the program does. What leaves it is a finding, but for Error.
  void (*run)(std::string_view input);
  void (*seal)(std::span<std::byte> input) = nullptr;
  std::vector<std::span<std::byte>> (*parts)(std::span<std::byte> input) = nullptr;
  std::uint32_t replays = 1000;  // changed inputs that `make test` tries
};

// One a file, which carries its name.
extern const FuzzTarget catalog_target;
extern const FuzzTarget checkpoint_target;
extern const FuzzTarget config_target;
extern const FuzzTarget csv_target;
extern const FuzzTarget frame_target;
extern const FuzzTarget gz_target;
extern const FuzzTarget npy_target;
extern const FuzzTarget npz_target;
extern const FuzzTarget ogb_target;
extern const FuzzTarget preparation_target;
extern const FuzzTarget resume_target;
extern const FuzzTarget run_record_target;
extern const FuzzTarget safetensors_target;
extern const FuzzTarget sections_target;
extern const FuzzTarget train_state_target;

std::span<const FuzzTarget* const> fuzz_targets();

// Changes up to `size` bytes at `data`, in place; returns how many there are now.
using ChangeBytes = std::size_t (*)(std::uint8_t* data, std::size_t size, std::size_t size_max);
// What of an input is changed, and whether its checksums are made right, follows from `seed`.
std::size_t change_input(const FuzzTarget& target, std::span<std::uint8_t> memory, std::size_t size,
                         std::uint64_t seed, ChangeBytes change);

// Runs `work`; an Error is an answer.
template <class Work>
void attempt(const Work& work) {
  try {
    work();
  } catch (const Error&) {
  }
}

// Bytes as a file without a name, for parsers that take a path.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

// A folder of this process, gone at its end.
const std::filesystem::path& fuzz_folder();
void put_file(const std::filesystem::path& path, std::string_view bytes);

// Several files in one input, one after another with a separator between them: at most `count`.
inline constexpr char part_separator = '\x1e';
std::vector<std::string_view> split_input(std::string_view input, std::size_t count);
std::string join_input(const std::vector<std::string>& files);

}  // namespace gneiss::test
