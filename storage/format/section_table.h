// Every file of ours, and every frame of the sample pool, begins with the same header: a table of sections.
//
// Why:     a reader finds what it needs by kind, skips optional kinds it does not know and refuses required
//          ones, so that node types, edge types and further feature stores fit without a new format.
// Trust:   parse_section_table() checks every count, offset and length against the bytes at hand; what it
//          returns can be used without further checks of the layout (not of the content).
// Format:  storage/FORMAT.md, "Section table".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "storage/base/dtype.h"

namespace gneiss {

inline constexpr std::uint32_t format_version = 1;
inline constexpr std::uint64_t file_section_alignment = 4096;  // for direct reads of a section
inline constexpr std::uint64_t frame_section_alignment = 64;   // for vector loads in a decompressed frame

using Magic = std::array<char, 8>;

struct SectionHeader {  // little-endian, at byte 0
  Magic magic;
  std::uint32_t version;
  std::uint32_t header_bytes;  // of this and the table, padding included
  std::uint32_t section_count;
  std::uint32_t alignment;  // sections start at multiples of it
  std::uint64_t file_bytes;
  std::uint64_t made_from;  // the fingerprint of what this was derived from; 0 where nothing was
  std::array<std::uint64_t, 2> reserved;
  std::uint64_t header_xxh3;  // over header_bytes bytes with this field zero
};
static_assert(sizeof(SectionHeader) == 64);

// Kinds from 2^31 on are optional: a reader that does not know them skips them.
enum class SectionKind : std::uint32_t {
  // graph.csc
  csc_indptr = 1,   // u64 [N + 1]
  csc_indices = 2,  // u32 [E]: sources of the in-edges, ascending per destination
  // features.bin, cpu.bin
  feature_rows = 10,  // [rows, columns]
  tier_nodes = 11,    // u32 [rows]: the node of each row of a tier image
  tier_moves = 12,    // u32 [slots]: where each slot's row goes when the pool begins anew
  // labels.bin
  class_labels = 20,   // i32 [N], -1: none
  label_columns = 21,  // u8 [N, columns]: 0, 1, or 255: none
  // samples.zst
  batch_index = 30,   // BatchEntry [batches]
  batch_frames = 31,  // compressed frames, each at a multiple of 4096
  // pack.bin
  segment_index = 40,          // SegmentEntry [batches]
  segments = 41,               // each at a multiple of 4096, with its own checksums
  segment_extents = 42,        // Extent [extents]: where batches share rows, what each reads
  segment_extent_counts = 43,  // u32 [batches]
  // a batch's frame
  frame_seeds = 50,          // u32 [seeds]: node ids
  frame_targets = 51,        // i32 [targets]: labels; -1: none
  frame_target_seeds = 52,   // u32 [targets]: the seed each target belongs to; absent: target i is seed i's
  frame_hidden_nodes = 53,   // u32: node ids of block 0's destinations
  frame_input_nodes = 54,    // u32 [inputs]: node ids in local order
  frame_label_rows = 56,     // u8 [seeds, columns]: labels of each seed, in place of frame_targets
  frame_plan = 60,           // PlanRange [ranges]: which store and tier local ids come from
  frame_cpu_slots = 61,      // u32: row of the cpu tier for each input of that tier
  frame_block_shapes = 62,   // BlockShape [hops]
  frame_admitted_rows = 63,  // u32 [admitted]: local ids of disk rows that the cpu tier keeps after the batch
  frame_admitted_slots = 64,  // u32 [admitted]: the slot of each
  frame_page_runs = 65,       // PageRun [runs]: where the rows of the page tier lie in what is read
  frame_gpu_slots = 66,       // u32: row of the gpu tier for each input of that tier
  // hop l of a batch's frame: kind + 8 * l; l = 0 is next to the input
  block_indptr = 1024,                       // u32 [dst + 1]
  block_indices = 1025,                      // u32 [edges]: local source ids, in the sampler's order
  block_dst_in_src = 1026,                   // u32 [dst]: only l = 0
  block_edge_positions = (1U << 31) + 1027,  // u64 [edges] into csc_indices; optional
};

constexpr SectionKind block_section(SectionKind kind, std::uint32_t hop) noexcept {
  return static_cast<SectionKind>(static_cast<std::uint32_t>(kind) + 8 * hop);
}
constexpr bool is_optional(SectionKind kind) noexcept {
  return (static_cast<std::uint32_t>(kind) >> 31) != 0;
}

// checksum_block_bytes of a section whose parts carry their own checksums.
inline constexpr std::uint32_t self_checked = 0xFFFFFFFFU;

struct SectionEntry {
  SectionKind kind;
  Dtype dtype;
  std::uint16_t node_type;
  std::uint16_t edge_type;
  std::uint16_t store;                 // which feature store, where several exist
  std::uint32_t checksum_block_bytes;  // 0: one checksum; else one per so many bytes, at checksums_offset
  std::uint64_t rows;
  std::uint64_t columns;  // elements per row
  std::uint64_t offset;   // from the beginning of the file or frame
  std::uint64_t bytes;
  std::uint64_t checksums_offset;
  std::uint64_t xxh3;  // of the section, or of its checksums
};
static_assert(sizeof(SectionEntry) == 64);

inline constexpr std::uint32_t section_count_max = 4096;

std::uint64_t header_bytes_for(std::size_t section_count, std::uint64_t alignment) noexcept;

// The header page(s) for `entries`, checksum filled in.
std::vector<std::byte> build_section_table(const Magic& magic, std::uint64_t alignment,
                                           std::uint64_t file_bytes, std::uint64_t made_from,
                                           std::span<const SectionEntry> entries);

struct SectionTable {
  SectionHeader header{};
  std::vector<SectionEntry> entries;

  const SectionEntry* find(SectionKind kind, std::uint16_t store = 0) const noexcept;
};

// Reads header_bytes from the first 64 bytes of a file, after checking magic and size. The version is
// looked at behind the checksum, by parse_section_table().
//   name  the file, for messages
// Throws Error(corruption): not ours, or damaged.
std::uint32_t checked_header_bytes(std::span<const std::byte> first_bytes, const Magic& magic,
                                   std::uint64_t file_bytes, std::string_view name);

// Parses and checks the whole table. `is_known` says which kinds the caller understands; a required
// section of another kind, or of another node or edge type than 0, is refused with Error(input), and so
// is a version that this program does not know.
SectionTable parse_section_table(std::span<const std::byte> bytes, const Magic& magic,
                                 std::uint64_t file_bytes, std::string_view name,
                                 bool (*is_known)(SectionKind));

// Throws Error(corruption) unless the section has this dtype and shape: bytes = rows * columns * size.
void expect_shape(const SectionEntry& entry, Dtype dtype, std::uint64_t rows, std::uint64_t columns,
                  std::string_view name);

}  // namespace gneiss
