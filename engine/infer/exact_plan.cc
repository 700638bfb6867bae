#include "engine/infer/exact_plan.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "engine/nn/layer_columns.h"
#include "storage/base/error.h"
#include "storage/base/units.h"
#include "storage/io/file.h"

namespace gneiss {
namespace {

constexpr std::uint32_t destinations_min = 256;
constexpr std::uint64_t edges_per_destination = 64;
constexpr std::uint64_t piece_bytes_max = 1U << 20;
constexpr std::uint64_t piece_bytes_min = 64U << 10;
constexpr std::uint32_t pieces_of_many = 3;
// Each reads ahead for itself; beyond this the pieces would be too small to be read at the drive's speed.
constexpr std::size_t readers_max = 256;

std::uint64_t piece_of(std::uint64_t bytes) {
  return std::clamp(std::bit_floor(std::max<std::uint64_t>(bytes, 1)), piece_bytes_min, piece_bytes_max);
}

class Planner {
 public:
  Planner(const Dataset& dataset, Backend& backend, const ExactRequest& request, bool least)
      : info_(dataset.info()), backend_(backend), request_(request), least_(least) {
    // A stream alone keeps the drive busy by itself; where there are many, each needs less.
    if (least) plan_.block_slots = 2;
    plan_.ahead.pieces = least ? pieces_of_many : 6;
    plan_.ahead.piece_bytes = least ? piece_bytes_min : piece_of(request.memory_bytes / 256);
    largest_degree_ = largest_in_degree(dataset, plan_.ahead);
    choose_blocks();
    describe_layers();
  }

  // Nothing where the memory is too little. `needed` becomes what was found to be needed.
  bool fits(std::uint64_t& needed) {
    std::size_t output_runs = 1;
    for (std::size_t i = plan_.layers.size(); i-- > 0;) {
      std::uint64_t layer_bytes = std::numeric_limits<std::uint64_t>::max();
      if (!choose_runs(i, output_runs, layer_bytes)) {
        needed = std::max(needed, layer_bytes);
        if (!least_) return false;
      }
      needed = std::max(needed, layer_bytes);
      output_runs = plan_.layers[i].input_runs().size();
    }
    plan_.memory_bytes = needed;
    return needed <= request_.memory_bytes;
  }

  ExactPlan finish() {
    for (std::size_t i = 0; i < plan_.layers.size(); ++i) count_bytes(i);
    return std::move(plan_);
  }

 private:
  void choose_blocks() {
    // The chunks' shape decides the last bits of products, so that threads have no part in it.
    std::uint32_t destinations =
        least_ ? std::min(destinations_min, request_.destinations_max) : request_.destinations_max;
    const auto bytes_with = [&](std::uint32_t count) {
      const std::uint64_t edges = std::max(count * edges_per_destination, largest_degree_);
      if (edges > std::numeric_limits<std::uint32_t>::max()) {
        fail(Kind::config, "a node has {} in-edges; exact inference takes up to {}", largest_degree_,
             std::numeric_limits<std::uint32_t>::max());
      }
      plan_.block = {count, static_cast<std::uint32_t>(edges)};
      return model_bytes(request_.model, backend_, request_.options,
                         plan_.maxima(request_.options.layer_count));
    };
    while (bytes_with(destinations) > request_.memory_bytes / 8 && destinations > destinations_min) {
      destinations /= 2;
    }
    plan_.model_bytes = bytes_with(destinations);
  }

  void describe_layers() {
    for (std::uint32_t i = 0; i < request_.layers; ++i) {
      ExactLayer& layer = plan_.layers.emplace_back();
      layer.needs = describe_layer_needs(request_.model, request_.options, i);
      layer.in_columns = in_columns(request_.options, i);
      layer.out_columns = out_columns(request_.options, i);
      layer.input_dtype = i == 0 ? info_.feature_dtype : Dtype::f32;
      layer.projects = is_worth_projecting(layer);
    }
  }

