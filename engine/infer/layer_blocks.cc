#include "engine/infer/layer_blocks.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "storage/base/cancel.h"

namespace gneiss {
namespace {

// Of an edge, in the runs that are read.
std::size_t edge_row_bytes(const BlockParts& parts) {
  if (parts.edges == nullptr) return 0;
  std::size_t columns = 0;
  for (const ColumnRun& run : parts.edges->runs().subspan(parts.edge_runs.first, parts.edge_runs.count)) {
    columns += run.count;
  }
  return columns * sizeof(float);
}

}  // namespace

EdgeValues edge_values(const Buffer& memory, const BlockView& block, std::size_t columns) {
  const MatrixView all = memory.matrix(std::size_t{block.dst_count} + block.edge_count(), columns);
  return {.edges = all.row_range(block.dst_count, block.edge_count()),
          .loops = all.row_range(0, block.dst_count)};
}

LayerBlocks::LayerBlocks(const Dataset& dataset, Model& model, const ExactPlan& plan)
    : dataset_(dataset), model_(model), plan_(plan), node_count_(dataset.info().node_count) {
  const bool has_edges = std::ranges::any_of(plan.layers, &ExactLayer::asks_neighbors);
  const BlockLimits limits = has_edges ? plan.block : BlockLimits{.destinations = 0, .edges = 0};
  blocks_.reserve(plan.block_slots);
  for (std::size_t i = 0; i < plan.block_slots; ++i) blocks_.emplace_back(limits);
}

void LayerBlocks::begin(std::size_t index, const StoredMatrix& input) {
  release();
  layer_ = &plan_.layers[index];
  input_ = &input;
  if (layer_->fills_input()) {
    const Buffer& memory = *model_.layer_input(index);
    aside_part_ = input_part(memory, model_.layer_aggregates(index, 1));
    if (layer_->fills_own_rows()) own_part_ = input_part(memory, model_.layer_own_rows(index, 1));
    for (LoadedBlock& block : blocks_) block.input = model_.backend().allocate(memory.size());
  }
  for (LoadedBlock& block : blocks_) {
    if (layer_->reads_rows(index) && !layer_->fills_own_rows()) {
      block.own = AlignedBuffer::uninitialized(plan_.block.destinations * input.row_bytes());
    }
    // Zeroed: columns of the last run are copied with the others, though nothing is read into them.
    if (layer_->waits() && !layer_->fills_input()) {
      block.aside = AlignedBuffer(plan_.block.destinations * aside_bytes());
    }
  }
}

void LayerBlocks::begin_edges() {
  for (LoadedBlock& block : blocks_) {
    block.edges = model_.backend().allocate(edge_entries() * layer_->edge_columns_max());
  }
}

void LayerBlocks::release() {
  for (LoadedBlock& block : blocks_) {
    block.input = {};
    block.own = {};
    block.aside = {};
    block.edges = {};
  }
}

void LayerBlocks::for_each(const BlockParts& parts, const std::function<void(LoadedBlock&)>& use,
                           const std::function<void(std::uint64_t bytes)>& read) {
  FilledAhead<LoadedBlock> blocks(blocks_, [this, parts] { return reader(parts); });
  while (LoadedBlock* block = blocks.next()) {
    throw_if_interrupted();
    use(*block);
    read(bytes_of(*block, parts));
  }
}

std::uint64_t LayerBlocks::bytes_of(const LoadedBlock& block, const BlockParts& parts) const {
  const std::uint64_t edges = parts.has_edges ? block.topology.view().edge_count() : 0;
  std::uint64_t bytes = (block.count + edges) * edge_row_bytes(parts);
  if (parts.has_edges) bytes += (block.first == 0 ? 8 : 0) + 8 * std::uint64_t{block.count} + 4 * edges;
  if (parts.own != nullptr) bytes += block.count * parts.own->row_bytes();
  if (parts.aside != nullptr) bytes += block.count * (parts.aside->bytes() / node_count_);
  return bytes;
}

// What a pass reads from.
struct LayerBlocks::Streams {
  std::optional<TopologyStream> edges{};
  std::optional<RowReader> own{};
  std::optional<RowReader> aside{};
  std::optional<RowReader> edge_values{};
  std::size_t edge_row_bytes = 0;
  std::uint64_t next_node = 0;
};

FilledAhead<LoadedBlock>::Fill LayerBlocks::reader(const BlockParts& parts) const {
  const auto streams = std::make_shared<Streams>();
  if (parts.has_edges) streams->edges.emplace(dataset_, plan_.block, plan_.ahead);
  if (parts.own != nullptr) {
    streams->own.emplace(*parts.own, parts.own->runs().size() == 1 ? plan_.ahead : layer_->ahead);
  }
  if (parts.aside != nullptr) streams->aside.emplace(*parts.aside, layer_->ahead);
  if (parts.edges != nullptr) streams->edge_values.emplace(*parts.edges, parts.edge_runs, plan_.ahead);
  streams->edge_row_bytes = edge_row_bytes(parts);
  return [this, streams](LoadedBlock& block) { return fill(*streams, block); };
}

bool LayerBlocks::fill(Streams& streams, LoadedBlock& block) const {
  const auto read = [&](RowReader& reader, std::size_t count, const Place& place) {
    reader.next(count, place.data, place.stride_bytes);
  };
  block.first = streams.next_node;
  block.count = std::min<std::uint64_t>(plan_.block.destinations, node_count_ - block.first);
  std::size_t edge_count = 0;
  if (streams.edges) {
    if (!streams.edges->next(block.topology)) return false;
    block.count = block.topology.view().dst_count;
    edge_count = block.topology.view().edge_count();
  }
  if (block.count == 0) return false;
  if (streams.own) read(*streams.own, block.count, own_place(block));
  if (streams.aside) read(*streams.aside, block.count, aside_place(block));
  if (streams.edge_values) {
    read(*streams.edge_values, block.count + edge_count,
         {reinterpret_cast<std::byte*>(block.edges.data()), streams.edge_row_bytes});
  }
  streams.next_node += block.count;
  return true;
}

LayerBlocks::InputPart LayerBlocks::input_part(const Buffer& input, MatrixView part) {
  return {static_cast<std::size_t>(part.data - input.data()), part.stride};
}

LayerBlocks::Place LayerBlocks::place_in(const LoadedBlock& block, const InputPart& part) {
  return {reinterpret_cast<std::byte*>(block.input.data() + part.first), part.stride * sizeof(float)};
}

LayerBlocks::Place LayerBlocks::own_place(LoadedBlock& block) const {
  if (layer_->fills_own_rows()) return place_in(block, own_part_);
  return {block.own.data(), input_->row_bytes()};
}

LayerBlocks::Place LayerBlocks::aside_place(LoadedBlock& block) const {
  if (layer_->fills_input()) return place_in(block, aside_part_);
  return {block.aside.data(), aside_bytes()};
}

TieredRows LayerBlocks::own_rows(LoadedBlock& block) const {
  const Place place = own_place(block);
  TieredRows rows(input_->dtype(), static_cast<std::uint32_t>(input_->columns()), place.stride_bytes);
  rows.append(place.data, static_cast<std::uint32_t>(block.count));
  return rows;
}

std::size_t LayerBlocks::aside_bytes() const {
  return layer_->aggregates() * layer_->gathered_columns() * sizeof(float);
}

}  // namespace gneiss
