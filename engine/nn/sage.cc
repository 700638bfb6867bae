#include "engine/nn/sage.h"

#include <algorithm>
#include <array>

#include "engine/nn/layer_columns.h"
#include "storage/base/random.h"

namespace gneiss {
namespace {

// Elements of each buffer; the constructor takes what activation_bytes() promises.
struct SageSizes {
  std::vector<std::size_t> inputs;   // per layer, [dst, 2 * in]
  std::vector<std::size_t> outputs;  // per layer, [dst, out]
  std::vector<std::size_t> winners;  // per layer, [dst, in], or none
  std::size_t d_input = 0;
  std::size_t dz = 0;
  std::size_t scratch = 0;

  SageSizes(const Backend& backend, const ModelOptions& options, std::span<const BlockMaxima> maxima) {
    for (std::uint32_t layer = 0; layer < options.layer_count; ++layer) {
      const std::size_t rows = maxima[layer].dst_count;
      const std::size_t in = 2 * in_columns(options, layer);
      const std::size_t out = out_columns(options, layer);
      inputs.push_back(rows * in);
      outputs.push_back(rows * out);
      // The features need no gradient, so nobody asks which of them won.
      winners.push_back(options.aggregator == Aggregator::max && layer > 0 ? rows * in / 2 : 0);
      if (layer > 0) d_input = std::max(d_input, inputs.back());
      if (layer + 1 < options.layer_count) dz = std::max(dz, outputs.back());
      scratch = std::max(scratch, backend.weight_gradient_scratch(rows, out, in));
    }
  }
  std::size_t total() const {
    std::size_t sum = d_input + dz + scratch;
    for (const std::size_t count : inputs) sum += count;
    for (const std::size_t count : outputs) sum += count;
    for (const std::size_t count : winners) sum += count;
    return sum;
  }
};

LinearGroups declare(ParameterList& parameters, const ModelOptions& options, std::uint32_t layer) {
  const std::size_t in = in_columns(options, layer);
  const std::size_t out = out_columns(options, layer);
  const std::array<ParameterList::Part, 2> parts{
      {{fmt::format("convs.{}.lin_l.weight", layer), in}, {fmt::format("convs.{}.lin_r.weight", layer), in}}};
  const std::size_t weight = parameters.add_stacked(out, parts);
  return {weight, parameters.add_vector(fmt::format("convs.{}.lin_l.bias", layer), out, in)};
}

// The mean of products is that of the mean; the largest is not.
LayerNeeds needs_of(const ModelOptions& options, std::uint32_t layer) {
  const bool takes_largest = options.aggregator == Aggregator::max;
  return {.own_rows = true,
          .projected_columns = takes_largest ? 0 : out_columns(options, layer),
          .input_columns = 2 * in_columns(options, layer)};
}

class SageModel final : public Model {
 public:
  SageModel(Backend& backend, const ModelOptions& options, std::span<const BlockMaxima> maxima)
      : Model(backend, options) {
    const SageSizes sizes(backend, options, maxima);
    for (std::uint32_t i = 0; i < options.layer_count; ++i) {
      Layer& layer = layers_.emplace_back();
      layer.linear = declare(parameters_, options, i);
      layer.in_columns = in_columns(options, i);
      layer.out_columns = out_columns(options, i);
      layer.input = backend.allocate(sizes.inputs[i]);
      layer.output = backend.allocate(sizes.outputs[i]);
      layer.winners = backend.allocate(sizes.winners[i]);
    }
    d_input_ = backend.allocate(sizes.d_input);
    dz_ = backend.allocate(sizes.dz);
    scratch_ = backend.allocate(sizes.scratch);
    complete(layer_rows({}, options, maxima));
  }

  LayerNeeds layer_needs(std::size_t i) const override {
    return needs_of(options_, static_cast<std::uint32_t>(i));
  }

  Buffer* layer_input(std::size_t i) override { return &layers_[i].input; }
  MatrixView layer_own_rows(std::size_t i, std::size_t dst_count) override {
    const Layer& layer = layers_[i];
    return layer.input.matrix(dst_count, 2 * layer.in_columns)
        .column_range(layer.in_columns, layer.in_columns);
  }

  MatrixView layer_aggregates(std::size_t i, std::size_t dst_count) override {
    const Layer& layer = layers_[i];
    return layer.input.matrix(dst_count, 2 * layer.in_columns).column_range(0, layer.in_columns);
  }

  void aggregate_layer(std::size_t i, const TieredRows& rows, const BlockView& block,
                       ConstMatrixView /*sources*/, MatrixView out) override {
    if (!takes_largest()) return backend().aggregate_mean(rows, block, out);
    const Layer& layer = layers_[i];
    const bool wants_winners = context_.is_training && layer.winners.size() > 0;
    backend().aggregate_max(
        rows, block, out,
        wants_winners ? layer.winners.index_matrix(out.rows, out.columns) : IndexMatrixView());
  }

