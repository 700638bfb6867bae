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

class GcnModel final : public Model {
 public:
  GcnModel(Backend& backend, const ModelOptions& options, std::span<const BlockMaxima> maxima)
      : Model(backend, options) {
    const GcnSizes sizes(backend, options, maxima);
    for (std::uint32_t i = 0; i < options.layer_count; ++i) {
      const std::size_t in = in_columns(options, i);
      const std::size_t out = out_columns(options, i);
      const std::array<ParameterSet::Part, 1> part{{{fmt::format("convs.{}.lin.weight", i), in}}};
      Layer& layer = layers_.emplace_back();
      layer.weight = parameters_.add_stacked(out, part, FirstValues::glorot);
      layer.bias = parameters_.add_vector(fmt::format("convs.{}.bias", i), out, in, FirstValues::zero);
      layer.in_columns = in;
      layer.out_columns = out;
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

  ConstMatrixView forward(const BatchView& batch, const StepContext& context) override {
    GNEISS_ASSERT(batch.blocks.size() == layers_.size());
    context_ = context;
    normalize(batch);
    TieredRows rows = batch.input;
    ConstMatrixView logits;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const Layer& layer = layers_[i];
      const BlockView& block = batch.blocks[i];
      GNEISS_ASSERT(rows.row_count() == block.src_count && rows.columns() == layer.in_columns);
      const MatrixView input = layer.input.matrix(block.dst_count, layer.in_columns);
      const MatrixView output = layer.output.matrix(block.dst_count, layer.out_columns);
      backend().aggregate_sum(rows, block, scales(batch, i), input);
      backend().linear(input, parameters_.stacked_value(layer.weight), product_epilogue(layer.bias, i, batch),
                       output);
      tails().forward(i, rows, block.dst_in_src, activation(i, batch), context.is_training, output);
      logits = output;
      rows = TieredRows::of(output);
    }
    return logits;
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
                                       parameters_.stacked_gradient(layer.weight),
                                       vector_gradient(layer.bias), scratch_.span());
      if (i == 0) break;  // the features need no gradient
      const MatrixView d_input = d_input_.matrix(dz.rows, in);
      backend().linear_input_gradient(dz, parameters_.stacked_value(layer.weight), d_input);
      dz = dz_.matrix(block.src_count, in);
      const MatrixView below = layers_[i - 1].output.matrix(block.src_count, in);
      backend().aggregate_sum_gradient(block, scales(batch, i), d_input, below, activation(i - 1, batch), dz);
      tails().add_residual(i, below, activation(i - 1, batch), dz);
    }
  }

 private:
  struct Layer {
    std::size_t weight = 0;  // groups of the parameter set
    std::size_t bias = 0;
    std::size_t in_columns = 0;
    std::size_t out_columns = 0;
    Buffer input;        // [dst, in], kept for the weights' gradient
    Buffer output;       // [dst, out], kept for the activation's mask
    Buffer destination;  // [dst]: 1 / sqrt(degree); the block above reads its sources' from here
    Buffer self;         // [dst]
  };

  void normalize(const BatchView& batch) {
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const BlockView& block = batch.blocks[i];
      const std::span<float> own = i == 0 ? first_source_.span().first(block.src_count) : std::span<float>();
      backend().symmetric_scales(block, layers_[i].destination.span().first(block.dst_count), own);
      backend().self_loop_scales(block, source(batch, i), layers_[i].self.span().first(block.dst_count));
    }
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
                                       [](const ModelOptions& options) -> std::uint64_t {
                                         std::uint64_t count = 0;
                                         for (std::uint32_t i = 0; i < options.layer_count; ++i) {
                                           count += out_columns(options, i) * (in_columns(options, i) + 1);
                                         }
                                         return count;
                                       });

}  // namespace gneiss
