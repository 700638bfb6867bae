#include "engine/infer/exact_inference.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>

#include "engine/infer/drained_behind.h"
#include "engine/infer/layer_blocks.h"
#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/progress.h"
#include "storage/base/stopwatch.h"

namespace gneiss {
namespace {

std::vector<std::size_t> all_of(std::size_t count) {
  std::vector<std::size_t> indices(count);
  std::iota(indices.begin(), indices.end(), std::size_t{0});
  return indices;
}

const std::byte* bytes_of(ConstMatrixView rows) { return reinterpret_cast<const std::byte*>(rows.data); }

// Rows of f32 that a thread of their own writes.
struct WaitingRows {
  Buffer memory{};
  MatrixView rows{};
};
using WaitingPair = std::array<WaitingRows, 2>;
using WrittenBehind = DrainedBehind<WaitingRows>;

WaitingPair waiting_pair(Backend& backend, std::size_t count) {
  return {WaitingRows{.memory = backend.allocate(count)}, WaitingRows{.memory = backend.allocate(count)}};
}

// By the threads that compute.
void copy_rows(Backend& backend, const std::byte* source, std::size_t row_bytes, MatrixView out) {
  TieredRows rows(Dtype::f32, static_cast<std::uint32_t>(out.columns), row_bytes);
  rows.append(source, static_cast<std::uint32_t>(out.rows));
  backend.gather(rows, {}, out);
}

class LayerRun {
 public:
  LayerRun(const Dataset& dataset, Model& model, const ExactPlan& plan, const std::filesystem::path& folder)
      : dataset_(dataset),
        model_(model),
        plan_(plan),
        folder_(folder),
        node_count_(dataset.info().node_count),
        blocks_(dataset, model, plan) {}

  LayerCost run(std::size_t index, const StoredMatrix& input, const RowSink& sink) {
    const Stopwatch clock;
    layer_ = &plan_.layers[index];
    index_ = index;
    input_ = &input;
    take_memory();
    Progress progress(fmt::format("layer {} of {}", index + 1, plan_.layers.size()), layer_->traffic.total(),
                      Progress::Unit::bytes);
    progress_ = &progress;
    cost_ = {.traffic = {}, .one_pass = layer_->one_pass, .runs = layer_->runs.size()};
    if (layer_->asks_neighbors()) {
      aggregate_and_finish(sink);
    } else {
      finish_rows(sink);
    }
    cost_.seconds = clock.seconds();
    return cost_;
  }

 private:
  // The layer's own: what the one before it took goes first.
  void take_memory() {
    // As many bytes again, as hidden layers take: then their pages are there already.
    if (resident_.size() != layer_->resident_bytes(node_count_) || layer_->lays_edges_down()) resident_ = {};
    const std::size_t sources_count = layer_->sources_bytes(node_count_) / sizeof(float);
    if (sources_.size() != sources_count) sources_ = {};
    edges_ = {};
    blocks_.begin(index_, *input_);
    if (sources_.size() == 0) sources_ = model_.backend().allocate(sources_count);
    if (layer_->lays_edges_down()) return;
    take_resident();
    if (layer_->needs.edge_columns > 0) {
      edges_ = model_.backend().allocate(blocks_.edge_entries() * layer_->needs.edge_columns);
    }
  }
  void take_resident() {
    if (resident_.empty()) resident_ = AlignedBuffer::uninitialized(layer_->resident_bytes(node_count_));
  }
  void read(std::uint64_t bytes) {
    cost_.traffic.bytes_read += bytes;
    progress_->advance(bytes);
  }
  void wrote(std::uint64_t bytes) {
    cost_.traffic.bytes_written += bytes;
    progress_->advance(bytes);
  }

  void finish(const OwnRows& rows, std::uint64_t first, const RowSink& sink) {
    const MatrixView output =
        layer_->projects ? model_.finish_projected(index_, rows, {}) : model_.finish_layer(index_, rows, {});
    sink(first, output);
    if (layer_->one_pass.bytes_written > 0) wrote(output.rows * output.columns * sizeof(float));
  }

  // Calls use(block) with all blocks in order.
  void for_blocks(const BlockParts& parts, const std::function<void(LoadedBlock&)>& use) {
    blocks_.for_each(parts, use, [this](std::uint64_t bytes) { read(bytes); });
  }

  void finish_rows(const RowSink& sink) {
    for_blocks({.own = input_}, [&](LoadedBlock& block) {
      finish({.rows = blocks_.own_rows(block), .ids = {}, .count = block.count}, block.first, sink);
    });
  }

