#include "tests/support/small_dataset.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>

#include "storage/base/random.h"
#include "storage/format/section_file.h"

namespace gneiss::test {
namespace {

constexpr std::uint64_t edge_stream = 1;
constexpr std::uint64_t feature_stream = 2;
constexpr std::uint64_t label_stream = 3;
constexpr std::uint64_t split_stream = 4;

void fill_graph(SmallDataset& data, EdgeList edges) {
  std::ranges::sort(edges, {}, [](const auto& edge) { return std::pair(edge.second, edge.first); });
  data.indptr.assign(data.info.node_count + 1, 0);
  for (const auto& [source, destination] : edges) {
    ++data.indptr[destination + 1];
    data.indices.push_back(static_cast<NodeId>(source));
  }
  for (std::size_t node = 0; node < data.info.node_count; ++node) data.indptr[node + 1] += data.indptr[node];
}

void fill_rows(SmallDataset& data, const SmallDatasetOptions& options) {
  RandomStream random(mix_key(options.seed, feature_stream));
  data.features.resize(data.info.feature_bytes());
  for (std::size_t at = 0; at < data.features.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t value = random.next();
    std::memcpy(&data.features[at], &value, std::min(sizeof(value), data.features.size() - at));
  }
  if (!options.features.empty()) {
    convert(Dtype::f32, reinterpret_cast<const std::byte*>(options.features.data()), options.dtype,
            data.features.data(), options.features.size());
  }
  RandomStream labels(mix_key(options.seed, label_stream));
  for (std::uint32_t node = 0; node < options.nodes; ++node) {
    if (options.label_columns == 0) {
      data.labels.push_back(static_cast<std::int32_t>(labels.below(options.classes + 1)) - 1);
    }
    for (std::uint32_t column = 0; column < options.label_columns; ++column) {
      const std::uint64_t draw = labels.below(4);
      data.entries.push_back(draw < 2 ? static_cast<std::uint8_t>(draw) : unlabelled);
    }
  }
}

void fill_splits(SmallDataset& data, const SmallDatasetOptions& options) {
  std::vector<NodeId> nodes;
  for (std::uint32_t node = 0; node < options.nodes; ++node) nodes.push_back(static_cast<NodeId>(node));
  RandomStream random(mix_key(options.seed, split_stream));
  for (std::size_t left = nodes.size(); left > 1; --left)
    std::swap(nodes[left - 1], nodes[random.below(left)]);
  auto take = [&, first = std::size_t{0}](std::size_t count) mutable {
    const auto part = std::span(nodes).subspan(first, std::min(count, nodes.size() - first));
    first += part.size();
    return std::vector<NodeId>(part.begin(), part.end());
  };
  data.splits.train = take(options.train);
  data.splits.valid = take(options.valid);
  data.splits.test = take(options.test);
}

void write_files(const SmallDataset& data, bool force) {
  DatasetWriter writer(data.folder, force);
  SectionWriter graph(writer.folder() / graph_file_name, graph_magic);
  graph.write<NodeId>({.kind = SectionKind::csc_indices,
                       .dtype = Dtype::u32,
                       .checksum_block_bytes = graph_checksum_block_bytes},
                      data.indices);
  graph.write<std::uint64_t>({.kind = SectionKind::csc_indptr,
                              .dtype = Dtype::u64,
                              .checksum_block_bytes = graph_checksum_block_bytes},
                             data.indptr);
  graph.finish();
  SectionWriter features(writer.folder() / features_file_name, features_magic);
  features.write<std::byte>({.kind = SectionKind::feature_rows,
                             .dtype = data.info.feature_dtype,
                             .columns = data.info.feature_dim,
                             .checksum_block_bytes = feature_checksum_block_bytes},
                            data.features);
  features.finish();
  SectionWriter labels(writer.folder() / labels_file_name, labels_magic);
  if (data.info.label_columns > 0) {
    labels.write<std::uint8_t>(
        {.kind = SectionKind::label_columns, .dtype = Dtype::u8, .columns = data.info.label_columns},
        data.entries);
  } else {
    labels.write<std::int32_t>({.kind = SectionKind::class_labels, .dtype = Dtype::i32}, data.labels);
  }
  labels.finish();
  writer.seal(data.info, data.splits, {{"nodes", data.info.node_count}});
}

}  // namespace

SmallDataset write_small_dataset(const std::filesystem::path& folder, const SmallDatasetOptions& options) {
  EdgeList edges;
  RandomStream random(mix_key(options.seed, edge_stream));
  for (std::uint64_t i = 0; i < options.edges; ++i) {
    const auto source = static_cast<std::uint32_t>(random.below(options.nodes));
    // The product of two draws makes hubs of the small ids and leaves some nodes without in-edges.
    const auto destination = static_cast<std::uint32_t>(random.uniform() * random.uniform() * options.nodes);
    edges.emplace_back(source, destination);
  }
  return write_small_dataset(folder, options, std::move(edges));
}

SmallDataset write_small_dataset(const std::filesystem::path& folder, const SmallDatasetOptions& options,
                                 EdgeList edges) {
  SmallDataset data;
  data.folder = folder;
  data.info = {.node_count = options.nodes,
               .edge_count = edges.size(),
               .feature_dim = options.dim,
               .feature_dtype = options.dtype,
               .class_count = options.label_columns > 0 ? 0 : options.classes,
               .label_columns = options.label_columns,
               .source = "a test"};
  fill_graph(data, std::move(edges));
  fill_rows(data, options);
  fill_splits(data, options);
  write_files(data, options.force);
  return data;
}

}  // namespace gneiss::test
