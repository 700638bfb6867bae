#include "engine/nn/gcn.h"

#include <algorithm>
#include <array>

#include "engine/nn/layer_columns.h"
#include "storage/base/random.h"

namespace gneiss {
namespace {

// Elements of each buffer; the constructor takes what activation_bytes() promises.
struct GcnSizes {
  std::vector<std::size_t> inputs;   // per layer, [dst, in]
  std::vector<std::size_t> outputs;  // per layer, [dst, out]
  std::vector<std::size_t> scales;   // per layer, [dst], twice
  std::size_t first_source = 0;      // [src] of block 0
  std::size_t d_input = 0;
  std::size_t dz = 0;
  std::size_t scratch = 0;

  GcnSizes(const Backend& backend, const ModelOptions& options, std::span<const BlockMaxima> maxima) {
    first_source = maxima.front().src_count;
    for (std::uint32_t layer = 0; layer < options.layer_count; ++layer) {
      const std::size_t rows = maxima[layer].dst_count;
      const std::size_t in = in_columns(options, layer);
      const std::size_t out = out_columns(options, layer);
      inputs.push_back(rows * in);
      outputs.push_back(rows * out);
      scales.push_back(rows);
      if (layer > 0) d_input = std::max(d_input, inputs.back());
      if (layer + 1 < options.layer_count) dz = std::max(dz, outputs.back());
      scratch = std::max(scratch, backend.weight_gradient_scratch(rows, out, in));
    }
  }
  std::size_t total() const {
    std::size_t sum = first_source + d_input + dz + scratch;
    for (const std::size_t count : inputs) sum += count;
    for (const std::size_t count : outputs) sum += count;
    for (const std::size_t count : scales) sum += 2 * count;
    return sum;
  }
};

LinearGroups declare(ParameterList& parameters, const ModelOptions& options, std::uint32_t layer) {
  const std::size_t in = in_columns(options, layer);
  const std::size_t out = out_columns(options, layer);
  const std::array<ParameterList::Part, 1> part{{{fmt::format("convs.{}.lin.weight", layer), in}}};
  const std::size_t weight = parameters.add_stacked(out, part, FirstValues::glorot);
  return {weight, parameters.add_vector(fmt::format("convs.{}.bias", layer), out, in, FirstValues::zero)};
}

LayerNeeds needs_of(const ModelOptions& options, std::uint32_t layer) {
  return {.own_rows = options.residual,
          .sources = LayerNeeds::Sources::from_edges,
          .source_columns = 1,
          .projected_columns = out_columns(options, layer),
          .may_scale_rows = true,
          .input_columns = in_columns(options, layer)};
}

class GcnModel final : public Model {
 public:
  GcnModel(Backend& backend, const ModelOptions& options, std::span<const BlockMaxima> maxima)
      : Model(backend, options) {
    const GcnSizes sizes(backend, options, maxima);
    for (std::uint32_t i = 0; i < options.layer_count; ++i) {
      Layer& layer = layers_.emplace_back();
      layer.linear = declare(parameters_, options, i);
      layer.in_columns = in_columns(options, i);
      layer.out_columns = out_columns(options, i);
      layer.input = backend.allocate(sizes.inputs[i]);
      layer.output = backend.allocate(sizes.outputs[i]);
      layer.destination = backend.allocate(sizes.scales[i]);
      layer.self = backend.allocate(sizes.scales[i]);
    }
    first_source_ = backend.allocate(sizes.first_source);
    d_input_ = backend.allocate(sizes.d_input);
    dz_ = backend.allocate(sizes.dz);
    scratch_ = backend.allocate(sizes.scratch);
    complete(layer_rows({}, options, maxima));
  }

  Buffer* layer_input(std::size_t i) override { return &layers_[i].input; }

  LayerNeeds layer_needs(std::size_t i) const override {
    return needs_of(options_, static_cast<std::uint32_t>(i));
  }

  void layer_sources(std::size_t /*layer*/, const TieredRows& /*rows*/, const BlockView& block,
                     MatrixView out) override {
    GNEISS_ASSERT(out.is_dense() && out.columns == 1);
    backend().symmetric_scales(block, {out.data, out.rows}, {});
  }

  MatrixView layer_aggregates(std::size_t i, std::size_t dst_count) override {
    return layers_[i].input.matrix(dst_count, layers_[i].in_columns);
  }