  MatrixView finish_layer(std::size_t i, const OwnRows& own, const BatchView& batch) override {
    const Layer& layer = layers_[i];
    GNEISS_ASSERT(own.rows.columns() == layer.in_columns);
    const MatrixView input = layer.input.matrix(own.count, 2 * layer.in_columns);
    const MatrixView output = layer.output.matrix(own.count, layer.out_columns);
    backend().gather(own.rows, own.ids, layer_own_rows(i, own.count));
    backend().linear(input, parameters_.stacked_value(layer.linear.weight),
                     product_epilogue(layer.linear.bias, i, batch), output);
    tails().forward(i, own.rows, own.ids, activation(i, batch), context_.is_training, output);
    return output;
  }

  void project_layer(std::size_t i, const OwnRows& rows, MatrixView out) override {
    const Layer& layer = layers_[i];
    const MatrixView input = layer_aggregates(i, rows.count);
    backend().gather(rows.rows, rows.ids, input);
    backend().linear(input, parameters_.stacked_value(layer.linear.weight).column_range(0, layer.in_columns),
                     {}, out);
  }

  MatrixView projected_aggregates(std::size_t i, std::size_t dst_count) override {
    return layers_[i].output.matrix(dst_count, layers_[i].out_columns);
  }

  MatrixView finish_projected(std::size_t i, const OwnRows& own, const BatchView& batch) override {
    const Layer& layer = layers_[i];
    const std::size_t in = layer.in_columns;
    const MatrixView output = projected_aggregates(i, own.count);
    const MatrixView self = layer_aggregates(i, own.count);
    backend().gather(own.rows, own.ids, self);
    backend().linear_add(self, parameters_.stacked_value(layer.linear.weight).column_range(in, in),
                         product_epilogue(layer.linear.bias, i, batch), output);
    tails().forward(i, own.rows, own.ids, activation(i, batch), context_.is_training, output);
    return output;
  }

  void backward(const BatchView& batch, MatrixView logit_gradients) override {
    GNEISS_ASSERT(context_.is_training);
    MatrixView dz = logit_gradients;
    for (std::size_t i = layers_.size(); i-- > 0;) {
      const Layer& layer = layers_[i];
      const BlockView& block = batch.blocks[i];
      const std::size_t in = layer.in_columns;
      GNEISS_ASSERT(dz.rows == block.dst_count && dz.columns == layer.out_columns);
      const MatrixView weight = parameters_.stacked_value(layer.linear.weight);
      tails().backward(i, dz);
      backend().linear_weight_gradient(layer.input.matrix(dz.rows, 2 * in), dz,
                                       parameters_.stacked_gradient(layer.linear.weight),
                                       vector_gradient(layer.linear.bias), scratch_.span());
      if (i == 0) break;  // the features need no gradient
      const MatrixView d_input = d_input_.matrix(dz.rows, 2 * in);
      backend().linear_input_gradient(dz, weight, d_input);
      dz = dz_.matrix(block.src_count, in);
      const MatrixView d_aggregate = d_input.column_range(0, in);
      const MatrixView d_self = d_input.column_range(in, in);
      const MatrixView below = layers_[i - 1].output.matrix(block.src_count, in);
      if (takes_largest()) {
        backend().aggregate_max_gradient(block, layer.winners.index_matrix(block.dst_count, in), d_aggregate,
                                         d_self, below, activation(i - 1, batch), dz);
      } else {
        backend().aggregate_mean_gradient(block, d_aggregate, d_self, below, activation(i - 1, batch), dz);
      }
      tails().add_residual(i, below, activation(i - 1, batch), dz);
    }
  }

 private:
  struct Layer {
    LinearGroups linear;
    std::size_t in_columns = 0;
    std::size_t out_columns = 0;
    Buffer input;    // [dst, aggregate | self], kept for the weights' gradient
    Buffer output;   // [dst, out], kept for the activation's slope
    Buffer winners;  // [dst, in]: where each largest came from
  };

  bool takes_largest() const { return options_.aggregator == Aggregator::max; }

  std::vector<Layer> layers_;
  Buffer d_input_;
  Buffer dz_;
  Buffer scratch_;
};

}  // namespace

const ModelKind sage_kind = describe_model<SageModel, SageSizes>(
    "sage", "GraphSAGE, with the mean of the neighbors or their --aggregator max", declare_layers<declare>,
    needs_of, {.has_aggregator = true});

}  // namespace gneiss
