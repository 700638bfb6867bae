// How far a long piece of work has come, as numbers in a small file that is whole or not there.
//
// Why:    what a killed run has done need not be done again; what it says is believed only when every byte of
//         it is what was written, for the same work.
// How:    the work is synced first, then the numbers: written to a temporary name, synced, renamed.
// Format: storage/FORMAT.md, "Preparation".
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "storage/base/stopwatch.h"

namespace gneiss {

// Errors: io.
void write_checkpoint(const std::filesystem::path& path, std::uint64_t made_from,
                      std::span<const std::uint64_t> numbers);

// Reads the numbers one after another. Those who take them check what they mean.
class CheckpointReader {
 public:
  // Nothing when there is none, or it is damaged, or of work on something else.
  static std::optional<CheckpointReader> open(const std::filesystem::path& path, std::uint64_t made_from);

  // Throw Error(corruption) when there are no more, or the number is larger.
  std::uint64_t take(std::uint64_t at_most = ~std::uint64_t{0});
  std::vector<std::uint64_t> take_many(std::uint64_t count);
  std::vector<std::uint64_t> rest() { return take_many(numbers_.size() - next_); }

 private:
  CheckpointReader(std::filesystem::path path, std::vector<std::uint64_t> numbers)
      : path_(std::move(path)), numbers_(std::move(numbers)) {}
  std::filesystem::path path_;
  std::vector<std::uint64_t> numbers_;
  std::size_t next_ = 0;
};

// Says when the next checkpoint is due: after `seconds`, and later where one costs much.
class CheckpointTimer {
 public:
  explicit CheckpointTimer(double seconds) : least_seconds_(seconds), seconds_(seconds) {}
  bool is_due() const { return clock_.seconds() >= seconds_; }
  // Runs `write` and rests for at least 20 times what it took: 5 % of the time at most.
  template <class Write>
  void take(const Write& write) {
    clock_.restart();
    write();
    const double cost = clock_.restart();
    seconds_ = least_seconds_ == 0 ? 0 : std::max(least_seconds_, 20 * cost);
  }

 private:
  double least_seconds_;
  double seconds_;
  Stopwatch clock_;
};

}  // namespace gneiss