  void aggregate_and_finish(const RowSink& sink) {
    make_sources();
    const std::size_t runs = layer_->runs.size();
    std::unique_ptr<ScratchMatrix> waiting;
    if (layer_->is_laid_down(index_)) lay_down();
    if (layer_->lays_edges_down()) lay_edges_down();
    if (runs > 1) {
      put_aside_ = waiting_pair(model_.backend(),
                                plan_.block.destinations * layer_->aggregates() * layer_->runs.front().count);
      waiting = std::make_unique<ScratchMatrix>(folder_, Dtype::f32, node_count_,
                                                layer_->aggregates() * layer_->gathered_columns(),
                                                layer_->waiting_runs());
    }
    for (std::size_t run = 0; run < runs; ++run) {
      if (run > 0 || !layer_->keeps_first_run(index_)) load(run);
      if (run + 1 < runs) put_aside(run, *waiting);
    }
    laid_down_.reset();
    finish_blocks(waiting.get(), sink);
    laid_edges_.reset();
    put_aside_ = {};
  }

  // What the layer's aggregation knows of every node besides its row.
  void make_sources() {
    if (are_made_of_rows() && !layer_->is_laid_down(index_)) {
      for_blocks({.own = input_}, [&](LoadedBlock& block) { make_sources_of(block); });
    }
    if (layer_->needs.sources == LayerNeeds::Sources::from_edges && index_ == 0) {
      for_blocks({.has_edges = true}, [&](LoadedBlock& block) {
        model_.layer_sources(index_, {}, block.topology.view(), sources_of(block));
      });
    }
  }
  bool are_made_of_rows() const { return layer_->needs.sources == LayerNeeds::Sources::from_rows; }
  void make_sources_of(LoadedBlock& block) {
    model_.layer_sources(index_, blocks_.own_rows(block), {}, sources_of(block));
  }
  MatrixView sources_of(const LoadedBlock& block) {
    return sources_.matrix(node_count_, layer_->needs.source_columns).row_range(block.first, block.count);
  }

  // Rows, or their products, become runs of columns: the first in memory, the others on the drive.
  void lay_down() {
    const Dtype dtype = layer_->gathered_dtype();
    const bool keeps_first = layer_->keeps_first_run(index_);
    const std::size_t first_bytes = layer_->runs.front().count * size_of(dtype);
    const auto later = std::span(layer_->runs).subspan(keeps_first ? 1 : 0);
    std::optional<RowWriter> writer;
    if (!later.empty()) {
      laid_down_ = std::make_unique<ScratchMatrix>(folder_, dtype, node_count_, layer_->gathered_columns(),
                                                   std::vector<ColumnRun>(later.begin(), later.end()));
      writer.emplace(*laid_down_, all_of(later.size()), plan_.ahead.piece_bytes);
    }
    Buffer products;
    if (layer_->projects) {
      products = model_.backend().allocate(plan_.block.destinations * layer_->gathered_columns());
    }
    for_blocks({.own = input_}, [&](LoadedBlock& block) {
      if (are_made_of_rows()) make_sources_of(block);
      TieredRows rows = blocks_.own_rows(block);
      if (layer_->projects) {
        const MatrixView out = products.matrix(block.count, layer_->gathered_columns());
        model_.project_layer(index_, {.rows = rows, .ids = {}, .count = block.count}, out);
        rows = TieredRows::of(out);
      }
      for (std::size_t i = 0; keeps_first && i < block.count; ++i) {
        std::memcpy(resident_.data() + (block.first + i) * first_bytes,
                    rows.row(static_cast<std::uint32_t>(i)), first_bytes);
      }
      if (layer_->scales_rows()) scale_resident(0, block.first, block.count);
      if (writer) writer->append(block.count, rows.row(0), rows.row_bytes());
    });
    if (!writer) return;
    writer->finish();
    wrote(laid_down_->bytes());
  }

  // What is known of all nodes becomes numbers of all edges, and gives its memory to runs.
  void lay_edges_down() {
    const std::size_t columns = layer_->needs.edge_columns;
    laid_edges_ = std::make_unique<ScratchMatrix>(
        folder_, Dtype::f32, node_count_ + dataset_.info().edge_count, columns, layer_->edge_runs());
    {
      RowWriter writer(*laid_edges_, all_of(laid_edges_->runs().size()), plan_.ahead.piece_bytes);
      WaitingPair pair = waiting_pair(model_.backend(), blocks_.edge_entries() * columns);
      WrittenBehind behind(pair, [&](const WaitingRows& slot) {
        writer.append(slot.rows.rows, bytes_of(slot.rows), slot.rows.stride * sizeof(float));
      });
      for_blocks({.has_edges = true}, [&](LoadedBlock& block) {
        const BlockView edges = block.topology.view();
        WaitingRows& slot = behind.next();
        slot.rows = slot.memory.matrix(block.count + edges.edge_count(), columns);
        model_.layer_edges(index_, edges, sources(), edge_values(slot.memory, edges, columns));
        wrote(slot.rows.rows * columns * sizeof(float));
        behind.give();
      });
      behind.finish();
      writer.finish();
    }
    sources_ = {};
    blocks_.begin_edges();
    take_resident();
  }
  // Of a pass over a run.
  BlockParts parts_of(std::size_t run) const {
    BlockParts parts{.has_edges = true};
    if (laid_edges_) {
      parts.edges = laid_edges_.get();
      parts.edge_runs = layer_->edge_runs_of(run);
    }
    return parts;
  }

