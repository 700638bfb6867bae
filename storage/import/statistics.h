// What there is to know about a dataset before training on it, measured while it was made.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "storage/format/dataset.h"

namespace gneiss {

// In-degrees of a CSC that passes by, and which nodes have no edge at all. One bit a node.
class DegreeCounter {
 public:
  explicit DegreeCounter(std::uint64_t node_count);

  void add_offsets(std::span<const std::uint64_t> indptr);   // the next values of N + 1
  void add_sources(std::span<const std::uint32_t> indices);  // the next values of E

  std::uint64_t quantile(double share) const;  // the least degree that `share` of the nodes do not exceed
  std::uint64_t largest() const { return quantile(1); }
  std::uint64_t isolated_nodes() const noexcept;

 private:
  std::uint64_t node_count_;
  std::map<std::uint64_t, std::uint64_t> nodes_of_large_degree_;  // beyond the table, few distinct ones
  std::vector<std::uint64_t> nodes_of_degree_;
  std::vector<std::uint64_t> touched_;  // a bit a node: it has an edge, in or out
  std::uint64_t next_node_ = 0;
  std::uint64_t previous_offset_ = 0;
  bool started_ = false;
};

struct DatasetStatistics {
  DatasetInfo info;
  std::uint64_t source_edges = 0;  // as the source has them
  std::uint64_t train_nodes = 0;
  std::uint64_t valid_nodes = 0;
  std::uint64_t test_nodes = 0;
  std::uint64_t labelled_nodes = 0;
  std::uint64_t degree_median = 0;
  std::uint64_t degree_p90 = 0;
  std::uint64_t degree_p99 = 0;
  std::uint64_t degree_max = 0;
  std::uint64_t isolated_nodes = 0;
  std::uint64_t nan_values = 0;
  std::uint64_t infinite_values = 0;

  std::uint64_t graph_bytes() const noexcept { return 8 * (info.node_count + 1) + 4 * info.edge_count; }
  void take_degrees(const DegreeCounter& degrees);
};

nlohmann::json to_json(const DatasetStatistics& statistics);
// The table that import, generate and info print, from what to_json() gave.
std::string format_statistics(const nlohmann::json& statistics);

}  // namespace gneiss
