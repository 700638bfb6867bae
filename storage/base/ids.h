// Ids that must not be mixed are distinct types; an index is below a count.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gneiss {

// A node of the whole graph, in the source's order. Ids are 32 bits: 4 bytes an edge on disk.
enum class NodeId : std::uint32_t {};
// A node's place in one mini-batch: its row in that batch's input or hidden matrices.
enum class LocalId : std::uint32_t {};

inline constexpr std::uint64_t max_node_count = std::uint64_t{1} << 32;

constexpr std::uint32_t to_index(NodeId id) noexcept { return static_cast<std::uint32_t>(id); }
constexpr std::uint32_t to_index(LocalId id) noexcept { return static_cast<std::uint32_t>(id); }

}  // namespace gneiss
