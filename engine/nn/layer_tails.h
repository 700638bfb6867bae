// What follows the convolutions of any model where --residual or --norm asks for it:
//   output = dropout(activation(norm(convolution + residual))), but after the last layer convolution +
//   residual alone
//
// Residual: the layer's input of the destination is added as it is where widths are equal, for what passes
//           unchanged also passes gradients unchanged (He et al., CVPR 2016); where they are not, through a
//           linear map without a bias, for the convolution has one. Every layer has it, the last too, as
//           PyG's GATConv(residual=True). Names and shapes are those of a torch ModuleList `residuals` of
//           Linear(bias=False) and Identity.
// Norm:     names are those of PyG's models: `norms.{i}.module` for batch norm, which PyG wraps,
//           `norms.{i}` for layer norm, one a hidden layer. The running statistics of batch norm are state
//           of the model; they are PyTorch's: momentum 0.1, the running variance unbiased. (Its
//           num_batches_tracked serves no such momentum, and is not kept.)
// Why:      a model calls three functions and is done; without options they do nothing, and what a product
//           fuses stays fused. The way back of an activation is linear in each element, so the residual's
//           share goes through it apart, added after the convolution's.
// Memory:   everything is taken at construction; LayerTailSizes says how much.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/compute/normalization.h"
#include "engine/nn/model_options.h"
#include "engine/nn/parameter_set.h"

namespace gneiss {

// Elements of each buffer.
//   rows  the most rows of each layer's output
struct LayerTailSizes {
  LayerTailSizes(const Backend& backend, const ModelOptions& options, std::span<const std::size_t> rows);
  std::size_t total() const;

  std::vector<std::size_t> own_rows;      // per layer, [rows, in], where they are mapped
  std::vector<std::size_t> standardized;  // per layer, [rows, out]
  std::vector<std::size_t> statistics;    // per layer: mean and variance [2, out], or a deviation each row
  std::size_t passed = 0;                 // [rows, in]
  std::size_t scratch = 0;
};

struct LayerTailGroups {
  std::size_t residual_weight = 0;  // of the parameters, where there are such
  std::size_t norm_weight = 0;
  std::size_t norm_bias = 0;
  std::size_t running_mean = 0;
  std::size_t running_variance = 0;
};
// A layer's each. Declared after the model's own.
std::vector<LayerTailGroups> declare_layer_tails(ParameterList& parameters, const ModelOptions& options);

class LayerTails {
 public:
  // Declares its parameters.
  LayerTails(ParameterSet& parameters, const ModelOptions& options, std::span<const std::size_t> rows);

  // Whether anything comes between a layer's convolution and its activation.
  bool has(std::size_t layer) const noexcept {
    return layers_[layer].has_residual || layers_[layer].has_norm;
  }

  // Adds the residual to `output`, the convolution with its bias, normalizes, and applies the activation.
  //   input     the layer's; own_rows[i] is the input row of output row i, empty: row i
  void forward(std::size_t layer, const TieredRows& input, std::span<const std::uint32_t> own_rows,
               const Epilogue& activation, bool is_training, MatrixView output);

  // Before the convolution's way back: dz, the gradient of what the activation was given, becomes that of the
  // convolution. Sets the gradients of the tail's parameters.
  void backward(std::size_t layer, MatrixView dz);
  // After it: adds the residual's share to the gradient of the layer's input, d_input[rows or more, in],
  // through the epilogue whose output was activated.
  void add_residual(std::size_t layer, ConstMatrixView activated, const Epilogue& epilogue,
                    MatrixView d_input);

 private:
  struct Layer {
    bool has_residual = false;
    bool is_mapped = false;
    bool has_norm = false;
    std::size_t in_columns = 0;
    std::size_t out_columns = 0;
    LayerTailGroups groups;
    Buffer own_rows;      // kept for the map's gradient
    Buffer standardized;  // kept for the norm's way back
    Buffer statistics;
  };

  void add_own_rows(const Layer& layer, const TieredRows& input, std::span<const std::uint32_t> own_rows,
                    MatrixView output);
  void normalize(const Layer& layer, bool is_training, MatrixView values);
  void normalize_gradient(const Layer& layer, MatrixView gradient);
  NormParameters norm_parameters(const Layer& layer) const;
  std::span<float> vector(std::size_t group) const;
  std::span<float> vector_gradient(std::size_t group) const;
  Backend& backend() const noexcept { return parameters_.backend(); }

  ParameterSet& parameters_;
  NormKind norm_;
  std::vector<Layer> layers_;
  Buffer passed_;  // rows on their way past the convolution
  std::size_t passed_rows_ = 0;
  Buffer scratch_;
};

}  // namespace gneiss
