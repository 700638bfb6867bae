#include "bench/ladder/row_list.h"

#include <algorithm>

#include "storage/base/error.h"
#include "storage/base/random.h"

namespace gneiss::ladder {

RowFile row_file_of(const Dataset& dataset) {
  const SectionEntry& rows = dataset.features().require(SectionKind::feature_rows);
  return {.path = dataset.features().name(),
          .offset = rows.offset,
          .row_bytes = dataset.info().row_bytes(),
          .row_count = dataset.info().node_count};
}

RowLists::RowLists(const SamplePool& pool, RowOrder order) : pool_(pool), order_(order) {
  const auto entries = pool.entries();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].key.split != Split::train) continue;
    indices_.push_back(i);
    row_count_max_ = std::max<std::uint64_t>(row_count_max_, entries[i].input_count);
    total_rows_ += entries[i].input_count;
  }
  if (indices_.empty()) fail(Kind::input, "{} holds no training batches", pool.file().name());
}

std::uint64_t RowLists::row_count(std::uint64_t position) const {
  return pool_.entries()[pool_index(position)].input_count;
}

void RowLists::read(std::uint64_t position, RowList& list) const {
  const BatchEntry& entry = pool_.entries()[pool_index(position)];
  const std::vector<NodeId> nodes = pool_.read_input_nodes(entry);
  pool_.file().file().drop_cache(entry.inputs_offset, entry.inputs_bytes);
  // Order and place in one word each: by node, or by a hash of it.
  std::vector<std::uint64_t> keys(nodes.size());
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const std::uint32_t node = to_index(nodes[i]);
    const std::uint64_t rank = order_ == RowOrder::ascending ? node : hash32(node);
    keys[i] = rank << 32 | i;
  }
  std::ranges::sort(keys);
  list.nodes.resize(nodes.size());
  list.targets.resize(nodes.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto target = static_cast<std::uint32_t>(keys[i]);
    list.nodes[i] = nodes[target];
    list.targets[i] = target;
  }
}

}  // namespace gneiss::ladder
