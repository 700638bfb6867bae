#include "storage/import/generator.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "storage/base/aligned_buffer.h"
#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/parallel.h"
#include "storage/base/progress.h"
#include "storage/base/random.h"
#include "storage/base/units.h"
#include "storage/import/graph_writer.h"
#include "storage/import/label_table.h"

namespace gneiss {
namespace {

constexpr std::uint64_t nodes_a_piece = 4096;
constexpr std::uint64_t nodes_at_once = 256U << 10;
constexpr std::uint64_t feature_bytes_at_once = 8U << 20;
constexpr std::uint64_t split_purpose = 6;  // beside the purposes of planted_graph.cc

struct SplitSizes {
  std::uint64_t train;
  std::uint64_t valid;
  std::uint64_t test;
};

SplitSizes split_sizes(const GeneratorOptions& options) {
  for (const double share : {options.train_share, options.valid_share, options.test_share}) {
    if (!(share >= 0 && share <= 1)) fail(Kind::config, "a split's share is {}; use 0 to 1", share);
  }
  if (options.train_share + options.valid_share + options.test_share > 1 + 1e-9) {
    fail(Kind::config, "--train-share, --valid-share and --test-share add up to {}; they may not exceed 1",
         options.train_share + options.valid_share + options.test_share);
  }
  const auto part = [&](double share) {
    return static_cast<std::uint64_t>(std::llround(share * static_cast<double>(options.graph.node_count)));
  };
  SplitSizes sizes{part(options.train_share), part(options.valid_share), part(options.test_share)};
  if (sizes.train == 0) {
    fail(Kind::config, "--train-share {} of {} nodes leaves none to train on; use a larger share",
         options.train_share, options.graph.node_count);
  }
  return sizes;
}

std::uint64_t split_ids(const SplitSizes& sizes) { return sizes.train + sizes.valid + sizes.test; }

// A second permutation deals the nodes into splits of exact sizes.
DatasetSplits deal_splits(const GeneratorOptions& options, const SplitSizes& sizes) {
  const std::uint64_t nodes = options.graph.node_count;
  const IdShuffle shuffle(nodes, mix_key(options.graph.seed, split_purpose));
  DatasetSplits splits;
  splits.train.reserve(sizes.train);
  splits.valid.reserve(sizes.valid);
  splits.test.reserve(sizes.test);
  for (std::uint64_t node = 0; node < nodes; ++node) {
    const std::uint64_t place = shuffle.forward(node);
    const auto id = static_cast<NodeId>(node);
    if (place < sizes.train) {
      splits.train.push_back(id);
    } else if (place < sizes.train + sizes.valid) {
      splits.valid.push_back(id);
    } else if (place < sizes.train + sizes.valid + sizes.test) {
      splits.test.push_back(id);
    }
  }
  return splits;
}

std::uint64_t write_edges(const PlantedGraph& graph, const GeneratorOptions& options,
                          const std::filesystem::path& folder, ThreadPool& pool,
                          DatasetStatistics& statistics) {
  const std::uint64_t nodes = graph.options().node_count;
  CscBuilder builder({.node_count = nodes,
                      .expected_edges = static_cast<std::uint64_t>(graph.options().average_degree *
                                                                   static_cast<double>(nodes)),
                      .add_reverse = !options.directed,
                      .deduplicate = true,
                      .memory_bytes = options.memory_bytes,
                      .scratch_folder = folder},
                     pool);
  std::vector<std::vector<std::uint32_t>> partners(pool.thread_count());
  std::vector<std::uint64_t> drawn(pool.thread_count());
  Progress progress("drawing edges", nodes, Progress::Unit::items);
  for (std::uint64_t first = 0; first < nodes; first += nodes_at_once) {
    throw_if_interrupted();
    const std::uint64_t count = std::min(nodes_at_once, nodes - first);
    pool.parallel_for(divide_up(count, nodes_a_piece), [&](std::size_t piece, std::size_t worker) {
      const std::uint64_t begin = first + piece * nodes_a_piece;
      const std::uint64_t end = std::min(begin + nodes_a_piece, first + count);
      auto& mine = partners[worker];
      for (std::uint64_t node = begin; node < end; ++node) {
        mine.clear();
        graph.draw_partners(node, mine);
        drawn[worker] += mine.size();
        for (const std::uint32_t partner : mine)
          builder.add(worker, static_cast<std::uint32_t>(node), partner);
      }
    });
    progress.advance(count);
  }
  progress.finish();
  for (const std::uint64_t count : drawn) statistics.source_edges += count;
  DegreeCounter degrees(nodes);
  const std::uint64_t edge_count =
      write_graph(builder, folder / graph_file_name, options.memory_bytes, degrees);
  statistics.take_degrees(degrees);
  return edge_count;
}

void write_labels(const PlantedGraph& graph, const std::filesystem::path& folder) {
  const std::uint64_t nodes = graph.options().node_count;
  SectionWriter writer(folder / labels_file_name, labels_magic);
  writer.begin({.kind = SectionKind::class_labels, .dtype = Dtype::i32});
  std::vector<std::int32_t> labels;
  for (std::uint64_t first = 0; first < nodes; first += nodes_at_once) {
    throw_if_interrupted();
    labels.resize(std::min(nodes_at_once, nodes - first));
    for (std::size_t i = 0; i < labels.size(); ++i) {
      labels[i] = static_cast<std::int32_t>(graph.label_of(first + i));
    }
    writer.append_values(std::span<const std::int32_t>(labels));
  }
  writer.end();
  writer.finish();
}

void write_rows(const PlantedGraph& graph, Dtype dtype, const std::filesystem::path& folder,
                ThreadPool& pool) {
  const std::uint64_t nodes = graph.options().node_count;
  const std::uint64_t columns = graph.options().feature_dim;
  const std::uint64_t row_bytes = columns * size_of(dtype);
  const std::uint64_t block_rows = std::max<std::uint64_t>(1, feature_bytes_at_once / row_bytes);
  const std::uint64_t piece_rows = std::max<std::uint64_t>(1, block_rows / 32);
  std::vector<std::byte> block(std::min(block_rows, nodes) * row_bytes);
  std::vector<std::vector<float>> rows(pool.thread_count(), std::vector<float>(columns));
  SectionWriter writer(folder / features_file_name, features_magic);
  writer.begin({.kind = SectionKind::feature_rows,
                .dtype = dtype,
                .columns = columns,
                .checksum_block_bytes = feature_checksum_block_bytes});
  Progress progress("writing features", nodes * row_bytes, Progress::Unit::bytes);
  for (std::uint64_t first = 0; first < nodes; first += block_rows) {
    throw_if_interrupted();
    const std::uint64_t count = std::min(block_rows, nodes - first);
    pool.parallel_for(divide_up(count, piece_rows), [&](std::size_t piece, std::size_t worker) {
      auto& row = rows[worker];
      const std::uint64_t end = std::min((piece + 1) * piece_rows, count);
      for (std::uint64_t i = piece * piece_rows; i < end; ++i) {
        graph.draw_features(first + i, row);
        std::byte* target = block.data() + i * row_bytes;
        convert(Dtype::f32, std::as_bytes(std::span(row)).data(), dtype, target, columns);
      }
    });
    writer.append(std::span(block).first(count * row_bytes));
    progress.advance(count * row_bytes);
  }
  writer.end();
  writer.finish();
}

double measure_feature_accuracy(const PlantedGraph& graph, ThreadPool& pool) {
  const PlantedOptions& options = graph.options();
  // 10,000 nodes give the accuracy within half a point; fewer where classifying one is dear.
  constexpr std::uint64_t products_at_most = 400'000'000;
  const std::uint64_t per_node = std::uint64_t{options.class_count} * options.feature_dim;
  const std::uint64_t sample =
      std::min(options.node_count, std::clamp<std::uint64_t>(products_at_most / per_node, 200, 10'000));
  std::vector<std::uint64_t> right(pool.thread_count());
  std::vector<std::vector<float>> rows(pool.thread_count(), std::vector<float>(options.feature_dim));
  pool.parallel_for(sample, [&](std::size_t i, std::size_t worker) {
    const auto node =
        static_cast<std::uint64_t>(static_cast<unsigned __int128>(i) * options.node_count / sample);
    graph.draw_features(node, rows[worker]);
    if (graph.classify(rows[worker]) == graph.label_of(node)) ++right[worker];
  });
  std::uint64_t all_right = 0;
  for (const std::uint64_t count : right) all_right += count;
  return static_cast<double>(all_right) / static_cast<double>(sample);
}

}  // namespace

std::uint64_t generator_memory_beside(const GeneratorOptions& options) {
  const std::uint64_t graph = PlantedGraph::memory_bytes(options.graph);
  return graph + split_memory(options.graph.node_count, split_ids(split_sizes(options)));
}

GeneratorReport generate_dataset(const GeneratorOptions& options, const std::filesystem::path& target) {
  const PlantedGraph graph(options.graph);
  const SplitSizes sizes = split_sizes(options);
  const DatasetInfo shape{.node_count = options.graph.node_count,
                          .edge_count = 0,
                          .feature_dim = options.graph.feature_dim,
                          .feature_dtype = options.feature_dtype,
                          .class_count = options.graph.class_count,
                          .source = fmt::format("generated with seed {}", options.graph.seed)};
  DatasetWriter dataset(target, options.force);
  const std::filesystem::path& folder = dataset.folder();
  if (const std::uint64_t free = free_bytes(folder); free < shape.feature_bytes()) {
    fail(Kind::io, "{} has {} free, the features alone take {}; make room or choose another drive",
         target.string(), format_bytes(static_cast<double>(free)),
         format_bytes(static_cast<double>(shape.feature_bytes())));
  }
  ThreadPool pool(options.thread_count);
  GeneratorReport report;
  DatasetStatistics& statistics = report.statistics;
  statistics.info = shape;
  statistics.info.edge_count = write_edges(graph, options, folder, pool, statistics);
  write_labels(graph, folder);
  write_rows(graph, options.feature_dtype, folder, pool);
  const DatasetSplits splits = deal_splits(options, sizes);
  statistics.train_nodes = splits.train.size();
  statistics.valid_nodes = splits.valid.size();
  statistics.test_nodes = splits.test.size();
  statistics.labelled_nodes = options.graph.node_count;
  report.best_feature_accuracy = measure_feature_accuracy(graph, pool);
  report.best_accuracy = 1 - options.graph.label_noise * (1 - 1.0 / options.graph.class_count);
  nlohmann::json recorded = to_json(statistics);
  recorded["best_feature_accuracy"] = report.best_feature_accuracy;
  recorded["best_accuracy"] = report.best_accuracy;
  recorded["undirected"] = !options.directed;
  dataset.seal(statistics.info, splits, recorded);
  return report;
}

}  // namespace gneiss