  // By shapes alone: memory, which may be what happens to be free, does not choose between two orders of
  // sums. By the bytes of a row that are moved where there are many runs, of an input that lies by runs
  // already: products are written, read, and so are their aggregates; else aggregates of the input's columns,
  // and where sources are made of rows, these are read once more. Products of more than twice the input's
  // bytes are not worth it: where that fits in memory at once, nothing would wait.
  static bool is_worth_projecting(const ExactLayer& layer) {
    const std::size_t input = layer.in_columns * size_of(layer.input_dtype);
    const std::size_t products = sizeof(float) * layer.needs.projected_columns;
    const std::size_t sums = sizeof(float) * layer.needs.aggregates * layer.in_columns;
    const bool reads_again = layer.needs.sources == LayerNeeds::Sources::from_rows;
    return products > 0 && products <= 2 * input && 4 * products <= 2 * sums + (reads_again ? input : 0);
  }

  // The fewest runs whose memory is within the budget. False where there are none; `bytes` is then the least.
  bool choose_runs(std::size_t index, std::size_t output_runs, std::uint64_t& bytes) {
    ExactLayer& layer = plan_.layers[index];
    if (!layer.asks_neighbors()) {
      layer.runs = {{0, layer.in_columns}};
      layer.ahead = plan_.ahead;
      bytes = layer_memory(layer, index, output_runs);
      return bytes <= request_.memory_bytes;
    }
    ExactLayer best;
    for (std::size_t count = 1; count <= layer.gathered_columns(); ++count) {
      cut(layer, count);
      if (layer.runs.size() > 1 && reader_count(layer) > readers_max) break;
      if (layer.runs.front().count > request_.run_columns_max) continue;
      const std::uint64_t with_these = layer_memory(layer, index, output_runs);
      if (with_these < bytes) {
        bytes = with_these;
        best = layer;
      }
      if (bytes <= request_.memory_bytes) break;
    }
    layer = best;
    return bytes <= request_.memory_bytes;
  }

  // Into so many runs, and what is then read ahead.
  void cut(ExactLayer& layer, std::size_t count) const {
    const std::size_t columns = layer.gathered_columns();
    layer.runs = cut_columns(columns, divide_up(columns, count), size_of(layer.gathered_dtype()));
    layer.ahead = plan_.ahead;
    if (layer.runs.size() > 1) layer.ahead.pieces = pieces_of_many;
    if (least_) return;
    const std::uint64_t share =
        request_.memory_bytes / 16 / (layer.ahead.pieces * std::max<std::size_t>(1, reader_count(layer)));
    layer.ahead.piece_bytes = std::min(plan_.ahead.piece_bytes, piece_of(share));
  }

  std::size_t reader_count(const ExactLayer& layer) const {
    if (!layer.waits()) return 1;
    return (layer.runs.size() - 1) * layer.aggregates() +
           (layer.needs.own_rows ? layer.input_runs().size() : 0);
  }

  std::uint64_t layer_memory(const ExactLayer& layer, std::size_t index, std::size_t output_runs) {
    const std::uint64_t value_bytes = size_of(layer.input_dtype);
    const std::uint64_t rows = plan_.block.destinations;
    const std::uint64_t own = layer.reads_rows(index) && !layer.fills_own_rows()
                                  ? plan_.block_slots * rows * layer.in_columns * value_bytes
                                  : 0;
    // The features' checksums are of larger pieces.
    const ReadAhead features{.piece_bytes = piece_bytes_max, .pieces = plan_.ahead.pieces};
    std::uint64_t buffers =
        own + reader_bytes(1, features) + writer_bytes(output_runs, plan_.ahead.piece_bytes);
    // The output of two blocks: one is written while the other is made.
    if (index + 1 < plan_.layers.size()) buffers += 2 * rows * layer.out_columns * sizeof(float);
    if (layer.asks_neighbors()) {
      const std::uint64_t width = layer.runs.front().count;
      buffers += TopologyStream::memory_bytes(plan_.block, plan_.ahead);
      buffers += plan_.block_slots * TopologyBlock::memory_bytes(plan_.block);
      buffers += reader_bytes(reader_count(layer), layer.ahead);
      buffers += nodes_and_edges_memory(layer);
      if (layer.projects) buffers += rows * layer.gathered_columns() * sizeof(float);
      if (layer.runs.size() > 1) {
        buffers += 2 * rows * layer.aggregates() * width * sizeof(float);
        // Put aside.
        const std::size_t columns =
            layer.fills_input() ? layer.needs.input_columns : layer.aggregates() * layer.gathered_columns();
        buffers += plan_.block_slots * rows * columns * sizeof(float);
        buffers +=
            writer_bytes(std::max(layer.aggregates(), layer.is_laid_down(index) ? layer.runs.size() : 0),
                         plan_.ahead.piece_bytes);
      }
    }
    return request_.program_bytes + plan_.model_bytes + buffers;
  }

