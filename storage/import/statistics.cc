#include "storage/import/statistics.h"

#include <bit>
#include <nlohmann/json.hpp>

#include "storage/base/aligned_buffer.h"
#include "storage/base/units.h"

namespace gneiss {
namespace {

constexpr std::size_t table_degrees = 1U << 16;

}  // namespace

DegreeCounter::DegreeCounter(std::uint64_t node_count)
    : node_count_(node_count), nodes_of_degree_(table_degrees), touched_(divide_up(node_count, 64)) {}

void DegreeCounter::add_offsets(std::span<const std::uint64_t> indptr) {
  for (const std::uint64_t offset : indptr) {
    if (started_) {
      const std::uint64_t degree = offset - previous_offset_;
      if (degree < table_degrees) {
        ++nodes_of_degree_[degree];
      } else {
        ++nodes_of_large_degree_[degree];
      }
      if (degree > 0) touched_[next_node_ / 64] |= std::uint64_t{1} << (next_node_ % 64);
      ++next_node_;
    }
    started_ = true;
    previous_offset_ = offset;
  }
}

void DegreeCounter::add_sources(std::span<const std::uint32_t> indices) {
  for (const std::uint32_t source : indices) touched_[source / 64] |= std::uint64_t{1} << (source % 64);
}

std::uint64_t DegreeCounter::quantile(double share) const {
  const auto wanted = static_cast<std::uint64_t>(share * static_cast<double>(node_count_));
  std::uint64_t seen = 0;
  std::uint64_t degree = 0;
  for (std::size_t i = 0; i < table_degrees; ++i) {
    if (nodes_of_degree_[i] == 0) continue;
    degree = i;
    seen += nodes_of_degree_[i];
    if (seen >= wanted) return degree;
  }
  for (const auto& [large, nodes] : nodes_of_large_degree_) {
    degree = large;
    seen += nodes;
    if (seen >= wanted) return degree;
  }
  return degree;
}

std::uint64_t DegreeCounter::isolated_nodes() const noexcept {
  std::uint64_t touched = 0;
  for (const std::uint64_t word : touched_) touched += static_cast<std::uint64_t>(std::popcount(word));
  return node_count_ - touched;
}

void DatasetStatistics::take_degrees(const DegreeCounter& degrees) {
  degree_median = degrees.quantile(0.5);
  degree_p90 = degrees.quantile(0.9);
  degree_p99 = degrees.quantile(0.99);
  degree_max = degrees.largest();
  isolated_nodes = degrees.isolated_nodes();
}

nlohmann::json to_json(const DatasetStatistics& statistics) {
  const DatasetInfo& info = statistics.info;
  return {{"source", info.source},
          {"nodes", info.node_count},
          {"edges", info.edge_count},
          {"source_edges", statistics.source_edges},
          {"feature_dim", info.feature_dim},
          {"feature_dtype", name_of(info.feature_dtype)},
          {"task", info.label_columns > 0 ? "multi-label" : "multi-class"},
          {"metric", info.label_columns > 0 ? "rocauc" : "accuracy"},
          {"classes", info.class_count},
          {"label_columns", info.label_columns},
          {"train_nodes", statistics.train_nodes},
          {"valid_nodes", statistics.valid_nodes},
          {"test_nodes", statistics.test_nodes},
          {"labelled_nodes", statistics.labelled_nodes},
          {"degree_average", static_cast<double>(info.edge_count) / static_cast<double>(info.node_count)},
          {"degree_median", statistics.degree_median},
          {"degree_p90", statistics.degree_p90},
          {"degree_p99", statistics.degree_p99},
          {"degree_max", statistics.degree_max},
          {"isolated_nodes", statistics.isolated_nodes},
          {"nan_values", statistics.nan_values},
          {"infinite_values", statistics.infinite_values},
          {"graph_bytes", statistics.graph_bytes()},
          {"feature_bytes", info.feature_bytes()},
          {"label_bytes", info.label_bytes()},
          {"in_memory_bytes", statistics.graph_bytes() + info.feature_bytes() + info.label_bytes()}};
}

std::string format_statistics(const nlohmann::json& statistics) {
  // What is not there, or of another type, is 0: the numbers are for people.
  const auto number = [&](const char* key) {
    const auto found = statistics.find(key);
    return found != statistics.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
  };
  const auto count = [&](const char* key) { return format_count(number(key)); };
  const auto bytes = [&](const char* key) { return format_bytes(static_cast<double>(number(key))); };
  const auto average = statistics.find("degree_average");
  const auto dtype = statistics.find("feature_dtype");
  std::string text;
  const auto line = [&](std::string_view what, const std::string& value) {
    text += fmt::format("  {:<18}{}\n", what, value);
  };
  line("nodes", count("nodes"));
  line("edges", fmt::format("{} ({} in the source)", count("edges"), count("source_edges")));
  line("in-degrees",
       fmt::format("average {:.2f}, median {}, 90 % up to {}, 99 % up to {}, largest {}",
                   average != statistics.end() && average->is_number() ? average->get<double>() : 0,
                   count("degree_median"), count("degree_p90"), count("degree_p99"), count("degree_max")));
  line("isolated nodes", count("isolated_nodes"));
  line("features",
       fmt::format("{} x {}", count("feature_dim"),
                   dtype != statistics.end() && dtype->is_string() ? dtype->get<std::string>() : "?"));
  if (number("nan_values") > 0 || number("infinite_values") > 0) {
    line("not finite", fmt::format("{} NaN, {} infinite", count("nan_values"), count("infinite_values")));
  }
  if (number("label_columns") > 0) {
    line("labels", fmt::format("{} columns of 0 and 1, {} nodes labelled", count("label_columns"),
                               count("labelled_nodes")));
    line("task", "multi-label, judged by ROC-AUC (rocauc)");
  } else {
    line("classes", fmt::format("{}, {} nodes labelled", count("classes"), count("labelled_nodes")));
    line("task", "multi-class, judged by accuracy");
  }
  line("splits", fmt::format("train {}, valid {}, test {}", count("train_nodes"), count("valid_nodes"),
                             count("test_nodes")));
  line("on disk", fmt::format("topology {}, features {}, labels {}", bytes("graph_bytes"),
                              bytes("feature_bytes"), bytes("label_bytes")));
  line("held in memory", fmt::format("{} with everything, {} with features on disk", bytes("in_memory_bytes"),
                                     format_bytes(static_cast<double>(number("graph_bytes")) +
                                                  static_cast<double>(number("label_bytes")))));
  return text;
}

}  // namespace gneiss
