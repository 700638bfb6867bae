// One mini-batch as bytes: its seeds, targets, blocks and plan, as sections of a frame.
//
// Why:     training reads a frame and works on views of it: no look-up, no sampling, no allocation.
// Memory:  a BatchFrame borrows; parse_batch_frame() only fills its spans (its vector keeps its capacity).
// Trust:   after parsing, every local id is below its count and every offset ascends: kernels need no checks.
// Format:  storage/FORMAT.md, "Frame of a mini-batch".
#pragma once

#include <cstdint>
#include <numeric>
#include <span>
#include <string_view>
#include <vector>

#include "storage/base/ids.h"
#include "storage/format/section_table.h"

namespace gneiss {

inline constexpr Magic frame_magic{'G', 'N', 'E', 'I', 'S', 'F', 'R', 'M'};

// The values are written to disk, and their order is the order of local ids: never renumber.
enum class Tier : std::uint16_t { gpu = 0, cpu = 1, page = 2, disk = 3 };

// Local ids [first, first + count) come from this tier of this feature store.
struct PlanRange {
  std::uint16_t store;
  Tier tier;
  std::uint32_t first;
  std::uint32_t count;
  std::uint32_t reserved;
};
static_assert(sizeof(PlanRange) == 16);

// Rows of the page tier that lie one after another in what is read for the batch. Positions count in units of
// page_row_unit(row bytes) from the beginning of its buffer.
struct PageRun {
  std::uint32_t count;
  std::uint32_t position;
};
static_assert(std::has_unique_object_representations_v<PageRun>);
// The largest unit that rows and pages of 4 KiB are both whole numbers of.
constexpr std::uint64_t page_row_unit(std::uint64_t row_bytes) noexcept {
  return std::gcd(row_bytes, std::uint64_t{4096});
}

// One hop, destination-major: the in-edges of destination d are indices[indptr[d] .. indptr[d + 1]).
struct BlockFrame {
  std::uint32_t dst_count = 0;
  std::uint32_t src_count = 0;
  std::span<const std::uint32_t> indptr;          // [dst_count + 1]
  std::span<const std::uint32_t> indices;         // [edges] local source ids, in the sampler's order
  std::span<const std::uint32_t> dst_in_src;      // [dst_count] only next to the input; else the prefix
  std::span<const std::uint64_t> edge_positions;  // [edges] into csc_indices, or empty
};

struct BatchFrame {
  std::span<const NodeId> seeds;
  std::span<const std::int32_t> targets;        // labels; -1: none
  std::span<const std::uint32_t> target_seeds;  // empty: target i belongs to seed i
  // Where labels have columns: [seeds, label_columns] of 0, 1 and `unlabelled`; then there are no targets.
  std::span<const std::uint8_t> label_rows{};
  std::uint32_t label_columns = 0;
  std::span<const NodeId> hidden_nodes;        // of block 0's destinations; deeper ones are its prefixes
  std::span<const PlanRange> plan;             // covers the input nodes in order; empty before planning
  std::span<const std::uint32_t> gpu_slots{};  // one per input of the gpu tier
  std::span<const std::uint32_t> cpu_slots;    // one per input of the cpu tier
  // Rows of the disk tier (local ids) that go into the cpu tier after this batch, and their slots there.
  std::span<const std::uint32_t> admitted_rows;
  std::span<const std::uint32_t> admitted_slots;
  std::span<const PageRun> page_runs;  // of the page tier's inputs, in order
  std::vector<BlockFrame> blocks;      // 0 is next to the input; the last one's destinations are the seeds

  std::uint32_t input_count() const noexcept { return blocks.empty() ? 0 : blocks.front().src_count; }
  std::uint64_t edge_count() const noexcept;
};

// Appends the frame's bytes to `out` (cleared first). Asserts what parse_batch_frame() checks.
void encode_batch_frame(const BatchFrame& frame, std::vector<std::byte>& out);

// Views `bytes` (aligned to 64) as a frame. Throws Error(corruption) naming `name` when anything is off.
//   check_sections  compare each section's checksum too; not needed where the compressed bytes were checked
void parse_batch_frame(std::span<const std::byte> bytes, std::string_view name, bool check_sections,
                       BatchFrame& frame);

// The input nodes of a batch are a frame of their own: training does not need them.
void encode_input_frame(std::span<const NodeId> input_nodes, std::vector<std::byte>& out);
std::span<const NodeId> parse_input_frame(std::span<const std::byte> bytes, std::string_view name);

}  // namespace gneiss
