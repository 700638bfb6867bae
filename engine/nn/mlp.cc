#include "engine/nn/mlp.h"

#include <algorithm>
#include <array>

#include "engine/nn/layer_columns.h"
#include "storage/base/random.h"

namespace gneiss {
namespace {

struct MlpSizes {
  std::size_t input = 0;             // [seeds, features]
  std::vector<std::size_t> outputs;  // per layer, [seeds, out]
  std::size_t dz = 0;                // of each of the two that take turns
  std::size_t scratch = 0;

  MlpSizes(const Backend& backend, const ModelOptions& options, std::span<const BlockMaxima> maxima) {
    const std::size_t rows = maxima.back().dst_count;
    input = rows * options.feature_columns;
    for (std::uint32_t layer = 0; layer < options.layer_count; ++layer) {
      outputs.push_back(rows * out_columns(options, layer));
      if (layer + 1 < options.layer_count) dz = std::max(dz, outputs.back());
      scratch = std::max(scratch, backend.weight_gradient_scratch(rows, out_columns(options, layer),
                                                                  in_columns(options, layer)));
    }
  }
  std::size_t total() const {
    std::size_t sum = input + 2 * dz + scratch;
    for (const std::size_t count : outputs) sum += count;
    return sum;
  }
};

LinearGroups declare(ParameterList& parameters, const ModelOptions& options, std::uint32_t layer) {
  const std::size_t in = in_columns(options, layer);
  const std::size_t out = out_columns(options, layer);
  const std::array<ParameterList::Part, 1> part{{{fmt::format("lins.{}.weight", layer), in}}};
  const std::size_t weight = parameters.add_stacked(out, part);
  return {weight, parameters.add_vector(fmt::format("lins.{}.bias", layer), out, in)};
}

LayerNeeds needs_of(const ModelOptions& /*options*/, std::uint32_t /*layer*/) {
  return {.aggregates = 0, .own_rows = true};
}

class MlpModel final : public Model {
 public:
  MlpModel(Backend& backend, const ModelOptions& options, std::span<const BlockMaxima> maxima)
      : Model(backend, options) {
    const MlpSizes sizes(backend, options, maxima);
    for (std::uint32_t i = 0; i < options.layer_count; ++i) {
      Layer& layer = layers_.emplace_back();
      layer.linear = declare(parameters_, options, i);
      layer.in_columns = in_columns(options, i);
      layer.out_columns = out_columns(options, i);
      layer.output = backend.allocate(sizes.outputs[i]);
    }
    input_ = backend.allocate(sizes.input);
    for (Buffer& dz : dz_) dz = backend.allocate(sizes.dz);
    scratch_ = backend.allocate(sizes.scratch);
    complete(layer_rows({.uses_graph = false}, options, maxima));
  }

  LayerNeeds layer_needs(std::size_t i) const override {
    return needs_of(options_, static_cast<std::uint32_t>(i));
  }

  MatrixView finish_layer(std::size_t i, const OwnRows& own, const BatchView& batch) override {
    const Layer& layer = layers_[i];
    GNEISS_ASSERT(own.rows.columns() == layer.in_columns);
    ConstMatrixView x;
    if (i == 0) {
      const MatrixView input = input_.matrix(own.count, layer.in_columns);
      backend().gather(own.rows, own.ids, input);
      x = input;
    } else {
      GNEISS_ASSERT(own.ids.empty());
      x = own.rows.matrix();
    }
    const MatrixView output = layer.output.matrix(own.count, layer.out_columns);
    backend().linear(x, parameters_.stacked_value(layer.linear.weight),
                     product_epilogue(layer.linear.bias, i, batch), output);
    tails().forward(i, TieredRows::of(x), {}, activation(i, batch), context_.is_training, output);
    return output;
  }

  void backward(const BatchView& batch, MatrixView logit_gradients) override {
    GNEISS_ASSERT(context_.is_training);
    MatrixView dz = logit_gradients;
    for (std::size_t i = layers_.size(); i-- > 0;) {
      const Layer& layer = layers_[i];
      tails().backward(i, dz);
      const Buffer& x = i == 0 ? input_ : layers_[i - 1].output;
      backend().linear_weight_gradient(x.matrix(dz.rows, layer.in_columns), dz,
                                       parameters_.stacked_gradient(layer.linear.weight),
                                       vector_gradient(layer.linear.bias), scratch_.span());
      if (i == 0) break;
      const MatrixView dx = dz_[i % 2].matrix(dz.rows, layer.in_columns);
      backend().linear_input_gradient(dz, parameters_.stacked_value(layer.linear.weight), dx);
      const MatrixView below = x.matrix(dz.rows, layer.in_columns);
      backend().epilogue_gradient(below, activation(i - 1, batch), dx);
      tails().add_residual(i, below, activation(i - 1, batch), dx);
      dz = dx;
    }
  }

 private:
  struct Layer {
    LinearGroups linear;
    std::size_t in_columns = 0;
    std::size_t out_columns = 0;
    Buffer output;
  };

  std::vector<Layer> layers_;
  Buffer input_;
  std::array<Buffer, 2> dz_;
  Buffer scratch_;
};

}  // namespace

const ModelKind mlp_kind = describe_model<MlpModel, MlpSizes>(
    "mlp", "multilayer perceptron on the seeds' own features, without the graph", declare_layers<declare>,
    needs_of, {.uses_graph = false});

}  // namespace gneiss
