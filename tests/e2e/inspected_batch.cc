#include "tests/e2e/inspected_batch.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "tests/e2e/npy.h"

namespace gneiss::test {
namespace {

using Ids = std::vector<std::uint32_t>;

Ids read_ids(const std::filesystem::path& path) { return read_npy(path).values<std::uint32_t>(); }

std::string find_block_fault(const std::filesystem::path& folder, std::size_t block,
                             const Neighbors& neighbors, int fanout) {
  const auto read = [&](const char* what) {
    return read_ids(folder / fmt::format("block{}_{}.npy", block, what));
  };
  const Ids indptr = read("indptr");
  const Ids indices = read("indices");
  const Ids destinations = read("dst_nodes");
  const Ids sources = read("src_nodes");
  if (indptr.size() != destinations.size() + 1 || indptr.front() != 0 || indptr.back() != indices.size()) {
    return fmt::format("block {}: its offsets do not fit", block);
  }
  if (std::set<std::uint32_t>(sources.begin(), sources.end()).size() != sources.size()) {
    return fmt::format("block {}: a source node stands twice", block);
  }
  static const Ids none;
  for (std::size_t d = 0; d < destinations.size(); ++d) {
    const auto found = neighbors.find(destinations[d]);
    const Ids& known = found == neighbors.end() ? none : found->second;
    Ids sampled;
    for (std::uint32_t edge = indptr[d]; edge < indptr[d + 1]; ++edge)
      sampled.push_back(sources.at(indices[edge]));
    const std::size_t expected =
        fanout < 0 ? known.size() : std::min(known.size(), static_cast<std::size_t>(fanout));
    if (sampled.size() != expected) {
      return fmt::format("block {}: node {} of degree {} has {} sampled edges, fanout {}", block,
                         destinations[d], known.size(), sampled.size(), fanout);
    }
    // As multisets: without replacement an edge is drawn once, equal edges as often as there are.
    std::ranges::sort(sampled);
    if (!std::ranges::includes(known, sampled)) {
      return fmt::format("block {}: node {} has a sampled edge that the graph has not", block,
                         destinations[d]);
    }
  }
  return {};
}

}  // namespace

Neighbors read_neighbors(const std::filesystem::path& edge_index, bool undirected) {
  const auto ends = read_npy(edge_index).values<std::int64_t>();
  const std::size_t count = ends.size() / 2;
  Neighbors neighbors;
  for (std::size_t edge = 0; edge < count; ++edge) {
    const auto source = static_cast<std::uint32_t>(ends[edge]);
    const auto target = static_cast<std::uint32_t>(ends[count + edge]);
    neighbors[target].push_back(source);
    if (undirected) neighbors[source].push_back(target);
  }
  for (auto& [node, sources] : neighbors) {
    std::ranges::sort(sources);
    if (undirected) sources.erase(std::unique(sources.begin(), sources.end()), sources.end());
  }
  return neighbors;
}

std::string find_fault(const std::filesystem::path& folder, const std::string& rows, std::size_t row_bytes,
                       const std::vector<std::int64_t>& labels, const Neighbors& neighbors,
                       const std::vector<int>& fanouts) {
  const Ids seeds = read_ids(folder / "seeds.npy");
  const Ids inputs = read_ids(folder / "input_nodes.npy");
  const Npy features = read_npy(folder / "features.npy");
  const auto targets = read_npy(folder / "labels.npy").values<std::int32_t>();
  if (features.shape.at(0) != inputs.size() || features.bytes.size() != inputs.size() * row_bytes) {
    return "the features have another shape";
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (features.bytes.compare(i * row_bytes, row_bytes, rows, inputs[i] * row_bytes, row_bytes) != 0) {
      return fmt::format("row {} is not that of node {}", i, inputs[i]);
    }
  }
  if (targets.size() != seeds.size()) return "there is not one label a seed";
  for (std::size_t i = 0; i < seeds.size(); ++i) {
    if (targets[i] != labels.at(seeds[i])) return fmt::format("the label of node {} is another", seeds[i]);
  }
  Ids outer = inputs;  // each block's destinations are the next one's sources
  for (std::size_t block = 0; block < fanouts.size(); ++block) {
    const Ids sources = read_ids(folder / fmt::format("block{}_src_nodes.npy", block));
    if (sources != outer) return fmt::format("block {}: its sources are not the block before", block);
    outer = read_ids(folder / fmt::format("block{}_dst_nodes.npy", block));
    const std::string fault = find_block_fault(folder, block, neighbors, fanouts[fanouts.size() - 1 - block]);
    if (!fault.empty()) return fault;
  }
  return outer == seeds ? "" : "the last block's destinations are not the seeds";
}

}  // namespace gneiss::test
