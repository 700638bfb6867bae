#include "storage/import/label_table.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>

#include "storage/base/error.h"

namespace gneiss {

LabelTable read_labels(LabelSource& source, std::uint64_t node_count) {
  if (source.row_count() != node_count) {
    fail(Kind::input, "{} has {} labels, the features have {} rows; both must have one entry a node",
         source.name(), source.row_count(), node_count);
  }
  LabelTable table;
  table.labels.reserve(node_count);
  std::vector<double> block(64U << 10);
  for (std::uint64_t first = 0; first < node_count; first += block.size()) {
    const auto values = std::span(block).first(std::min<std::uint64_t>(block.size(), node_count - first));
    source.read(values);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double value = values[i];
      if (std::isnan(value) || value < 0) {
        table.labels.push_back(-1);
        continue;
      }
      if (value != std::floor(value) || value >= static_cast<double>(class_count_max)) {
        fail(Kind::input, "{}: node {} has the label {}; labels are whole numbers from 0, below {}",
             source.name(), first + i, value, class_count_max);
      }
      const auto label = static_cast<std::int32_t>(value);
      table.labels.push_back(label);
      table.class_count = std::max(table.class_count, static_cast<std::uint32_t>(label) + 1);
      ++table.labelled_nodes;
    }
  }
  source.finish();
  if (table.labelled_nodes == 0) {
    fail(Kind::input, "{} gives no node a label; there is nothing to learn from it", source.name());
  }
  return table;
}

DatasetSplits check_splits(const std::array<SplitSource, 3>& sources, const LabelTable& labels) {
  DatasetSplits splits;
  const std::array lists{&splits.train, &splits.valid, &splits.test};
  std::vector<std::uint8_t> member(labels.labels.size());  // a bit for each split
  std::uint64_t shared = 0;
  for (std::size_t s = 0; s < sources.size(); ++s) {
    const SplitSource& source = sources[s];
    const auto bit = static_cast<std::uint8_t>(1U << s);
    lists[s]->reserve(source.ids.size());
    for (std::size_t i = 0; i < source.ids.size(); ++i) {
      const std::int64_t id = source.ids[i];
      if (id < 0 || static_cast<std::uint64_t>(id) >= member.size()) {
        fail(Kind::input, "{}: entry {} names node {}, the graph has nodes 0 to {}", source.name, i, id,
             member.size() - 1);
      }
      const auto node = static_cast<std::size_t>(id);
      if ((member[node] & bit) != 0) {
        fail(Kind::input, "{}: entry {} names node {} a second time; a split lists each node once",
             source.name, i, id);
      }
      if (labels.labels[node] < 0) {
        fail(Kind::input,
             "{}: entry {} names node {}, which has no label; leave such nodes out of the splits",
             source.name, i, id);
      }
      if (member[node] != 0) ++shared;
      member[node] = static_cast<std::uint8_t>(member[node] | bit);
      lists[s]->push_back(static_cast<NodeId>(id));
    }
    if (!source.ids.empty()) continue;
    if (s == 0) fail(Kind::input, "{} is empty; training needs at least one node", source.name);
    spdlog::warn("{} is empty; nothing will be evaluated on the {} split", source.name,
                 name_of(static_cast<Split>(s)));
  }
  if (shared > 0) {
    spdlog::warn("{} nodes are in more than one split; accuracies on the later ones will look too good",
                 shared);
  }
  return splits;
}

}  // namespace gneiss
