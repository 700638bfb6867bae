#include "engine/infer/exact_inference.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>

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

class LayerRun {
 public:
  LayerRun(const Dataset& dataset, Model& model, const ExactPlan& plan, const std::filesystem::path& folder,
           AlignedBuffer& resident, Buffer& sources)
      : dataset_(dataset),
        model_(model),
        plan_(plan),
        folder_(folder),
        resident_(resident),
        sources_(sources),
        node_count_(dataset.info().node_count) {}

  LayerCost run(std::size_t index, const StoredMatrix& input, const RowSink& sink) {
    const Stopwatch clock;
    layer_ = &plan_.layers[index];
    index_ = index;
    input_ = &input;
    own_ = AlignedBuffer(plan_.block.destinations * input.row_bytes());
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
  void read(std::uint64_t bytes) {
    cost_.traffic.bytes_read += bytes;
    progress_->advance(bytes);
  }
  void wrote(std::uint64_t bytes) {
    cost_.traffic.bytes_written += bytes;
    progress_->advance(bytes);
  }

  void finish(const OwnRows& rows, std::uint64_t first, const RowSink& sink) {
    const MatrixView output = model_.finish_layer(index_, rows, {});
    sink(first, output);
    if (layer_->one_pass.bytes_written > 0) wrote(output.rows * output.columns * sizeof(float));
  }

  // Calls use(first node, rows) with all rows of the input in order, whole and dense.
  template <class Use>
  void for_rows(const Use& use) {
    RowReader rows(*input_, layer_->ahead);
    const std::size_t stride = input_->row_bytes();
    for (std::uint64_t first = 0; first < node_count_; first += plan_.block.destinations) {
      throw_if_interrupted();
      const auto count = std::min<std::uint64_t>(plan_.block.destinations, node_count_ - first);
      rows.next(count, own_.data(), stride);
      read(count * stride);
      use(first, own_rows(count));
    }
  }
  TieredRows own_rows(std::size_t count) const {
    TieredRows rows(input_->dtype(), static_cast<std::uint32_t>(input_->columns()));
    rows.append(own_.data(), static_cast<std::uint32_t>(count));
    return rows;
  }

  // Calls use(block, first node) with all blocks in order.
  template <class Use>
  void for_blocks(const Use& use) {
    TopologyStream blocks(dataset_, plan_.block, plan_.ahead);
    std::uint64_t offsets = 8;  // before the first node's edges
    while (const auto block = blocks.next()) {
      throw_if_interrupted();
      use(*block, blocks.first_node());
      read(offsets + 8 * std::uint64_t{block->dst_count} + 4 * std::uint64_t{block->edge_count()});
      offsets = 0;
    }
  }

  void finish_rows(const RowSink& sink) {
    for_rows([&](std::uint64_t first, const TieredRows& rows) {
      finish({.rows = rows, .ids = {}, .count = rows.row_count()}, first, sink);
    });
  }

  void aggregate_and_finish(const RowSink& sink) {
    make_sources();
    const std::size_t runs = layer_->runs.size();
    std::unique_ptr<ScratchMatrix> waiting;
    if (runs > 1) {
      aggregate_ = model_.backend().allocate(plan_.block.destinations * layer_->needs.aggregates *
                                             layer_->runs.front().count);
      waiting = std::make_unique<ScratchMatrix>(folder_, Dtype::f32, node_count_,
                                                layer_->needs.aggregates * layer_->in_columns,
                                                layer_->waiting_runs());
    }
    if (layer_->is_converted(index_)) convert_features();
    for (std::size_t run = 0; run < runs; ++run) {
      if (run > 0 || !layer_->is_converted(index_)) load(run);
      if (run + 1 < runs) put_aside(run, *waiting);
    }
    converted_.reset();
    finish_blocks(waiting.get(), sink);
    aggregate_ = {};
  }

  // What the layer's aggregation knows of every node besides its row.
  void make_sources() {
    const std::size_t columns = layer_->needs.source_columns;
    if (layer_->needs.sources == LayerNeeds::Sources::from_rows) {
      for_rows([&](std::uint64_t first, const TieredRows& rows) {
        model_.layer_sources(index_, rows, {},
                             sources_.matrix(node_count_, columns).row_range(first, rows.row_count()));
      });
    }
    if (layer_->needs.sources == LayerNeeds::Sources::from_edges && index_ == 0) {
      for_blocks([&](const BlockView& block, std::uint64_t first) {
        model_.layer_sources(index_, {}, block,
                             sources_.matrix(node_count_, columns).row_range(first, block.dst_count));
      });
    }
  }

  // The features, row by row, become runs of columns: the first in memory, the others on the drive.
  void convert_features() {
    const std::size_t value_bytes = size_of(input_->dtype());
    const auto later = std::span(layer_->runs).subspan(1);
    converted_ = std::make_unique<ScratchMatrix>(folder_, input_->dtype(), node_count_, input_->columns(),
                                                 std::vector<ColumnRun>(later.begin(), later.end()));
    RowWriter writer(*converted_, all_of(later.size()), plan_.ahead.piece_bytes);
    const std::size_t first_bytes = layer_->runs.front().count * value_bytes;
    for_rows([&](std::uint64_t first, const TieredRows& rows) {
      for (std::uint32_t row = 0; row < rows.row_count(); ++row) {
        std::memcpy(resident_.data() + (first + row) * first_bytes, rows.row(row), first_bytes);
      }
      writer.append(rows.row_count(), own_.data(), input_->row_bytes());
    });
    writer.finish();
    wrote(converted_->bytes());
  }

  void load(std::size_t run) {
    const bool is_converted = layer_->is_converted(index_);
    const StoredMatrix& matrix = is_converted ? *converted_ : *input_;
    const std::size_t place = is_converted ? run - 1 : run;
    SequentialReader reader = matrix.read_run(place, plan_.ahead);
    constexpr std::size_t step = std::size_t{8} << 20;
    auto left = resident_.bytes().first(matrix.run_bytes(place));
    while (!left.empty()) {
      throw_if_interrupted();
      const auto part = left.first(std::min(step, left.size()));
      reader.read(part);
      read(part.size());
      left = left.subspan(part.size());
    }
  }

  // The run of columns that is in memory, of all nodes.
  TieredRows resident_rows(std::size_t run) const {
    TieredRows rows(input_->dtype(), static_cast<std::uint32_t>(layer_->runs[run].count));
    rows.append(resident_.data(), static_cast<std::uint32_t>(node_count_));
    return rows;
  }
  ConstMatrixView sources() const { return sources_.matrix(node_count_, layer_->needs.source_columns); }
  // Memory for the aggregates of one run.
  MatrixView run_aggregates(std::size_t run, std::size_t count) const {
    return aggregate_.matrix(count, layer_->needs.aggregates * layer_->runs[run].count);
  }

  // Aggregates one run's columns and leaves them on the drive.
  void put_aside(std::size_t run, const ScratchMatrix& waiting) {
    const std::size_t width = layer_->runs[run].count;
    std::vector<std::size_t> targets;
    std::vector<std::size_t> offsets;
    targets.reserve(layer_->needs.aggregates);
    offsets.reserve(layer_->needs.aggregates);
    for (std::size_t a = 0; a < layer_->needs.aggregates; ++a) {
      targets.push_back(run * layer_->needs.aggregates + a);
      offsets.push_back(a * width * sizeof(float));
    }
    RowWriter writer(waiting, targets, plan_.ahead.piece_bytes);
    for_blocks([&](const BlockView& block, std::uint64_t /*first*/) {
      const MatrixView out = run_aggregates(run, block.dst_count);
      model_.aggregate_layer(index_, resident_rows(run), block, sources(), out);
      writer.append(out.rows, bytes_of(out), out.stride * sizeof(float), offsets);
      wrote(out.rows * out.columns * sizeof(float));
    });
    writer.finish();
  }

  // Aggregates the last run's columns, to which those put aside come back.
  void finish_blocks(const ScratchMatrix* waiting, const RowSink& sink) {
    const std::size_t last = layer_->runs.size() - 1;
    std::optional<RowReader> aside;
    std::optional<RowReader> own;
    if (waiting != nullptr) aside.emplace(*waiting, layer_->ahead);
    if (waiting != nullptr && layer_->needs.own_rows) own.emplace(*input_, layer_->ahead);
    for_blocks([&](const BlockView& block, std::uint64_t first) {
      const MatrixView aggregates = model_.layer_aggregates(index_, block.dst_count);
      OwnRows rows{.rows = {}, .ids = {}, .count = block.dst_count};
      if (waiting == nullptr) {
        model_.aggregate_layer(index_, resident_rows(last), block, sources(), aggregates);
        rows.rows = resident_rows(last);
        rows.ids = block.dst_in_src;
      } else {
        aggregate_last_run(block, aggregates);
        aside->next(block.dst_count, reinterpret_cast<std::byte*>(aggregates.data),
                    aggregates.stride * sizeof(float));
        read(block.dst_count * waiting->bytes() / node_count_);
      }
      if (own) {
        own->next(block.dst_count, own_.data(), input_->row_bytes());
        read(block.dst_count * input_->row_bytes());
        rows.rows = own_rows(block.dst_count);
      }
      finish(rows, first, sink);
    });
  }

  void aggregate_last_run(const BlockView& block, MatrixView aggregates) {
    const ColumnRun& run = layer_->runs.back();
    const MatrixView out = run_aggregates(layer_->runs.size() - 1, block.dst_count);
    model_.aggregate_layer(index_, resident_rows(layer_->runs.size() - 1), block, sources(), out);
    for (std::size_t a = 0; a < layer_->needs.aggregates; ++a) {
      const MatrixView target = aggregates.column_range(a * layer_->in_columns + run.first, run.count);
      for (std::size_t row = 0; row < out.rows; ++row) {
        std::copy_n(out.row(row) + a * run.count, run.count, target.row(row));
      }
    }
  }

  const Dataset& dataset_;
  Model& model_;
  const ExactPlan& plan_;
  const std::filesystem::path& folder_;
  AlignedBuffer& resident_;
  Buffer& sources_;
  const std::uint64_t node_count_;
  const ExactLayer* layer_ = nullptr;
  std::size_t index_ = 0;
  const StoredMatrix* input_ = nullptr;
  std::unique_ptr<ScratchMatrix> converted_;
  AlignedBuffer own_;  // whole rows of one block's destinations
  Buffer aggregate_;   // of one block and run
  LayerCost cost_;
  Progress* progress_ = nullptr;
};

}  // namespace