  void load(std::size_t run) {
    const bool is_laid_down = layer_->is_laid_down(index_);
    const StoredMatrix& matrix = is_laid_down ? *laid_down_ : *input_;
    const std::size_t place = run - (layer_->keeps_first_run(index_) ? 1 : 0);
    const std::size_t row_bytes = matrix.run_bytes(place) / node_count_;
    // The last run may be narrower than the memory.
    const std::span memory(resident_.data(), round_up(matrix.run_bytes(place), direct_io_alignment));
    std::uint64_t done = 0;
    std::uint64_t scaled = 0;  // rows
    matrix.load_run(place, plan_.ahead, memory, [&](std::uint64_t bytes) {
      throw_if_interrupted();
      read(bytes - done);
      done = bytes;
      if (!layer_->scales_rows()) return;
      scale_resident(run, scaled, bytes / row_bytes - scaled);
      scaled = bytes / row_bytes;
    });
  }

  // Rows from `first` on of the run in memory, each by its node's factor.
  void scale_resident(std::size_t run, std::uint64_t first, std::size_t count) {
    const std::size_t columns = layer_->runs[run].count;
    float* row = reinterpret_cast<float*>(resident_.data()) + first * columns;
    const ConstMatrixView factors = sources_.matrix(node_count_, 1);
    for (std::size_t i = 0; i < count; ++i, row += columns) {
      const float factor = *factors.row(first + i);
      for (std::size_t c = 0; c < columns; ++c) row[c] *= factor;
    }
  }

  // The run of columns that is in memory, of all nodes.
  TieredRows resident_rows(std::size_t run) const {
    TieredRows rows(layer_->gathered_dtype(), static_cast<std::uint32_t>(layer_->runs[run].count));
    rows.append(resident_.data(), static_cast<std::uint32_t>(node_count_));
    return rows;
  }
  ConstMatrixView sources() const {
    return layer_->scales_rows() ? ConstMatrixView()
                                 : sources_.matrix(node_count_, layer_->needs.source_columns);
  }

  // Of the run in memory.
  void aggregate(std::size_t run, LoadedBlock& block, MatrixView out) {
    const TieredRows rows = resident_rows(run);
    const BlockView edges = block.topology.view();
    if (layer_->needs.edge_columns == 0) {
      return model_.aggregate_layer(index_, rows, edges, sources(), out);
    }
    EdgeValues values;
    if (layer_->lays_edges_down()) {
      values = edge_values(block.edges, edges, layer_->edge_columns_of(run));
    } else {
      values = edge_values(edges_, edges, layer_->needs.edge_columns);
      model_.layer_edges(index_, edges, sources(), values);
    }
    if (layer_->projects) {
      model_.aggregate_projected(index_, layer_->runs[run].first, rows, edges, values, out);
    } else {
      model_.aggregate_weighted(index_, rows, edges, values, out);
    }
  }

  // Aggregates one run's columns and leaves them on the drive.
  void put_aside(std::size_t run, ScratchMatrix& waiting) {
    const std::size_t width = layer_->runs[run].count;
    std::vector<std::size_t> targets;
    std::vector<std::size_t> offsets;
    targets.reserve(layer_->aggregates());
    offsets.reserve(layer_->aggregates());
    for (std::size_t a = 0; a < layer_->aggregates(); ++a) {
      targets.push_back(run * layer_->aggregates() + a);
      offsets.push_back(a * width * sizeof(float));
    }
    RowWriter writer(waiting, targets, plan_.ahead.piece_bytes);
    WrittenBehind behind(put_aside_, [&](const WaitingRows& slot) {
      writer.append(slot.rows.rows, bytes_of(slot.rows), slot.rows.stride * sizeof(float), offsets);
    });
    for_blocks(parts_of(run), [&](LoadedBlock& block) {
      WaitingRows& slot = behind.next();
      slot.rows = slot.memory.matrix(block.count, layer_->aggregates() * width);
      aggregate(run, block, slot.rows);
      wrote(slot.rows.rows * slot.rows.columns * sizeof(float));
      behind.give();
    });
    behind.finish();
    writer.finish();
  }

