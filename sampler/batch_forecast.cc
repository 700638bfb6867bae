#include "sampler/batch_forecast.h"

#include <algorithm>

namespace gneiss {
namespace {

// A batch whose frame is beyond 4 GiB is refused when it is compressed.
std::uint32_t saturate(std::uint64_t value) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, 0xFFFFFFFFU));
}

// Zstandard adds less than 1 in 256 where it cannot compress.
std::uint64_t compressed_at_most(std::uint64_t raw_bytes) { return raw_bytes + raw_bytes / 256 + 512; }

}  // namespace

BatchEntry forecast_batch(const SampledBatch& batch, std::uint32_t label_columns) {
  const std::uint64_t hidden = batch.blocks.front().dst_count;
  std::uint64_t numbers = 2 * batch.nodes.size();  // a slot, or admission and slot, for each
  numbers += 2 * std::uint64_t{batch.seed_count} + 2 * hidden;
  std::uint64_t edges = 0;
  for (const SampledBlock& block : batch.blocks) {
    edges += block.indices.size();
    numbers += block.indptr.size() + block.indices.size() + 2 * block.edge_positions.size();
  }
  const std::uint64_t section_bytes = 2 * frame_section_alignment;  // its header, and padding
  const std::uint64_t label_bytes = std::uint64_t{batch.seed_count} * label_columns;
  const std::uint64_t frame_bytes =
      4 * numbers + label_bytes + (12 + 8 * batch.blocks.size()) * section_bytes;
  const std::uint64_t inputs_bytes = 4 * batch.nodes.size() + 4 * section_bytes;
  BatchEntry entry{};
  entry.key = batch.key;
  entry.frame_bytes = saturate(compressed_at_most(frame_bytes));
  entry.frame_raw_bytes = saturate(frame_bytes);
  entry.inputs_bytes = saturate(compressed_at_most(inputs_bytes));
  entry.inputs_raw_bytes = saturate(inputs_bytes);
  entry.seed_count = batch.seed_count;
  entry.hidden_count = saturate(hidden);
  entry.input_count = saturate(batch.nodes.size());
  entry.edge_count = saturate(edges);
  entry.inner_edge_count = saturate(edges - batch.blocks.front().indices.size());
  return entry;
}

std::uint64_t pool_bytes_at_most(const BatchEntry& forecast) noexcept {
  return std::uint64_t{forecast.frame_bytes} + forecast.inputs_bytes + 2 * file_section_alignment;
}

}  // namespace gneiss
