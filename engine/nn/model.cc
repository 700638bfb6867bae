#include "engine/nn/model.h"

#include "storage/base/random.h"

namespace gneiss {

std::string_view name_of(Aggregator aggregator) noexcept {
  return aggregator == Aggregator::max ? "max" : "mean";
}

Aggregator parse_aggregator(std::string_view name) {
  for (const Aggregator aggregator : {Aggregator::mean, Aggregator::max}) {
    if (name == name_of(aggregator)) return aggregator;
  }
  fail(Kind::config, "there is no aggregator '{}'; use mean or max", name);
}

std::string_view name_of(NormKind kind) noexcept {
  switch (kind) {
    case NormKind::batch:
      return "batch";
    case NormKind::layer:
      return "layer";
    default:
      return "none";
  }
}

NormKind parse_norm(std::string_view name) {
  for (const NormKind kind : {NormKind::none, NormKind::batch, NormKind::layer}) {
    if (name == name_of(kind)) return kind;
  }
  fail(Kind::config, "there is no norm '{}'; use none, batch or layer", name);
}

ConstMatrixView Model::forward(const BatchView& batch, const StepContext& context) {
  context_ = context;
  hidden_nodes_ = batch.hidden_nodes;
  TieredRows rows = batch.input;
  MatrixView output;
  for (std::size_t i = 0; i < options_.layer_count; ++i) {
    const LayerNeeds needs = layer_needs(i);
    OwnRows own{.rows = rows, .ids = {}, .count = batch.seed_count()};
    if (needs.aggregates > 0) {
      GNEISS_ASSERT(batch.blocks.size() == options_.layer_count);
      const BlockView& block = batch.blocks[i];
      GNEISS_ASSERT(rows.row_count() == block.src_count);
      own.ids = block.dst_in_src;
      own.count = block.dst_count;
    } else if (i == 0) {
      own.ids = batch.seed_rows();
    }
    output = run_layer(i, rows, own, batch);
    rows = TieredRows::of(output);
  }
  return output;
}

MatrixView Model::run_layer(std::size_t layer, const TieredRows& rows, const OwnRows& own,
                            const BatchView& batch) {
  if (layer_needs(layer).aggregates > 0) {
    const BlockView& block = batch.blocks[layer];
    aggregate_layer(layer, rows, block, batch_sources(layer, rows, batch),
                    layer_aggregates(layer, own.count));
  }
  return finish_layer(layer, own, batch);
}

// What a model whose layers need none of it leaves as it is.
void Model::layer_sources(std::size_t /*layer*/, const TieredRows& /*rows*/, const BlockView& /*block*/,
                          MatrixView /*out*/) {
  GNEISS_ASSERT(false);
}
MatrixView Model::layer_aggregates(std::size_t /*layer*/, std::size_t /*dst_count*/) { return {}; }
Buffer* Model::layer_input(std::size_t /*layer*/) { return nullptr; }
MatrixView Model::layer_own_rows(std::size_t /*layer*/, std::size_t /*dst_count*/) { return {}; }
void Model::aggregate_layer(std::size_t /*layer*/, const TieredRows& /*rows*/, const BlockView& /*block*/,
                            ConstMatrixView /*sources*/, MatrixView /*out*/) {
  GNEISS_ASSERT(false);
}
void Model::layer_edges(std::size_t /*layer*/, const BlockView& /*block*/, ConstMatrixView /*sources*/,
                        const EdgeValues& /*out*/) {
  GNEISS_ASSERT(false);
}
void Model::aggregate_weighted(std::size_t /*layer*/, const TieredRows& /*rows*/, const BlockView& /*block*/,
                               const ConstEdgeValues& /*edges*/, MatrixView /*out*/) {
  GNEISS_ASSERT(false);
}
void Model::project_layer(std::size_t /*layer*/, const OwnRows& /*rows*/, MatrixView /*out*/) {
  GNEISS_ASSERT(false);
}
void Model::aggregate_projected(std::size_t /*layer*/, std::size_t /*first_column*/,
                                const TieredRows& /*rows*/, const BlockView& /*block*/,
                                const ConstEdgeValues& /*edges*/, MatrixView /*out*/) {
  GNEISS_ASSERT(false);
}
MatrixView Model::projected_aggregates(std::size_t /*layer*/, std::size_t /*dst_count*/) { return {}; }
MatrixView Model::finish_projected(std::size_t /*layer*/, const OwnRows& /*own*/,
                                   const BatchView& /*batch*/) {
  GNEISS_ASSERT(false);
  return {};
}
ConstMatrixView Model::batch_sources(std::size_t /*layer*/, const TieredRows& /*rows*/,
                                     const BatchView& /*batch*/) {
  return {};
}

void Model::complete(std::span<const std::size_t> rows) {
  tails_.emplace(parameters_, options_, rows);
  parameters_.allocate();
  parameters_.initialize(options_.seed);
}

Epilogue Model::activation(std::size_t layer, const BatchView& batch) const {
  if (layer + 1 == options_.layer_count) return {};
  Epilogue epilogue{.bias = {}, .activation = options_.activation, .dropout = {}};
  if (context_.is_training && options_.dropout > 0) {
    epilogue.dropout = {options_.dropout, mix_key(context_.seed, context_.step, layer), batch.hidden_nodes};
  }
  return epilogue;
}

Epilogue Model::product_epilogue(std::size_t bias_group, std::size_t layer, const BatchView& batch) const {
  Epilogue epilogue = tails_->has(layer) ? Epilogue() : activation(layer, batch);
  epilogue.bias = vector_value(bias_group);
  return epilogue;
}

std::span<const float> Model::vector_value(std::size_t group) const {
  const MatrixView value = parameters_.stacked_value(group);
  return {value.data, value.columns};
}

std::span<float> Model::vector_gradient(std::size_t group) const {
  const MatrixView gradient = parameters_.stacked_gradient(group);
  return {gradient.data, gradient.columns};
}

}  // namespace gneiss
