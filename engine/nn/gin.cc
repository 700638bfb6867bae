#include "engine/nn/gin.h"

#include <algorithm>
#include <array>

#include "engine/nn/layer_columns.h"
#include "storage/base/random.h"

namespace gneiss {
namespace {

// Elements of each buffer; the constructor takes what activation_bytes() promises.
struct GinSizes {
  std::vector<std::size_t> inputs;   // per layer, [dst, in]
  std::vector<std::size_t> hiddens;  // per layer, [dst, hidden]
  std::vector<std::size_t> outputs;  // per layer, [dst, out]
  std::size_t d_hidden = 0;
  std::size_t d_input = 0;
  std::size_t dz = 0;
  std::size_t scratch = 0;

  GinSizes(const Backend& backend, const ModelOptions& options, std::span<const BlockMaxima> maxima) {
    const std::size_t hidden = options.hidden_columns;
    for (std::uint32_t layer = 0; layer < options.layer_count; ++layer) {
      const std::size_t rows = maxima[layer].dst_count;
      const std::size_t in = in_columns(options, layer);
      const std::size_t out = out_columns(options, layer);
      inputs.push_back(rows * in);
      hiddens.push_back(rows * hidden);
      outputs.push_back(rows * out);
      d_hidden = std::max(d_hidden, hiddens.back());
      if (layer > 0) d_input = std::max(d_input, inputs.back());
      if (layer + 1 < options.layer_count) dz = std::max(dz, outputs.back());
      scratch = std::max({scratch, backend.weight_gradient_scratch(rows, hidden, in),
                          backend.weight_gradient_scratch(rows, out, hidden)});
    }
  }
  std::size_t total() const {
    std::size_t sum = d_hidden + d_input + dz + scratch;
    for (const std::size_t count : inputs) sum += count;
    for (const std::size_t count : hiddens) sum += count;
    for (const std::size_t count : outputs) sum += count;
    return sum;
  }
};

struct GinGroups {
  LinearGroups first;
  LinearGroups second;
};

LinearGroups declare_linear(ParameterList& parameters, const std::string& name, std::size_t in,
                            std::size_t out) {
  const std::array<ParameterList::Part, 1> part{{{name + ".weight", in}}};
  const std::size_t weight = parameters.add_stacked(out, part);
  return {weight, parameters.add_vector(name + ".bias", out, in)};
}

GinGroups declare(ParameterList& parameters, const ModelOptions& options, std::uint32_t layer) {
  const auto name = [&](int linear) { return fmt::format("convs.{}.nn.lins.{}", layer, linear); };
  const std::size_t hidden = options.hidden_columns;
  const LinearGroups first = declare_linear(parameters, name(0), in_columns(options, layer), hidden);
  return {first, declare_linear(parameters, name(1), hidden, out_columns(options, layer))};
}

LayerNeeds needs_of(const ModelOptions& options, std::uint32_t layer) {
  return {.own_rows = options.residual, .input_columns = in_columns(options, layer)};
}

class GinModel final : public Model {
 public:
  GinModel(Backend& backend, const ModelOptions& options, std::span<const BlockMaxima> maxima)
      : Model(backend, options) {
    const GinSizes sizes(backend, options, maxima);
    for (std::uint32_t i = 0; i < options.layer_count; ++i) {
      Layer& layer = layers_.emplace_back();
      layer.in_columns = in_columns(options, i);
      layer.out_columns = out_columns(options, i);
      layer.linear = declare(parameters_, options, i);
      layer.input = backend.allocate(sizes.inputs[i]);
      layer.hidden = backend.allocate(sizes.hiddens[i]);
      layer.output = backend.allocate(sizes.outputs[i]);
    }
    d_hidden_ = backend.allocate(sizes.d_hidden);
    d_input_ = backend.allocate(sizes.d_input);
    dz_ = backend.allocate(sizes.dz);
    scratch_ = backend.allocate(sizes.scratch);
    complete(layer_rows({}, options, maxima));
  }

  LayerNeeds layer_needs(std::size_t i) const override {
    return needs_of(options_, static_cast<std::uint32_t>(i));
  }

  Buffer* layer_input(std::size_t i) override { return &layers_[i].input; }

  MatrixView layer_aggregates(std::size_t i, std::size_t dst_count) override {
    return layers_[i].input.matrix(dst_count, layers_[i].in_columns);
  }

  void aggregate_layer(std::size_t /*layer*/, const TieredRows& rows, const BlockView& block,
                       ConstMatrixView /*sources*/, MatrixView out) override {
    backend().aggregate_sum(rows, block, {}, out);
  }

  MatrixView finish_layer(std::size_t i, const OwnRows& own, const BatchView& batch) override {
    const Layer& layer = layers_[i];
    const MatrixView hidden = layer.hidden.matrix(own.count, options_.hidden_columns);
    const MatrixView output = layer.output.matrix(own.count, layer.out_columns);
    backend().linear(layer_aggregates(i, own.count), parameters_.stacked_value(layer.linear.first.weight),
                     inner_epilogue(layer), hidden);
    backend().linear(hidden, parameters_.stacked_value(layer.linear.second.weight),
                     product_epilogue(layer.linear.second.bias, i, batch), output);
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
      tails().backward(i, dz);
      const MatrixView hidden = layer.hidden.matrix(dz.rows, options_.hidden_columns);
      const MatrixView d_hidden = d_hidden_.matrix(dz.rows, options_.hidden_columns);
      weight_gradient(layer.linear.second, hidden, dz);
      backend().linear_input_gradient(dz, parameters_.stacked_value(layer.linear.second.weight), d_hidden);
      backend().epilogue_gradient(hidden, inner_epilogue(layer), d_hidden);
      weight_gradient(layer.linear.first, layer.input.matrix(dz.rows, in), d_hidden);
      if (i == 0) break;  // the features need no gradient
      const MatrixView d_input = d_input_.matrix(dz.rows, in);
      backend().linear_input_gradient(d_hidden, parameters_.stacked_value(layer.linear.first.weight),
                                      d_input);
      dz = dz_.matrix(block.src_count, in);
      const MatrixView below = layers_[i - 1].output.matrix(block.src_count, in);
      backend().aggregate_sum_gradient(block, {}, d_input, below, activation(i - 1, batch), dz);
      tails().add_residual(i, below, activation(i - 1, batch), dz);
    }
  }

 private:
  struct Layer {
    GinGroups linear;
    std::size_t in_columns = 0;
    std::size_t out_columns = 0;
    Buffer input;   // [dst, in] and
    Buffer hidden;  // [dst, hidden], kept for the weights' gradients
    Buffer output;  // [dst, out], kept for the activation's slope
  };

  void weight_gradient(const LinearGroups& linear, ConstMatrixView x, ConstMatrixView dz) {
    backend().linear_weight_gradient(x, dz, parameters_.stacked_gradient(linear.weight),
                                     vector_gradient(linear.bias), scratch_.span());
  }

  Epilogue inner_epilogue(const Layer& layer) const {
    return {.bias = vector_value(layer.linear.first.bias), .activation = options_.activation, .dropout = {}};
  }

  std::vector<Layer> layers_;
  Buffer d_hidden_;
  Buffer d_input_;
  Buffer dz_;
  Buffer scratch_;
};

}  // namespace

const ModelKind gin_kind = describe_model<GinModel, GinSizes>(
    "gin", "graph isomorphism network: sums through two linear layers", declare_layers<declare>, needs_of);

}  // namespace gneiss
