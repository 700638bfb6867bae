// What the first pass has counted of each batch, kept so that a kill costs little of it.
//
// How: the input lists lie in a file of their own; a checkpoint tells of each list its length and checksum.
#pragma once

#include <filesystem>
#include <vector>

#include "sampler/plan_preparation.h"
#include "storage/format/checkpoint.h"
#include "storage/pack/input_lists.h"

namespace gneiss {

class CountCheckpoint {
 public:
  //   made_from  of what the work is: what is there of other work is not taken up
  CountCheckpoint(const BatchSchedule& schedule, std::filesystem::path folder, std::uint64_t made_from)
      : schedule_(schedule), folder_(std::move(folder)), made_from_(made_from) {}

  // The lists' file, as it is there or empty.
  static File open_lists(const std::filesystem::path& folder);
  // Takes up what is there and sound: lists and entries of the first batches, and what these add to
  // `counts.accesses`.
  void go_on(InputLists& lists, BatchCounts& counts);
  void append(std::span<const NodeId> inputs, const BatchEntry& entry);
  void save(const InputLists& lists) const;

 private:
  static constexpr std::size_t entry_numbers = sizeof(BatchEntry) / sizeof(std::uint64_t);
  static constexpr std::size_t numbers_a_batch = 1 + entry_numbers;
  const BatchSchedule& schedule_;
  const std::filesystem::path folder_;
  const std::uint64_t made_from_;
  std::vector<std::uint64_t> numbers_;  // of each batch: the checksum of its list, its entry
};

}  // namespace gneiss
