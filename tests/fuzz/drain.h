// Takes all that a source of an import has to give, some at a time, as the importer does.
#pragma once

#include <algorithm>
#include <vector>

#include "storage/import/graph_source.h"

namespace gneiss::test {

inline void drain(EdgeSource& edges) {
  constexpr std::uint64_t at_once = 64;
  std::vector<std::int64_t> from(std::min(at_once, edges.edge_count()));
  std::vector<std::int64_t> to(from.size());
  for (std::uint64_t first = 0; first < edges.edge_count(); first += at_once) {
    const std::size_t count = std::min(at_once, edges.edge_count() - first);
    edges.read(std::span(from).first(count), std::span(to).first(count));
  }
  edges.finish();
}

inline void drain(SplitSource& split) {
  constexpr std::uint64_t at_once = 64;
  std::vector<std::int64_t> ids;
  for (std::uint64_t first = 0; first < split.id_count(); first += at_once) {
    ids.resize(std::min(at_once, split.id_count() - first));
    split.read(ids);
  }
  split.finish();
}

// Rows or labels. What the importer's check_sizes() and write_labels() refuse is not read.
template <class Value, class Source>
void drain_table(Source& source, std::uint64_t columns_max) {
  const std::uint64_t columns = source.column_count();
  if (columns == 0 || columns > columns_max) return;
  const std::uint64_t rows_at_once = std::max<std::uint64_t>(1, 256 / columns);
  std::vector<Value> block(std::min(rows_at_once, source.row_count()) * columns);
  for (std::uint64_t row = 0; row < source.row_count(); row += rows_at_once)
    source.read(std::span(block).first(std::min(rows_at_once, source.row_count() - row) * columns));
  source.finish();
}
inline void drain(RowSource& rows) { drain_table<float>(rows, 1U << 24); }
inline void drain(LabelSource& labels) { drain_table<double>(labels, label_columns_max); }

}  // namespace gneiss::test
