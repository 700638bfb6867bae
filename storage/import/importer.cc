#include "storage/import/importer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/parallel.h"
#include "storage/base/progress.h"
#include "storage/base/units.h"
#include "storage/import/graph_writer.h"
#include "storage/import/label_table.h"

namespace gneiss {
namespace {

constexpr std::size_t edges_at_once = 256U << 10;
constexpr std::size_t edges_a_piece = 32U << 10;

void check_sizes(const GraphSource& source) {
  const std::string& name = source.features->name();
  if (source.node_count == 0) fail(Kind::input, "{} has no rows; a graph needs at least one node", name);
  if (source.node_count > max_node_count) {
    fail(Kind::input, "{} has {} rows; node ids are 32 bits, so at most {} nodes fit", name,
         source.node_count, max_node_count);
  }
  if (source.features->row_count() != source.node_count) {
    fail(Kind::input, "{} has {} rows, the graph has {} nodes", name, source.features->row_count(),
         source.node_count);
  }
  const std::uint64_t columns = source.features->column_count();
  if (columns == 0 || columns > (1U << 24)) {
    fail(Kind::input, "{} has {} columns; features have 1 to {}", name, columns, 1U << 24);
  }
}

void check_space(const GraphSource& source, Dtype dtype, const ImportOptions& options,
                 const std::filesystem::path& folder) {
  // What is certain: edges wait in the scratch file while nothing but labels is there, features come after.
  const bool reverse = options.undirected || source.add_inverse_edges;
  const std::uint64_t scratch_bytes = 8 * source.edges->edge_count() * (reverse ? 2 : 1);
  const std::uint64_t feature_bytes =
      source.node_count * (source.features->column_count() * size_of(dtype) + sizeof(std::uint64_t));
  const std::uint64_t needed = std::max(scratch_bytes, feature_bytes);
  const std::uint64_t free = free_bytes(folder);
  if (needed <= free) return;
  fail(Kind::io, "{} has {} free, the import needs at least {}; make room or choose another drive",
       folder.parent_path().empty() ? "." : folder.parent_path().string(),
       format_bytes(static_cast<double>(free)), format_bytes(static_cast<double>(needed)));
}

void check_edges(std::span<const std::int64_t> sources, std::span<const std::int64_t> destinations,
                 std::uint64_t first_edge, std::uint64_t node_count, const std::string& name) {
  for (std::size_t i = 0; i < sources.size(); ++i) {
    for (const std::int64_t id : {sources[i], destinations[i]}) {
      if (static_cast<std::uint64_t>(id) < node_count) continue;
      fail(Kind::input, "{}: edge {} joins {} and {}, the graph has nodes 0 to {}", name, first_edge + i,
           sources[i], destinations[i], node_count - 1);
    }
  }
}

void add_edges(EdgeSource& edges, std::uint64_t node_count, CscBuilder& builder, ThreadPool& pool) {
  std::vector<std::int64_t> sources(std::min<std::uint64_t>(edges_at_once, edges.edge_count()));
  std::vector<std::int64_t> destinations(sources.size());
  Progress progress("reading edges", edges.edge_count(), Progress::Unit::items);
  for (std::uint64_t first = 0; first < edges.edge_count(); first += edges_at_once) {
    throw_if_interrupted();
    const std::size_t count = std::min<std::uint64_t>(edges_at_once, edges.edge_count() - first);
    edges.read(std::span(sources).first(count), std::span(destinations).first(count));
    pool.parallel_for(divide_up(count, edges_a_piece), [&](std::size_t piece, std::size_t worker) {
      const std::size_t begin = piece * edges_a_piece;
      const std::size_t size = std::min(edges_a_piece, count - begin);
      const auto from = std::span<const std::int64_t>(sources).subspan(begin, size);
      const auto to = std::span<const std::int64_t>(destinations).subspan(begin, size);
      check_edges(from, to, first + begin, node_count, edges.name());
      for (std::size_t i = 0; i < size; ++i) {
        builder.add(worker, static_cast<std::uint32_t>(from[i]), static_cast<std::uint32_t>(to[i]));
      }
    });
    progress.advance(count);
  }
  edges.finish();
}

void warn_of(const FeatureReport& report, const std::string& name) {
  if (report.nan_values > 0 || report.infinite_values > 0) {
    spdlog::warn("{} holds {} NaN and {} infinite values; they are kept, and losses may become NaN", name,
                 report.nan_values, report.infinite_values);
  }
  if (report.overflowed_values > 0) {
    spdlog::warn("{} values of {} are beyond the range of f16 and became infinite; use f32 or bf16",
                 report.overflowed_values, name);
  }
}

}  // namespace

std::uint64_t import_memory_beside(const GraphSource& source) {
  std::uint64_t ids = 0;
  for (const auto& split : source.splits) ids += split->id_count();
  return split_memory(source.node_count, ids);
}

DatasetStatistics import_graph(GraphSource source, const std::filesystem::path& target,
                               const ImportOptions& options) {
  check_sizes(source);
  const Dtype dtype = options.feature_dtype.value_or(source.features->natural_dtype());
  DatasetWriter dataset(target, options.force);
  const std::filesystem::path& folder = dataset.folder();
  check_space(source, dtype, options, folder);
  ThreadPool pool(options.thread_count);

  // The small files first: most mistakes are in them, and found before the long work.
  DatasetStatistics statistics;
  DatasetSplits splits;
  std::uint32_t class_count = 0;
  std::uint32_t label_columns = 0;
  {
    const LabelTable labels = write_labels(*source.labels, source.node_count, folder / labels_file_name);
    splits = read_splits(source.splits, labels);
    source.splits = {};
    class_count = labels.class_count;
    label_columns = labels.label_columns;
    statistics.labelled_nodes = labels.labelled_nodes;
  }

  // What is left beside the splits, and the degrees' bit a node.
  const std::uint64_t held =
      (splits.train.size() + splits.valid.size() + splits.test.size()) * sizeof(NodeId) +
      divide_up(source.node_count, 8);
  const std::uint64_t memory_bytes = options.memory_bytes - std::min(options.memory_bytes / 2, held);
  std::uint64_t edge_count = 0;
  {
    CscBuilder builder({.node_count = source.node_count,
                        .expected_edges = source.edges->edge_count(),
                        .add_reverse = options.undirected || source.add_inverse_edges,
                        .deduplicate = options.undirected,
                        .self_loops = options.self_loops,
                        .memory_bytes = memory_bytes,
                        .scratch_folder = folder},
                       pool);
    add_edges(*source.edges, source.node_count, builder, pool);
    DegreeCounter degrees(source.node_count);
    edge_count = write_graph(builder, folder / graph_file_name, memory_bytes, degrees);
    statistics.take_degrees(degrees);
  }
  {
    SectionWriter writer(folder / features_file_name, features_magic);
    const FeatureReport report = write_features(*source.features, dtype, options.normalization, writer);
    writer.finish();
    warn_of(report, source.features->name());
    statistics.nan_values = report.nan_values;
    statistics.infinite_values = report.infinite_values;
  }

  statistics.info = {.node_count = source.node_count,
                     .edge_count = edge_count,
                     .feature_dim = static_cast<std::uint32_t>(source.features->column_count()),
                     .feature_dtype = dtype,
                     .class_count = class_count,
                     .label_columns = label_columns,
                     .source = source.description};
  statistics.source_edges = source.edges->edge_count();
  statistics.train_nodes = splits.train.size();
  statistics.valid_nodes = splits.valid.size();
  statistics.test_nodes = splits.test.size();
  nlohmann::json recorded = to_json(statistics);
  recorded["undirected"] = options.undirected;
  recorded["inverse_edges_added"] = source.add_inverse_edges;
  recorded["self_loops_added"] = options.self_loops;
  recorded["normalization"] = name_of(options.normalization);
  dataset.seal(statistics.info, splits, recorded);
  return statistics;
}

}  // namespace gneiss
