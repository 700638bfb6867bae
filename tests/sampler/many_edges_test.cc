// More edges than 32 bits count: a graph.csc that is mostly a hole, so that nobody has to hold it.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/sampler/prepare_fixture.h"
#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

// Node 0 has 2^32 in-edges, all from itself: zeros. Every other node has three, behind these.
constexpr std::uint32_t nodes = 1001;
constexpr std::uint64_t hub_edges = std::uint64_t{1} << 32;
constexpr std::uint64_t edge_count = hub_edges + 3 * (nodes - 1);

std::uint64_t first_edge(std::uint32_t node) { return node == 0 ? 0 : hub_edges + 3 * (node - 1); }
std::uint32_t source_of(std::uint64_t edge) {
  return edge < hub_edges ? 0 : static_cast<std::uint32_t>((edge - hub_edges) * 7919 % nodes);
}

// A section's checksums by block, of which all but the last few are of zeros.
std::vector<std::uint64_t> block_checksums(std::uint64_t bytes, std::uint64_t tail_offset,
                                           std::span<const std::byte> tail) {
  constexpr std::uint64_t block = graph_checksum_block_bytes;
  const std::vector<std::byte> zeros(block);
  const std::uint64_t of_zeros = checksum(zeros);
  std::vector<std::uint64_t> checksums;
  for (std::uint64_t at = 0; at < bytes; at += block) {
    const std::uint64_t size = std::min(block, bytes - at);
    if (at + size <= tail_offset && size == block) {
      checksums.push_back(of_zeros);
      continue;
    }
    std::vector<std::byte> held(size);
    for (std::uint64_t i = 0; i < size; ++i) {
      if (at + i >= tail_offset) held[i] = tail[at + i - tail_offset];
    }
    checksums.push_back(checksum(held));
  }
  return checksums;
}

// By hand, for a SectionWriter would write 16 GiB.
class SparseGraph {
 public:
  explicit SparseGraph(const std::filesystem::path& path) : file_(File::create(path)) {}
  void add(SectionKind kind, Dtype dtype, std::uint64_t rows, std::uint64_t tail_offset,
           std::span<const std::byte> tail) {
    SectionEntry entry{};
    entry.kind = kind;
    entry.dtype = dtype;
    entry.columns = 1;
    entry.rows = rows;
    entry.bytes = rows * size_of(dtype);
    entry.checksum_block_bytes = graph_checksum_block_bytes;
    entry.offset = end_;
    file_.write_at(end_ + tail_offset, tail);
    const auto checksums = block_checksums(entry.bytes, tail_offset, tail);
    const auto bytes = std::as_bytes(std::span(checksums));
    entry.checksums_offset = round_up(end_ + entry.bytes, 4096);
    entry.xxh3 = checksum(bytes);
    file_.write_at(entry.checksums_offset, bytes);
    end_ = round_up(entry.checksums_offset + bytes.size(), 4096);
    entries_.push_back(entry);
  }
  void finish() {
    file_.resize(end_);
    file_.write_at(0, build_section_table(graph_magic, 4096, end_, 0, entries_));
  }

 private:
  File file_;
  std::uint64_t end_ = 4096;
  std::vector<SectionEntry> entries_;
};

void write_dataset(const std::filesystem::path& folder) {
  DatasetWriter writer(folder, false);
  SparseGraph graph(writer.folder() / graph_file_name);
  std::vector<std::uint32_t> tail;
  for (std::uint64_t edge = hub_edges; edge < edge_count; ++edge) tail.push_back(source_of(edge));
  graph.add(SectionKind::csc_indices, Dtype::u32, edge_count, hub_edges * sizeof(std::uint32_t),
            std::as_bytes(std::span(tail)));
  std::vector<std::uint64_t> offsets;
  for (std::uint32_t node = 0; node <= nodes; ++node) offsets.push_back(first_edge(node));
  graph.add(SectionKind::csc_indptr, Dtype::u64, offsets.size(), 0, std::as_bytes(std::span(offsets)));
  graph.finish();

  SectionWriter features(writer.folder() / features_file_name, features_magic);
  features.write<float>({.kind = SectionKind::feature_rows,
                         .dtype = Dtype::f32,
                         .columns = 2,
                         .checksum_block_bytes = feature_checksum_block_bytes},
                        std::vector<float>(2 * nodes, 0.5F));
  features.finish();
  SectionWriter labels(writer.folder() / labels_file_name, labels_magic);
  labels.write<std::int32_t>({.kind = SectionKind::class_labels, .dtype = Dtype::i32},
                             std::vector<std::int32_t>(nodes));
  labels.finish();
  DatasetSplits splits;
  for (std::uint32_t node = 0; node < 400; ++node) splits.train.push_back(static_cast<NodeId>(node));
  writer.seal(
      {.node_count = nodes, .edge_count = edge_count, .feature_dim = 2, .class_count = 1, .source = "a test"},
      splits, {{"nodes", nodes}});
}

// Every drawn edge stands where the frame says, among its destination's, and comes from there.
std::uint64_t count_right_edges(const BlockFrame& block, std::span<const NodeId> sources,
                                std::span<const NodeId> destinations, std::uint64_t& beyond_32_bits) {
  std::uint64_t right = 0;
  for (std::uint32_t to = 0; to < block.dst_count; ++to) {
    const std::uint32_t node = to_index(destinations[to]);
    for (std::uint32_t i = block.indptr[to]; i < block.indptr[to + 1]; ++i) {
      const std::uint64_t edge = block.edge_positions[i];
      if (edge >= first_edge(node) && edge < first_edge(node + 1) &&
          source_of(edge) == to_index(sources[block.indices[i]]))
        ++right;
      if (edge > 0xFFFFFFFF) ++beyond_32_bits;
    }
  }
  return right;
}

}  // namespace

TEST_CASE("edges beyond 2^32 are drawn where they stand, also of a node that has as many") {
  const test::TemporaryFolder folder;
  write_dataset(folder / "d");
  auto request = test::small_request();
  request.options = {
      .fanouts = {3, 2}, .batch_size = 100, .sample_epochs = 1, .edge_positions = true, .seed = 5};
  request.memory_bytes = std::uint64_t{200} << 20;
  const PrepareResult result = test::run_prepare(folder / "d", request);
  CHECK(result.sweep_waves > 0);
  const Dataset dataset = Dataset::open(folder / "d");
  CHECK(dataset.read_indptr().back() == edge_count);
  const Preparation preparation = Preparation::open(dataset, "p");
  std::uint64_t edges = 0;
  std::uint64_t right = 0;
  std::uint64_t beyond = 0;
  for (const BatchEntry& entry : preparation.pool().entries()) {
    const AlignedBuffer raw = preparation.pool().read_frame(entry);
    BatchFrame frame;
    parse_batch_frame(raw.bytes(), "a frame", true, frame);
    const std::vector<NodeId> inputs = preparation.pool().read_input_nodes(entry);
    edges += frame.edge_count();
    right += count_right_edges(frame.blocks[0], inputs, frame.hidden_nodes, beyond);
    right += count_right_edges(frame.blocks[1], frame.hidden_nodes, frame.hidden_nodes, beyond);
  }
  CHECK(edges > 400 * 2);
  CHECK(right == edges);
  CHECK(beyond > edges / 2);
  CHECK(beyond < edges);  // the hub's own
}

}  // namespace gneiss
