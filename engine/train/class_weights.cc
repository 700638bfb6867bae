#include "engine/train/class_weights.h"

#include <algorithm>
#include <charconv>

#include "storage/base/error.h"

namespace gneiss {
namespace {

// How many training nodes each class has.
std::vector<std::uint64_t> count_classes(const Dataset& dataset) {
  constexpr std::size_t labels_at_once = 256U << 10;
  const DatasetInfo& info = dataset.info();
  std::vector<NodeId> nodes = dataset.split(Split::train);
  std::ranges::sort(nodes);
  const SectionEntry& section = dataset.labels().require(SectionKind::class_labels);
  std::vector<std::int32_t> labels(std::min<std::uint64_t>(labels_at_once, info.node_count));
  std::vector<std::uint64_t> counts(info.class_count);
  std::uint64_t first = 0;
  std::uint64_t end = 0;
  for (const NodeId node : nodes) {
    const std::uint64_t index = to_index(node);
    if (index >= end) {
      first = index;
      end = std::min<std::uint64_t>(first + labels.size(), info.node_count);
      dataset.labels().read_rows(section, first,
                                 std::as_writable_bytes(std::span(labels).first(end - first)));
    }
    const std::int32_t label = labels[index - first];
    if (label < -1 || label >= static_cast<std::int64_t>(info.class_count)) {
      fail(Kind::corruption, "{}: label {} is not among the {} classes", dataset.labels().name(), label,
           info.class_count);
    }
    if (label >= 0) ++counts[static_cast<std::size_t>(label)];
  }
  return counts;
}

}  // namespace

std::vector<float> parse_class_weights(const std::string& text) {
  std::vector<float> weights;
  if (text == "none" || text == "balanced") return weights;
  const char* at = text.data();
  const char* const end = at + text.size();
  for (;;) {
    float weight = 0;
    const auto [next, error] = std::from_chars(at, end, weight);
    if (error != std::errc() || (next != end && *next != ',')) {
      fail(Kind::config, "--class-weights '{}' is not a list of numbers; use none, balanced or W1,W2,...",
           text);
    }
    weights.push_back(weight);
    if (next == end) return weights;
    at = next + 1;
  }
}

std::vector<float> resolve_class_weights(const std::string& text, const Dataset& dataset) {
  if (text != "balanced") return parse_class_weights(text);
  const std::vector<std::uint64_t> counts = count_classes(dataset);
  std::uint64_t nodes = 0;
  std::uint64_t classes = 0;
  for (const std::uint64_t count : counts) {
    nodes += count;
    classes += count > 0 ? 1 : 0;
  }
  std::vector<float> weights;
  weights.reserve(counts.size());
  for (const std::uint64_t count : counts) {
    const double share = static_cast<double>(classes) * static_cast<double>(count);
    weights.push_back(count == 0 ? 0.0F : static_cast<float>(static_cast<double>(nodes) / share));
  }
  return weights;
}

}  // namespace gneiss