  // Of what is known of all nodes: a run of rows and sources, or one after the other where edges' numbers are
  // laid down; and those of blocks.
  std::uint64_t nodes_and_edges_memory(const ExactLayer& layer) const {
    const std::uint64_t resident = layer.resident_bytes(info_.node_count);
    const std::uint64_t sources = layer.sources_bytes(info_.node_count);
    const std::uint64_t entries = std::uint64_t{plan_.block.edges} + plan_.block.destinations;
    const auto edges = [&](std::size_t blocks, std::size_t columns) {
      return blocks * entries * columns * sizeof(float);
    };
    if (!layer.lays_edges_down()) return resident + sources + edges(1, layer.needs.edge_columns);
    // Those of two blocks: one is written while the other is made.
    const std::uint64_t made = sources + edges(2, layer.needs.edge_columns) +
                               writer_bytes(layer.edge_runs().size(), plan_.ahead.piece_bytes);
    const std::uint64_t read = resident + edges(plan_.block_slots, layer.edge_columns_max()) +
                               reader_bytes(layer.edge_runs_max(), plan_.ahead);
    return std::max(made, read);
  }

  void count_bytes(std::size_t index) {
    ExactLayer& layer = plan_.layers[index];
    const std::uint64_t rows = info_.node_count;
    const std::uint64_t input = rows * layer.in_columns * size_of(layer.input_dtype);
    const std::uint64_t edges = 8 * (rows + 1) + 4 * info_.edge_count;
    const bool is_last = index + 1 == plan_.layers.size();
    const std::uint64_t output = rows * layer.out_columns * sizeof(float);
    const std::uint64_t written = is_last && !request_.keeps_output ? 0 : output;
    layer.one_pass = {.bytes_read = input + (layer.asks_neighbors() ? edges : 0), .bytes_written = written};
    layer.traffic = {.bytes_read = input, .bytes_written = written};
    const auto scratch = [&](std::span<const ColumnRun> runs, Dtype dtype) {
      return ScratchMatrix::file_bytes(dtype, rows, runs);
    };
    std::uint64_t space = index > 0 ? scratch(layer.input_runs(), Dtype::f32) : 0;
    if (!is_last) space += scratch(plan_.layers[index + 1].input_runs(), Dtype::f32);
    if (layer.asks_neighbors()) {
      const std::size_t runs = layer.runs.size();
      layer.traffic.bytes_read += runs * edges;
      if (layer.needs.sources == LayerNeeds::Sources::from_rows && !layer.is_laid_down(index)) {
        layer.traffic.bytes_read += input;
      }
      if (layer.needs.sources == LayerNeeds::Sources::from_edges && index == 0) {
        layer.traffic.bytes_read += edges;
      }
      if (layer.reads_own_rows()) layer.traffic.bytes_read += input;
      std::uint64_t waiting = 0;
      for (const ColumnRun& run : layer.waiting_runs()) waiting += rows * run.count * sizeof(float);
      layer.traffic.bytes_read += waiting;
      layer.traffic.bytes_written += waiting;
      space += scratch(layer.waiting_runs(), Dtype::f32);
      if (layer.is_laid_down(index)) {
        const auto later = std::span(layer.runs).subspan(layer.keeps_first_run(index) ? 1 : 0);
        std::uint64_t laid_down = 0;
        for (const ColumnRun& run : later) laid_down += rows * run.count * size_of(layer.gathered_dtype());
        layer.traffic.bytes_read += laid_down;
        layer.traffic.bytes_written += laid_down;
        space += scratch(later, layer.gathered_dtype());
      }
      if (layer.lays_edges_down()) {
        const std::uint64_t entries = rows + info_.edge_count;
        layer.traffic.bytes_read += edges;
        layer.traffic.bytes_written += entries * layer.needs.edge_columns * sizeof(float);
        for (std::size_t run = 0; run < runs; ++run) {
          layer.traffic.bytes_read += entries * layer.edge_columns_of(run) * sizeof(float);
        }
        space += ScratchMatrix::file_bytes(Dtype::f32, entries, layer.edge_runs());
      }
    }
    plan_.resident_bytes = std::max(plan_.resident_bytes, layer.resident_bytes(rows));
    plan_.scratch_bytes = std::max(plan_.scratch_bytes, space);
  }