  void aggregate_layer(std::size_t i, const TieredRows& rows, const BlockView& block, ConstMatrixView sources,
                       MatrixView out) override {
    GNEISS_ASSERT(sources.rows == 0 || (sources.is_dense() && sources.columns == 1));
    const EdgeScales scales{.destination = layers_[i].destination.span().first(block.dst_count),
                            .source = {sources.data, sources.rows},
                            .self = layers_[i].self.span().first(block.dst_count)};
    // Of the batch's first block, the sources' are made together with these.
    const bool is_done = sources.rows != 0 && sources.data == first_source_.data();
    if (!is_done) backend().symmetric_scales(block, layers_[i].destination.span().first(block.dst_count), {});
    backend().self_loop_scales(block, scales.source, layers_[i].self.span().first(block.dst_count));
    backend().aggregate_sum(rows, block, scales, out);
  }

  MatrixView finish_layer(std::size_t i, const OwnRows& own, const BatchView& batch) override {
    const Layer& layer = layers_[i];
    const MatrixView output = layer.output.matrix(own.count, layer.out_columns);
    backend().linear(layer_aggregates(i, own.count), parameters_.stacked_value(layer.linear.weight),
                     product_epilogue(layer.linear.bias, i, batch), output);
    tails().forward(i, own.rows, own.ids, activation(i, batch), context_.is_training, output);
    return output;
  }

  void project_layer(std::size_t i, const OwnRows& rows, MatrixView out) override {
    const MatrixView input = layer_aggregates(i, rows.count);
    backend().gather(rows.rows, rows.ids, input);
    backend().linear(input, parameters_.stacked_value(layers_[i].linear.weight), {}, out);
  }

  MatrixView projected_aggregates(std::size_t i, std::size_t dst_count) override {
    return layers_[i].output.matrix(dst_count, layers_[i].out_columns);
  }

  MatrixView finish_projected(std::size_t i, const OwnRows& own, const BatchView& batch) override {
    const MatrixView output = projected_aggregates(i, own.count);
    backend().apply_epilogue(product_epilogue(layers_[i].linear.bias, i, batch), output);
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
      backend().linear_weight_gradient(layer.input.matrix(dz.rows, in), dz,
                                       parameters_.stacked_gradient(layer.linear.weight),
                                       vector_gradient(layer.linear.bias), scratch_.span());
      if (i == 0) break;  // the features need no gradient
      const MatrixView d_input = d_input_.matrix(dz.rows, in);
      backend().linear_input_gradient(dz, parameters_.stacked_value(layer.linear.weight), d_input);
      dz = dz_.matrix(block.src_count, in);
      const MatrixView below = layers_[i - 1].output.matrix(block.src_count, in);
      backend().aggregate_sum_gradient(block, scales(batch, i), d_input, below, activation(i - 1, batch), dz);
      tails().add_residual(i, below, activation(i - 1, batch), dz);
    }
  }

 private:
  struct Layer {
    LinearGroups linear;
    std::size_t in_columns = 0;
    std::size_t out_columns = 0;
    Buffer input;        // [dst, in], kept for the weights' gradient
    Buffer output;       // [dst, out], kept for the activation's slope
    Buffer destination;  // [dst]: 1 / sqrt(degree); the block above reads its sources' from here
    Buffer self;         // [dst]
  };

  // A source's degree is that of the block below, in which it is a destination; the first block's own.
  ConstMatrixView batch_sources(std::size_t i, const TieredRows& /*rows*/, const BatchView& batch) override {
    const BlockView& block = batch.blocks[i];
    if (i == 0) {
      backend().symmetric_scales(block, layers_[0].destination.span().first(block.dst_count),
                                 first_source_.span().first(block.src_count));
    }
    return {source(batch, i).data(), block.src_count, 1};
  }
  std::span<const float> source(const BatchView& batch, std::size_t i) const {
    const Buffer& buffer = i == 0 ? first_source_ : layers_[i - 1].destination;
    return buffer.span().first(batch.blocks[i].src_count);
  }
  EdgeScales scales(const BatchView& batch, std::size_t i) const {
    const std::size_t rows = batch.blocks[i].dst_count;
    return {.destination = layers_[i].destination.span().first(rows),
            .source = source(batch, i),
            .self = layers_[i].self.span().first(rows)};
  }

  std::vector<Layer> layers_;
  Buffer first_source_;
  Buffer d_input_;
  Buffer dz_;
  Buffer scratch_;
};

}  // namespace

const ModelKind gcn_kind =
    describe_model<GcnModel, GcnSizes>("gcn", "graph convolution with symmetric normalization and self-loops",
                                       declare_layers<declare>, needs_of);

}  // namespace gneiss