std::vector<LayerCost> infer_exactly(const Dataset& dataset, Model& model, const ExactPlan& plan,
                                     const std::filesystem::path& scratch_folder, const RowSink& sink) {
  AlignedBuffer resident(plan.resident_bytes);
  Buffer sources = model.backend().allocate(plan.sources_bytes / sizeof(float));
  std::unique_ptr<StoredMatrix> input = std::make_unique<StoredFeatures>(dataset);
  std::vector<LayerCost> costs;
  LayerRun layer_run(dataset, model, plan, scratch_folder, resident, sources);
  for (std::size_t i = 0; i < plan.layers.size(); ++i) {
    if (i + 1 == plan.layers.size()) {
      costs.push_back(layer_run.run(i, *input, sink));
      break;
    }
    auto output = std::make_unique<ScratchMatrix>(scratch_folder, Dtype::f32, dataset.info().node_count,
                                                  plan.layers[i].out_columns, plan.layers[i + 1].runs);
    RowWriter writer(*output, all_of(output->runs().size()), plan.ahead.piece_bytes);
    costs.push_back(layer_run.run(i, *input, [&](std::uint64_t /*first*/, ConstMatrixView rows) {
      writer.append(rows.rows, bytes_of(rows), rows.stride * sizeof(float));
    }));
    const Stopwatch rest;
    writer.finish();
    costs.back().seconds += rest.seconds();
    input = std::move(output);
  }
  return costs;
}

}  // namespace gneiss
