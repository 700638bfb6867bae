// Rows by node, and where they go: what a scan, which meets them in node order, looks them up in.
#pragma once

#include <cstdint>
#include <vector>

#include "storage/base/ids.h"

namespace gneiss {

struct NodePlace {
  NodeId node;
  std::uint32_t place;
};

// Sorts by node; those of one node stay in their order. Radix sort, 11 bits a pass and as many passes as the
// largest id needs. Memory: 8 bytes each beside them.
inline void sort_by_node(std::vector<NodePlace>& places, std::uint64_t node_count) {
  constexpr unsigned digit_bits = 11;
  std::vector<NodePlace> other(places.size());
  for (unsigned shift = 0; shift < 32 && (node_count - 1) >> shift != 0; shift += digit_bits) {
    std::vector<std::uint64_t> begins((1U << digit_bits) + 1);
    const auto digit = [&](const NodePlace& each) {
      return to_index(each.node) >> shift & ((1U << digit_bits) - 1);
    };
    for (const NodePlace& each : places) ++begins[digit(each) + 1];
    for (std::size_t i = 1; i < begins.size(); ++i) begins[i] += begins[i - 1];
    for (const NodePlace& each : places) other[begins[digit(each)]++] = each;
    places.swap(other);
  }
}

}  // namespace gneiss
