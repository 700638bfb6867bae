#include "storage/format/batch_frame.h"

#include <algorithm>
#include <cstring>

#include "storage/base/aligned_buffer.h"
#include "storage/base/checksum.h"
#include "storage/base/error.h"
#include "storage/format/node_labels.h"

namespace gneiss {
namespace {

constexpr std::uint32_t hops_max = 64;

// Only what this reader uses: a kind between these that a later version requires must be refused.
bool is_frame_section(SectionKind kind) {
  switch (kind) {
    case SectionKind::frame_seeds:
    case SectionKind::frame_targets:
    case SectionKind::frame_target_seeds:
    case SectionKind::frame_hidden_nodes:
    case SectionKind::frame_input_nodes:
    case SectionKind::frame_label_rows:
    case SectionKind::frame_plan:
    case SectionKind::frame_gpu_slots:
    case SectionKind::frame_cpu_slots:
    case SectionKind::frame_block_shapes:
    case SectionKind::frame_admitted_rows:
    case SectionKind::frame_admitted_slots:
    case SectionKind::frame_page_runs:
      return true;
    default:
      break;
  }
  const auto number = static_cast<std::uint32_t>(kind);
  return number >= static_cast<std::uint32_t>(SectionKind::block_indptr) &&
         number < static_cast<std::uint32_t>(SectionKind::block_indptr) + 8 * hops_max &&
         number % 8 <= static_cast<std::uint32_t>(SectionKind::block_dst_in_src) % 8;
}

struct BlockShape {
  std::uint32_t dst_count;
  std::uint32_t src_count;
};

// Collects sections, then lays header and data out in one go.
class FrameBuilder {
 public:
  explicit FrameBuilder(std::vector<std::byte>& out) : out_(out) {}

  // `row_values`: of them make a row.
  template <class T>
  void add(SectionKind kind, Dtype dtype, std::span<const T> values, std::size_t row_values = 1) {
    SectionEntry entry{};
    entry.kind = kind;
    entry.dtype = dtype;
    entry.columns = row_values * (sizeof(T) / size_of(dtype));
    entry.rows = values.size() / row_values;
    entry.bytes = values.size_bytes();
    entry.xxh3 = checksum(std::as_bytes(values));
    entries_.push_back(entry);
    data_.push_back(std::as_bytes(values));
  }

  void build() {
    std::uint64_t position = header_bytes_for(entries_.size(), frame_section_alignment);
    for (SectionEntry& entry : entries_) {
      entry.offset = position;
      position = round_up(position + entry.bytes, frame_section_alignment);
    }
    const auto header = build_section_table(frame_magic, frame_section_alignment, position, 0, entries_);
    out_.assign(position, std::byte{0});
    std::ranges::copy(header, out_.begin());
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (!data_[i].empty()) std::memcpy(out_.data() + entries_[i].offset, data_[i].data(), data_[i].size());
    }
  }

 private:
  std::vector<std::byte>& out_;
  std::vector<SectionEntry> entries_;
  std::vector<std::span<const std::byte>> data_;
};

// Gives typed views of a frame's sections, each checked for dtype and shape.
class FrameReader {
 public:
  FrameReader(std::span<const std::byte> bytes, std::string_view name, bool check_sections)
      : bytes_(bytes),
        name_(name),
        check_sections_(check_sections),
        table_(parse_section_table(bytes, frame_magic, bytes.size(), name, is_frame_section)) {}

  // Columns of a section of single elements; 0 where it is missing.
  std::uint64_t columns(SectionKind kind) const {
    const SectionEntry* entry = table_.find(kind);
    return entry == nullptr ? 0 : entry->columns;
  }

