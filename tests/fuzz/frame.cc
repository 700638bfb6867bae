// A mini-batch's frame, decompressed: what training works on without further checks.
#include <cstring>

#include "storage/base/aligned_buffer.h"
#include "storage/format/batch_frame.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/seal.h"

namespace gneiss::test {
namespace {

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<std::string> seeds() {
  const std::array<NodeId, 3> nodes{NodeId{3}, NodeId{5}, NodeId{9}};
  const std::array<std::uint32_t, 3> indptr{0, 2, 3};
  const std::array<std::uint32_t, 2> inner_indptr{0, 1};
  const std::array<std::uint32_t, 3> indices{0, 2, 1};
  const std::array<std::uint64_t, 3> positions{7, 8, 9};
  const std::array<std::uint32_t, 2> rows{0, 2};
  const std::array<std::int32_t, 1> target{1};
  const std::array<std::uint8_t, 2> labels{0, 255};
  const std::array<PlanRange, 3> tiers{
      {{0, Tier::gpu, 0, 1, 0}, {0, Tier::cpu, 1, 1, 0}, {0, Tier::disk, 2, 1, 0}}};
  const std::array<PlanRange, 1> shared{{{0, Tier::page, 0, 3, 0}}};
  const std::array<PageRun, 2> runs{{{1, 0}, {2, 16}}};
  const std::span all(nodes);
  BatchFrame frame{.seeds = all.first(1),
                   .targets = target,
                   .target_seeds = {},
                   .hidden_nodes = all.first(2),
                   .plan = tiers,
                   .gpu_slots = std::span(indices).last(1),
                   .cpu_slots = std::span(indices).first(1),
                   .admitted_rows = std::span(rows).last(1),
                   .admitted_slots = std::span(rows).first(1),
                   .page_runs = {},
                   .blocks = {{2, 3, indptr, indices, rows, positions},
                              {1, 2, inner_indptr, std::span(indices).last(1), {}, {}}}};
  std::vector<std::byte> bytes;
  std::vector<std::string> frames;
  encode_batch_frame(frame, bytes);
  frames.push_back(text_of(bytes));
  frame.targets = {};
  frame.label_rows = labels;
  frame.label_columns = 2;
  frame.plan = shared;
  frame.page_runs = runs;
  frame.gpu_slots = frame.cpu_slots = frame.admitted_rows = frame.admitted_slots = {};
  encode_batch_frame(frame, bytes);
  frames.push_back(text_of(bytes));
  encode_input_frame(nodes, bytes);
  frames.push_back(text_of(bytes));
  return frames;
}

// As the kernels do: what was parsed is followed unchecked.
std::uint64_t use(const BatchFrame& frame) {
  std::uint64_t sum = frame.edge_count() + frame.input_count();
  for (const BlockFrame& block : frame.blocks) {
    std::vector<std::uint8_t> sources(block.src_count);
    for (std::uint32_t dst = 0; dst < block.dst_count; ++dst) {
      for (std::uint32_t edge = block.indptr[dst]; edge < block.indptr[dst + 1]; ++edge)
        ++sources[block.indices[edge]];
      if (!block.dst_in_src.empty()) ++sources[block.dst_in_src[dst]];
    }
    for (const std::uint8_t count : sources) sum += count;
  }
  for (const std::uint32_t seed : frame.target_seeds) sum += to_index(frame.seeds[seed]);
  std::size_t gpu_slot = 0;
  std::size_t slot = 0;
  for (const PlanRange& range : frame.plan) {
    for (std::uint32_t i = 0; i < range.count; ++i) {
      if (range.tier == Tier::gpu) sum += frame.gpu_slots[gpu_slot++];
      if (range.tier == Tier::cpu) sum += frame.cpu_slots[slot++];
    }
  }
  return sum;
}

void run(std::string_view input) {
  AlignedBuffer bytes(input.size());
  if (!input.empty()) std::memcpy(bytes.data(), input.data(), input.size());
  BatchFrame frame;
  attempt([&] { parse_input_frame(bytes.bytes(), "a frame"); });
  for (const bool checks : {true, false}) {
    attempt([&] {
      parse_batch_frame(bytes.bytes(), "a frame", checks, frame);
      // A block's sources are counts alone: memory for them is bounded by the index, which the pool's reader
      // checks.
      if (frame.input_count() < (1U << 20)) static_cast<void>(use(frame));
    });
  }
}

}  // namespace

const FuzzTarget frame_target{
    .name = "frame", .seeds = seeds, .run = run, .seal = seal_sections, .parts = parts_of_sections};

}  // namespace gneiss::test
