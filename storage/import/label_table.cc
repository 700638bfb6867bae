#include "storage/import/label_table.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>

#include "storage/base/error.h"
#include "storage/base/rounding.h"

namespace gneiss {

namespace {

constexpr std::size_t values_at_once = 64U << 10;

void check_shape(const LabelSource& source, std::uint64_t node_count) {
  if (source.row_count() != node_count) {
    fail(Kind::input, "{} has {} labels, the features have {} rows; both must have one entry a node",
         source.name(), source.row_count(), node_count);
  }
  if (source.column_count() == 0 || source.column_count() > label_columns_max) {
    fail(Kind::input, "{} has {} labels a node; 1 to {} are possible", source.name(), source.column_count(),
         label_columns_max);
  }
}

// Reads all rows in pieces, and gives each value to take(row, column, value).
template <class Take, class Flush>
void stream_labels(LabelSource& source, LabelTable& table, const Take& take, const Flush& flush) {
  const std::uint64_t columns = source.column_count();
  const std::uint64_t rows_at_once = std::max<std::uint64_t>(1, values_at_once / columns);
  std::vector<double> block(rows_at_once * columns);
  for (std::uint64_t first = 0; first < source.row_count(); first += rows_at_once) {
    const std::uint64_t rows = std::min(rows_at_once, source.row_count() - first);
    const auto values = std::span(block).first(rows * columns);
    source.read(values);
    table.is_labelled.resize(first + rows);  // as they come: their number is but a claim until then
    for (std::size_t i = 0; i < values.size(); ++i) take(first + i / columns, i % columns, values[i]);
    flush();
  }
  source.finish();
}

void write_classes(LabelSource& source, SectionWriter& writer, LabelTable& table) {
  std::vector<std::int32_t> labels;
  writer.begin({.kind = SectionKind::class_labels, .dtype = Dtype::i32});
  const auto take = [&](std::uint64_t node, std::uint64_t /*column*/, double value) {
    if (std::isnan(value) || value < 0) {
      labels.push_back(-1);
      return;
    }
    if (value != std::floor(value) || value >= static_cast<double>(class_count_max)) {
      fail(Kind::input, "{}: node {} has the label {}; labels are whole numbers from 0, below {}",
           source.name(), node, value, class_count_max);
    }
    const auto label = static_cast<std::int32_t>(value);
    labels.push_back(label);
    table.class_count = std::max(table.class_count, static_cast<std::uint32_t>(label) + 1);
    table.is_labelled[node] = true;
  };
  stream_labels(source, table, take, [&] {
    writer.append_values(std::span<const std::int32_t>(labels));
    labels.clear();
  });
  writer.end();
}

void write_columns(LabelSource& source, SectionWriter& writer, LabelTable& table) {
  table.label_columns = static_cast<std::uint32_t>(source.column_count());
  std::vector<std::uint8_t> entries;
  writer.begin({.kind = SectionKind::label_columns, .dtype = Dtype::u8, .columns = table.label_columns});
  const auto take = [&](std::uint64_t node, std::uint64_t column, double value) {
    if (std::isnan(value)) {
      entries.push_back(unlabelled);
      return;
    }
    if (value != 0 && value != 1) {
      fail(Kind::input, "{}: row {}, column {} is {}; labels of several columns are 0, 1 or NaN (none) each",
           source.name(), node, column, value);
    }
    entries.push_back(value == 1 ? 1 : 0);
    table.is_labelled[node] = true;
  };
  stream_labels(source, table, take, [&] {
    writer.append_values(std::span<const std::uint8_t>(entries));
    entries.clear();
  });
  writer.end();
}

}  // namespace

LabelTable write_labels(LabelSource& source, std::uint64_t node_count, const std::filesystem::path& file) {
  check_shape(source, node_count);
  LabelTable table;
  SectionWriter writer(file, labels_magic);
  if (source.column_count() > 1) {
    write_columns(source, writer, table);
  } else {
    write_classes(source, writer, table);
  }
  table.labelled_nodes =
      static_cast<std::uint64_t>(std::count(table.is_labelled.begin(), table.is_labelled.end(), true));
  if (table.labelled_nodes == 0) {
    fail(Kind::input, "{} gives no node a label; there is nothing to learn from it", source.name());
  }
  writer.finish();
  return table;
}

DatasetSplits read_splits(std::span<const std::unique_ptr<SplitSource>> sources, const LabelTable& labels) {
  DatasetSplits splits;
  const std::array lists{&splits.train, &splits.valid, &splits.test};
  GNEISS_ASSERT(sources.size() == lists.size());
  const std::uint64_t node_count = labels.is_labelled.size();
  std::vector<bool> in_any(node_count);
  std::vector<bool> in_this;
  std::vector<std::int64_t> piece;
  std::uint64_t shared = 0;
  for (std::size_t s = 0; s < sources.size(); ++s) {
    SplitSource& source = *sources[s];
    in_this.assign(node_count, false);
    lists[s]->reserve(source.id_count());
    for (std::uint64_t first = 0; first < source.id_count(); first += values_at_once) {
      piece.resize(std::min<std::uint64_t>(values_at_once, source.id_count() - first));
      source.read(piece);
      for (std::size_t i = 0; i < piece.size(); ++i) {
        const std::int64_t id = piece[i];
        if (id < 0 || static_cast<std::uint64_t>(id) >= node_count) {
          fail(Kind::input, "{}: entry {} names node {}, the graph has nodes 0 to {}", source.name(),
               first + i, id, node_count - 1);
        }
        const auto node = static_cast<std::size_t>(id);
        if (in_this[node]) {
          fail(Kind::input, "{}: entry {} names node {} a second time; a split lists each node once",
               source.name(), first + i, id);
        }
        if (!labels.is_labelled[node]) {
          fail(Kind::input,
               "{}: entry {} names node {}, which has no label; leave such nodes out of the splits",
               source.name(), first + i, id);
        }
        if (in_any[node]) ++shared;
        in_this[node] = true;
        in_any[node] = true;
        lists[s]->push_back(static_cast<NodeId>(id));
      }
    }
    source.finish();
    if (source.id_count() > 0) continue;
    if (s == 0) fail(Kind::input, "{} is empty; training needs at least one node", source.name());
    spdlog::warn("{} is empty; nothing will be evaluated on the {} split", source.name(),
                 name_of(static_cast<Split>(s)));
  }
  if (shared > 0) {
    spdlog::warn("{} nodes are in more than one split; accuracies on the later ones will look too good",
                 shared);
  }
  return splits;
}

std::uint64_t split_memory(std::uint64_t node_count, std::uint64_t id_count) {
  // The ids, and the same again as the catalog's values, in RocksDB's batch and in its table of what was
  // written. Of nodes: labelled, in any split, in this one.
  constexpr std::uint64_t copies = 4;
  return copies * id_count * sizeof(NodeId) + 3 * divide_up(node_count, 8);
}

}  // namespace gneiss