  // Aggregates the last run's columns, to which those put aside come back.
  void finish_blocks(const ScratchMatrix* waiting, const RowSink& sink) {
    const std::size_t last = layer_->runs.size() - 1;
    const bool reads_own = layer_->reads_own_rows();
    BlockParts parts = parts_of(last);
    parts.own = reads_own ? input_ : nullptr;
    parts.aside = waiting;
    for_blocks(parts, [&](LoadedBlock& block) {
      OwnRows rows{.rows = {}, .ids = {}, .count = block.count};
      if (reads_own) rows.rows = blocks_.own_rows(block);
      // The model takes what was read, and the block what the model had: the next rows go there.
      if (layer_->fills_input()) std::swap(*model_.layer_input(index_), block.input);
      const MatrixView aggregates = layer_->projects ? model_.projected_aggregates(index_, block.count)
                                                     : model_.layer_aggregates(index_, block.count);
      if (waiting == nullptr) {
        aggregate(last, block, aggregates);
      } else {
        if (!layer_->fills_input()) take_aside(block, aggregates);
        aggregate_last_run(block, aggregates);
      }
      if (!reads_own && waiting == nullptr) {
        rows.rows = resident_rows(last);
        rows.ids = block.topology.view().dst_in_src;
      }
      finish(rows, block.first, sink);
    });
  }

  // Those of the last run did not wait: aggregate_last_run() writes them over what is copied here.
  void take_aside(LoadedBlock& block, MatrixView aggregates) {
    copy_rows(model_.backend(), block.aside.data(), blocks_.aside_bytes(), aggregates);
  }

  void aggregate_last_run(LoadedBlock& block, MatrixView aggregates) {
    const std::size_t last = layer_->runs.size() - 1;
    const ColumnRun& run = layer_->runs[last];
    const std::size_t count = layer_->aggregates();
    const auto target = [&](std::size_t a) {
      return aggregates.column_range(a * layer_->gathered_columns() + run.first, run.count);
    };
    if (count == 1) return aggregate(last, block, target(0));
    const MatrixView out = put_aside_[0].memory.matrix(block.count, count * run.count);
    aggregate(last, block, out);
    for (std::size_t a = 0; a < count; ++a) {
      copy_rows(model_.backend(), bytes_of(out.column_range(a * run.count, run.count)),
                out.stride * sizeof(float), target(a));
    }
  }

  const Dataset& dataset_;
  Model& model_;
  const ExactPlan& plan_;
  const std::filesystem::path& folder_;
  const std::uint64_t node_count_;
  const ExactLayer* layer_ = nullptr;
  std::size_t index_ = 0;
  const StoredMatrix* input_ = nullptr;
  AlignedBuffer resident_;                    // what neighbors are asked for: a run of columns of all nodes
  Buffer sources_;                            // what the layer knows of all nodes besides
  Buffer edges_;                              // numbers of a block's edges, where they are not laid down
  std::unique_ptr<ScratchMatrix> laid_down_;  // what neighbors are asked for, without a first run that stays
  std::unique_ptr<ScratchMatrix> laid_edges_;
  LayerBlocks blocks_;
  WaitingPair put_aside_;  // aggregates of one run, of two blocks
  LayerCost cost_;
  Progress* progress_ = nullptr;
};

}  // namespace

std::vector<LayerCost> infer_exactly(const Dataset& dataset, Model& model, const ExactPlan& plan,
                                     const std::filesystem::path& scratch_folder, const RowSink& sink) {
  std::unique_ptr<StoredMatrix> input = std::make_unique<StoredFeatures>(dataset);
  std::vector<LayerCost> costs;
  LayerRun layer_run(dataset, model, plan, scratch_folder);
  for (std::size_t i = 0; i < plan.layers.size(); ++i) {
    if (i + 1 == plan.layers.size()) {
      costs.push_back(layer_run.run(i, *input, sink));
      break;
    }
    auto output =
        std::make_unique<ScratchMatrix>(scratch_folder, Dtype::f32, dataset.info().node_count,
                                        plan.layers[i].out_columns, plan.layers[i + 1].input_runs());
    RowWriter writer(*output, all_of(output->runs().size()), plan.ahead.piece_bytes);
    WaitingPair pair = waiting_pair(model.backend(), plan.block.destinations * output->columns());
    WrittenBehind behind(pair, [&](const WaitingRows& slot) {
      writer.append(slot.rows.rows, bytes_of(slot.rows), slot.rows.stride * sizeof(float));
    });
    costs.push_back(layer_run.run(i, *input, [&](std::uint64_t /*first*/, ConstMatrixView rows) {
      WaitingRows& slot = behind.next();
      slot.rows = slot.memory.matrix(rows.rows, rows.columns);
      copy_rows(model.backend(), bytes_of(rows), rows.stride * sizeof(float), slot.rows);
      behind.give();
    }));
    const Stopwatch rest;
    behind.finish();
    writer.finish();
    costs.back().seconds += rest.seconds();
    input = std::move(output);
  }
  return costs;
}

}  // namespace gneiss