  const DatasetInfo& info_;
  Backend& backend_;
  const ExactRequest& request_;
  const bool least_;  // everything as small as it may be, to know what would do
  std::uint64_t largest_degree_ = 0;
  ExactPlan plan_;
};

}  // namespace

std::vector<ColumnRun> ExactLayer::input_runs() const {
  return projects ? std::vector<ColumnRun>{{0, in_columns}} : runs;
}

std::vector<ColumnRun> ExactLayer::waiting_runs() const {
  std::vector<ColumnRun> waiting;
  waiting.reserve((runs.size() - 1) * aggregates());
  for (std::size_t run = 0; run + 1 < runs.size(); ++run) {
    for (std::size_t a = 0; a < aggregates(); ++a) {
      waiting.push_back({a * gathered_columns() + runs[run].first, runs[run].count});
    }
  }
  return waiting;
}

std::vector<ColumnRun> ExactLayer::edge_runs() const {
  if (!projects) return {{0, needs.edge_columns}};
  std::vector<ColumnRun> columns;
  columns.reserve(needs.edge_columns);
  for (std::size_t column = 0; column < needs.edge_columns; ++column) columns.push_back({column, 1});
  return columns;
}

ColumnRun ExactLayer::edge_runs_of(std::size_t run) const noexcept {
  if (!projects) return {0, 1};
  const std::size_t part = needs.projected_columns / needs.edge_columns;
  const std::size_t first = runs[run].first / part;
  return {first, divide_up(runs[run].first + runs[run].count, part) - first};
}

std::size_t ExactLayer::edge_columns_of(std::size_t run) const noexcept {
  return projects ? edge_runs_of(run).count : needs.edge_columns;
}

std::size_t ExactLayer::edge_runs_max() const noexcept {
  std::size_t most = 0;
  for (std::size_t run = 0; run < runs.size(); ++run) most = std::max(most, edge_runs_of(run).count);
  return most;
}

std::size_t ExactLayer::edge_columns_max() const noexcept {
  std::size_t most = 0;
  for (std::size_t run = 0; run < runs.size(); ++run) most = std::max(most, edge_columns_of(run));
  return most;
}

std::vector<BlockMaxima> ExactPlan::maxima(std::uint32_t layer_count) const {
  return std::vector<BlockMaxima>(
      layer_count,
      {.dst_count = block.destinations, .src_count = block.destinations, .edge_count = block.edges});
}

ExactPlan plan_exact_inference(const Dataset& dataset, Backend& backend, const ExactRequest& request) {
  GNEISS_ASSERT(request.layers > 0 && request.layers <= request.options.layer_count);
  if (dataset.info().node_count > std::numeric_limits<std::uint32_t>::max()) {
    fail(Kind::config, "{} has {} nodes; exact inference takes up to {}", dataset.folder().string(),
         dataset.info().node_count, std::numeric_limits<std::uint32_t>::max());
  }
  std::uint64_t needed = 0;
  Planner planner(dataset, backend, request, /*least=*/false);
  if (planner.fits(needed)) return planner.finish();
  std::uint64_t least = 0;
  Planner small(dataset, backend, request, /*least=*/true);
  if (small.fits(least)) return small.finish();
  fail(Kind::config, "--memory {} is too little for exact inference over {} nodes: {} would do; give more",
       format_bytes(static_cast<double>(request.memory_bytes)), format_count(dataset.info().node_count),
       format_bytes_up(least));
}

std::uint64_t least_exact_memory(const Dataset& dataset, Backend& backend, const ExactRequest& request) {
  std::uint64_t least = 0;
  ExactRequest none = request;
  none.memory_bytes = 0;
  Planner(dataset, backend, none, /*least=*/true).fits(least);
  return least;
}

void check_scratch_space(const ExactPlan& plan, const std::filesystem::path& folder, std::uint64_t more) {
  const std::uint64_t wanted = plan.scratch_bytes + more;
  const std::uint64_t free = free_bytes(folder);
  if (wanted <= free) return;
  fail(
      Kind::io,
      "{}: exact inference needs {} there for layers' outputs, {} are free; make room or name another folder",
      folder.empty() ? "." : folder.string(), format_bytes_up(wanted),
      format_bytes(static_cast<double>(free)));
}

}  // namespace gneiss