  template <class T>
  std::span<const T> view(SectionKind kind, Dtype dtype, std::uint64_t row_values = 1) const {
    const SectionEntry* entry = table_.find(kind);
    if (entry == nullptr) return {};
    expect_shape(*entry, dtype, entry->bytes / (row_values * sizeof(T)),
                 row_values * (sizeof(T) / size_of(dtype)), name_);
    const auto section = bytes_.subspan(entry->offset, entry->bytes);
    if (check_sections_ && checksum(section) != entry->xxh3) {
      fail(Kind::corruption, "{}: section {} does not match its checksum", name_,
           static_cast<std::uint32_t>(kind));
    }
    return {reinterpret_cast<const T*>(section.data()), section.size() / sizeof(T)};
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view name_;
  bool check_sections_;
  SectionTable table_;
};

std::uint32_t greatest(std::span<const std::uint32_t> values) {
  std::uint32_t most = 0;  // a plain loop: it becomes vector code
  for (const std::uint32_t value : values) most = std::max(most, value);
  return most;
}

bool all_below(std::span<const std::uint32_t> values, std::uint64_t bound) {
  return values.empty() || greatest(values) < bound;
}

// What is wrong with the frame, or nullptr. The order of checks matters: later ones use earlier ones.
const char* find_flaw(const BatchFrame& frame) {
  if (frame.blocks.empty()) return "it has no blocks";
  for (std::size_t hop = 0; hop < frame.blocks.size(); ++hop) {
    const BlockFrame& block = frame.blocks[hop];
    if (block.indptr.size() != std::size_t{block.dst_count} + 1)
      return "a block's offsets have the wrong length";
    if (block.indptr.front() != 0 || block.indptr.back() != block.indices.size())
      return "a block's offsets are off";
    if (!std::ranges::is_sorted(block.indptr)) return "a block's offsets do not ascend";
    if (!all_below(block.indices, block.src_count)) return "an edge's source is out of range";
    const bool first = hop == 0;
    if (first && block.dst_in_src.size() != block.dst_count) return "the destinations' rows are missing";
    if (!first && !block.dst_in_src.empty()) return "a deeper block must keep destinations as a prefix";
    if (!all_below(block.dst_in_src, block.src_count)) return "a destination's row is out of range";
    if (!first && block.dst_count > block.src_count) return "a block has more destinations than sources";
    if (!first && block.src_count != frame.blocks[hop - 1].dst_count)
      return "blocks do not follow one another";
    if (!block.edge_positions.empty() && block.edge_positions.size() != block.indices.size()) {
      return "the edge positions have the wrong length";
    }
  }
  if (frame.hidden_nodes.size() != frame.blocks.front().dst_count)
    return "the hidden nodes have the wrong length";
  if (frame.seeds.size() != frame.blocks.back().dst_count) return "the seeds have the wrong length";
  if (frame.label_columns > 0) {
    if (!frame.targets.empty() || !frame.target_seeds.empty()) return "it has both classes and label columns";
    if (frame.label_rows.size() != frame.seeds.size() * frame.label_columns) {
      return "the labels have the wrong length";
    }
    if (!std::ranges::all_of(frame.label_rows, is_label_entry)) return "a label is neither 0 nor 1 nor none";
  } else if (frame.target_seeds.empty() && frame.targets.size() != frame.seeds.size()) {
    return "the targets have the wrong length";
  }
  if (!frame.target_seeds.empty() && frame.target_seeds.size() != frame.targets.size()) {
    return "the targets' seeds have the wrong length";
  }
  if (!all_below(frame.target_seeds, frame.seeds.size())) return "a target's seed is out of range";
  std::uint64_t planned = 0;
  std::uint64_t on_gpu = 0;
  std::uint64_t gpu_end = 0;
  std::uint64_t cached = 0;
  std::uint64_t paged = 0;
  for (const PlanRange& range : frame.plan) {
    if (range.first != planned || range.tier > Tier::disk)
      return "the plan's ranges do not follow one another";
    planned += range.count;
    if (range.tier == Tier::gpu) {
      on_gpu += range.count;
      gpu_end = planned;
    }
    if (range.tier == Tier::cpu) cached += range.count;
    if (range.tier == Tier::page) paged += range.count;
  }
  if (!frame.plan.empty() && planned != frame.input_count()) return "the plan does not cover the input nodes";
  if (on_gpu != frame.gpu_slots.size() || cached != frame.cpu_slots.size())
    return "the plan's slots have the wrong length";
  for (const PageRun& run : frame.page_runs) {
    if (run.count == 0 || run.count > paged) return "the runs of shared rows are off";
    paged -= run.count;
  }
  if (paged != 0) return "the runs of shared rows are off";
  if (frame.admitted_rows.size() != frame.admitted_slots.size()) return "the admitted rows lack their slots";
  if (!all_below(frame.admitted_rows, frame.input_count())) return "an admitted row is out of range";
  // The host copies what is admitted, and cannot read what lies on a device.
  if (std::ranges::any_of(frame.admitted_rows, [&](std::uint32_t local) { return local < gpu_end; })) {
    return "a row of the gpu tier is admitted into the cpu tier";
  }
  return nullptr;
}

}  // namespace

std::uint64_t BatchFrame::edge_count() const noexcept {
  std::uint64_t count = 0;
  for (const BlockFrame& block : blocks) count += block.indices.size();
  return count;
}

void encode_batch_frame(const BatchFrame& frame, std::vector<std::byte>& out) {
  GNEISS_ASSERT(find_flaw(frame) == nullptr && frame.blocks.size() <= hops_max);
  FrameBuilder builder(out);
  builder.add(SectionKind::frame_seeds, Dtype::u32, frame.seeds);
  if (frame.label_columns > 0) {
    builder.add(SectionKind::frame_label_rows, Dtype::u8, frame.label_rows, frame.label_columns);
  } else {
    builder.add(SectionKind::frame_targets, Dtype::i32, frame.targets);
  }
  if (!frame.target_seeds.empty())
    builder.add(SectionKind::frame_target_seeds, Dtype::u32, frame.target_seeds);
  builder.add(SectionKind::frame_hidden_nodes, Dtype::u32, frame.hidden_nodes);
  builder.add(SectionKind::frame_plan, Dtype::u32, frame.plan);
  if (!frame.gpu_slots.empty()) builder.add(SectionKind::frame_gpu_slots, Dtype::u32, frame.gpu_slots);
  builder.add(SectionKind::frame_cpu_slots, Dtype::u32, frame.cpu_slots);
  std::vector<BlockShape> shapes;
  shapes.reserve(frame.blocks.size());
  for (const BlockFrame& block : frame.blocks) shapes.push_back({block.dst_count, block.src_count});
  builder.add(SectionKind::frame_block_shapes, Dtype::u32, std::span<const BlockShape>(shapes));
  if (!frame.admitted_rows.empty()) {
    builder.add(SectionKind::frame_admitted_rows, Dtype::u32, frame.admitted_rows);
    builder.add(SectionKind::frame_admitted_slots, Dtype::u32, frame.admitted_slots);
  }
  if (!frame.page_runs.empty()) builder.add(SectionKind::frame_page_runs, Dtype::u32, frame.page_runs);
  for (std::uint32_t hop = 0; hop < frame.blocks.size(); ++hop) {
    const BlockFrame& block = frame.blocks[hop];
    builder.add(block_section(SectionKind::block_indptr, hop), Dtype::u32, block.indptr);
    builder.add(block_section(SectionKind::block_indices, hop), Dtype::u32, block.indices);
    if (hop == 0)
      builder.add(block_section(SectionKind::block_dst_in_src, hop), Dtype::u32, block.dst_in_src);
    if (!block.edge_positions.empty()) {
      builder.add(block_section(SectionKind::block_edge_positions, hop), Dtype::u64, block.edge_positions);
    }
  }
  builder.build();
}

void parse_batch_frame(std::span<const std::byte> bytes, std::string_view name, bool check_sections,
                       BatchFrame& frame) {
  const FrameReader reader(bytes, name, check_sections);
  frame.seeds = reader.view<NodeId>(SectionKind::frame_seeds, Dtype::u32);
  frame.targets = reader.view<std::int32_t>(SectionKind::frame_targets, Dtype::i32);
  frame.target_seeds = reader.view<std::uint32_t>(SectionKind::frame_target_seeds, Dtype::u32);
  const std::uint64_t label_columns = reader.columns(SectionKind::frame_label_rows);
  if (label_columns > label_columns_max) {
    fail(Kind::corruption, "{}: {} labels a seed are more than {}", name, label_columns, label_columns_max);
  }
  frame.label_columns = static_cast<std::uint32_t>(label_columns);
  frame.label_rows = {};
  if (label_columns > 0) {
    frame.label_rows = reader.view<std::uint8_t>(SectionKind::frame_label_rows, Dtype::u8, label_columns);
  }
  frame.hidden_nodes = reader.view<NodeId>(SectionKind::frame_hidden_nodes, Dtype::u32);
  frame.plan = reader.view<PlanRange>(SectionKind::frame_plan, Dtype::u32);
  frame.gpu_slots = reader.view<std::uint32_t>(SectionKind::frame_gpu_slots, Dtype::u32);
  frame.cpu_slots = reader.view<std::uint32_t>(SectionKind::frame_cpu_slots, Dtype::u32);
  frame.admitted_rows = reader.view<std::uint32_t>(SectionKind::frame_admitted_rows, Dtype::u32);
  frame.admitted_slots = reader.view<std::uint32_t>(SectionKind::frame_admitted_slots, Dtype::u32);
  frame.page_runs = reader.view<PageRun>(SectionKind::frame_page_runs, Dtype::u32);
  const auto shapes = reader.view<BlockShape>(SectionKind::frame_block_shapes, Dtype::u32);
  frame.blocks.clear();
  if (shapes.size() > hops_max)
    fail(Kind::corruption, "{}: {} hops are more than {}", name, shapes.size(), hops_max);
  for (std::uint32_t hop = 0; hop < shapes.size(); ++hop) {
    frame.blocks.push_back(
        {.dst_count = shapes[hop].dst_count,
         .src_count = shapes[hop].src_count,
         .indptr = reader.view<std::uint32_t>(block_section(SectionKind::block_indptr, hop), Dtype::u32),
         .indices = reader.view<std::uint32_t>(block_section(SectionKind::block_indices, hop), Dtype::u32),
         .dst_in_src =
             reader.view<std::uint32_t>(block_section(SectionKind::block_dst_in_src, hop), Dtype::u32),
         .edge_positions =
             reader.view<std::uint64_t>(block_section(SectionKind::block_edge_positions, hop), Dtype::u64)});
  }
  if (const char* flaw = find_flaw(frame)) fail(Kind::corruption, "{}: {}; prepare it again", name, flaw);
}

void encode_input_frame(std::span<const NodeId> input_nodes, std::vector<std::byte>& out) {
  FrameBuilder builder(out);
  builder.add(SectionKind::frame_input_nodes, Dtype::u32, input_nodes);
  builder.build();
}

std::span<const NodeId> parse_input_frame(std::span<const std::byte> bytes, std::string_view name) {
  return FrameReader(bytes, name, true).view<NodeId>(SectionKind::frame_input_nodes, Dtype::u32);
}

}  // namespace gneiss
