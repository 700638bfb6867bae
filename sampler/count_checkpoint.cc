#include "sampler/count_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "sampler/preparation_in_work.h"
#include "storage/base/checksum.h"
#include "storage/base/error.h"

namespace gneiss {

File CountCheckpoint::open_lists(const std::filesystem::path& folder) {
  const auto path = folder / inputs_work_name;
  return std::filesystem::exists(path) ? File::open_existing(path) : File::create(path);
}

void CountCheckpoint::go_on(InputLists& lists, BatchCounts& counts) {
  auto saved = CheckpointReader::open(folder_ / inputs_checkpoint_name, made_from_);
  if (!saved) return;
  try {
    const std::uint64_t count = saved->take(schedule_.size());
    for (std::uint64_t batch = 0; batch < count; ++batch) {
      const auto numbers = saved->take_many(numbers_a_batch);
      BatchEntry entry{};
      std::memcpy(std::as_writable_bytes(std::span(&entry, 1)).data(), numbers.data() + 1, sizeof(entry));
      const std::vector<NodeId> nodes = lists.take_up(entry.input_count);
      const bool is_sound =
          checksum(std::as_bytes(std::span(nodes))) == numbers[0] && entry.key == schedule_.key(batch) &&
          std::ranges::adjacent_find(nodes, std::greater_equal()) == nodes.end() &&
          std::ranges::all_of(nodes, [&](NodeId node) { return to_index(node) < counts.accesses.size(); });
      if (!is_sound) {  // this one and the rest are counted anew
        lists.drop_last();
        return;
      }
      if (schedule_.key(batch).split == Split::train) {
        for (const NodeId node : nodes) ++counts.accesses[to_index(node)];
      }
      counts.entries.push_back(entry);
      numbers_.insert(numbers_.end(), numbers.begin(), numbers.end());
    }
  } catch (const Error& error) {
    if (error.kind() != Kind::corruption) throw;  // what came before the damage is sound
  }
}

void CountCheckpoint::append(std::span<const NodeId> inputs, const BatchEntry& entry) {
  numbers_.push_back(checksum(std::as_bytes(inputs)));
  const std::size_t first = numbers_.size();
  numbers_.resize(first + entry_numbers);
  std::memcpy(numbers_.data() + first, &entry, sizeof(entry));
}

void CountCheckpoint::save(const InputLists& lists) const {
  lists.sync();
  std::vector<std::uint64_t> numbers{numbers_.size() / numbers_a_batch};
  numbers.insert(numbers.end(), numbers_.begin(), numbers_.end());
  write_checkpoint(folder_ / inputs_checkpoint_name, made_from_, numbers);
}

}  // namespace gneiss
