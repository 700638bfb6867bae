#include "tests/engine/reference_model.h"

#include <algorithm>
#include <cmath>

#include "storage/base/error.h"
#include "storage/base/random.h"

namespace gneiss::test {

using reference::Matrix;

namespace {

Parameters read(const Model& model, bool gradients) {
  Parameters out;
  for (const Parameter& parameter : model.parameters().parameters()) {
    out.push_back(reference::widen(gradients ? model.parameters().gradient(parameter)
                                             : model.parameters().value(parameter)));
  }
  return out;
}

Dropout dropout_of(const ModelOptions& options, const BatchView& batch, const StepContext& context,
                   std::uint32_t layer) {
  if (!context.is_training || options.dropout == 0) return {};
  return {options.dropout, mix_key(context.seed, context.step, layer), batch.hidden_nodes};
}

void add(Matrix& target, const Matrix& more) {
  for (std::size_t i = 0; i < more.values.size(); ++i) target.values[i] += more.values[i];
}

ReferenceResult run_sage(const ModelOptions& options, const Parameters& parameters, const BatchView& batch,
                         const StepContext& context) {
  const std::uint32_t layers = options.layer_count;
  std::vector<Matrix> means(layers);
  std::vector<Matrix> selves(layers);
  std::vector<Matrix> before(layers);
  Matrix h = reference::widen(batch.input);
  for (std::uint32_t i = 0; i < layers; ++i) {
    const BlockView& block = batch.blocks[i];
    means[i] = reference::aggregate_mean(h, block);
    selves[i] = reference::gather(h, block.dst_in_src, block.dst_count);
    before[i] = reference::linear(means[i], parameters[3 * i]);
    add(before[i], reference::linear(selves[i], parameters[3 * i + 1]));
    reference::add_bias(before[i], parameters[3 * i + 2].values);
    h = before[i];
    if (i + 1 < layers) reference::activate(h, options.activation, dropout_of(options, batch, context, i));
  }
  ReferenceResult result;
  result.logits = h;
  result.loss = reference::cross_entropy(h, batch.targets);
  result.gradients.resize(parameters.size());
  Matrix dz = result.loss.gradient;
  for (std::uint32_t i = layers; i-- > 0;) {
    result.gradients[3 * i] = reference::weight_gradient(means[i], dz);
    result.gradients[3 * i + 1] = reference::weight_gradient(selves[i], dz);
    Matrix bias(1, dz.columns);
    bias.values = reference::column_sums(dz);
    result.gradients[3 * i + 2] = bias;
    if (i == 0) break;
    const BlockView& block = batch.blocks[i];
    Matrix dh = reference::aggregate_mean_gradient(block, reference::input_gradient(dz, parameters[3 * i]));
    const Matrix d_self = reference::input_gradient(dz, parameters[3 * i + 1]);
    for (std::size_t r = 0; r < d_self.rows; ++r) {
      for (std::size_t c = 0; c < d_self.columns; ++c) dh(r, c) += d_self(r, c);
    }
    reference::activate_gradient(before[i - 1], options.activation,
                                 dropout_of(options, batch, context, i - 1), dh);
    dz = dh;
  }
  return result;
}

// What each edge and each destination's own row weigh, in one layer.
struct Weights {
  std::vector<double> edges;
  std::vector<double> selves;
};

Weights sum_weights(const BlockView& block) {
  return {std::vector<double>(block.edge_count(), 1.0), std::vector<double>(block.dst_count, 1.0)};
}

std::uint32_t row_of(const BlockView& block, std::uint32_t dst) {
  return block.dst_in_src.empty() ? dst : block.dst_in_src[dst];
}

// 1 / sqrt(degree(source) degree(destination)), edge by edge: edges to oneself are dropped, and each
// destination is given one of its own.
Weights symmetric_weights(const BatchView& batch, std::size_t layer) {
  const auto degrees_in = [](const BlockView& block) {
    std::vector<double> degrees(block.dst_count, 1.0);
    for (std::uint32_t dst = 0; dst < block.dst_count; ++dst) {
      for (std::uint32_t edge = block.indptr[dst]; edge < block.indptr[dst + 1]; ++edge) {
        degrees[dst] += block.indices[edge] == row_of(block, dst) ? 0 : 1;
      }
    }
    return degrees;
  };
  const BlockView& block = batch.blocks[layer];
  const std::vector<double> degrees = degrees_in(block);
  const std::vector<double> below = layer > 0 ? degrees_in(batch.blocks[layer - 1]) : degrees;
  const auto source_degree = [&](std::uint32_t src, std::uint32_t dst) {
    if (layer > 0) return below[src];
    const auto known = std::ranges::find(block.dst_in_src, src);
    if (known == block.dst_in_src.end()) return degrees[dst];
    return degrees[static_cast<std::size_t>(known - block.dst_in_src.begin())];
  };
  Weights weights;
  for (std::uint32_t dst = 0; dst < block.dst_count; ++dst) {
    const std::uint32_t self = row_of(block, dst);
    weights.selves.push_back(1 / std::sqrt(source_degree(self, dst) * degrees[dst]));
    for (std::uint32_t edge = block.indptr[dst]; edge < block.indptr[dst + 1]; ++edge) {
      const std::uint32_t src = block.indices[edge];
      weights.edges.push_back(src == self ? 0 : 1 / std::sqrt(source_degree(src, dst) * degrees[dst]));
    }
  }
  return weights;
}

ReferenceResult run_gcn(const ModelOptions& options, const Parameters& parameters, const BatchView& batch,
                        const StepContext& context) {
  const std::uint32_t layers = options.layer_count;
  std::vector<Weights> weights(layers);
  std::vector<Matrix> sums(layers);
  std::vector<Matrix> before(layers);
  Matrix h = reference::widen(batch.input);
  for (std::uint32_t i = 0; i < layers; ++i) {
    weights[i] = symmetric_weights(batch, i);
    sums[i] = reference::aggregate_weighted(h, batch.blocks[i], weights[i].edges, weights[i].selves);
    before[i] = reference::linear(sums[i], parameters[2 * i]);
    reference::add_bias(before[i], parameters[2 * i + 1].values);
    h = before[i];
    if (i + 1 < layers) reference::activate(h, options.activation, dropout_of(options, batch, context, i));
  }
  ReferenceResult result;
  result.logits = h;
  result.loss = reference::cross_entropy(h, batch.targets);
  result.gradients.resize(parameters.size());
  Matrix dz = result.loss.gradient;
  for (std::uint32_t i = layers; i-- > 0;) {
    result.gradients[2 * i] = reference::weight_gradient(sums[i], dz);
    result.gradients[2 * i + 1] = Matrix(1, dz.columns);
    result.gradients[2 * i + 1].values = reference::column_sums(dz);
    if (i == 0) break;
    dz = reference::aggregate_weighted_gradient(batch.blocks[i], weights[i].edges, weights[i].selves,
                                                reference::input_gradient(dz, parameters[2 * i]));
    reference::activate_gradient(before[i - 1], options.activation,
                                 dropout_of(options, batch, context, i - 1), dz);
  }
  return result;
}

ReferenceResult run_gin(const ModelOptions& options, const Parameters& parameters, const BatchView& batch,
                        const StepContext& context) {
  const std::uint32_t layers = options.layer_count;
  std::vector<Matrix> sums(layers);
  std::vector<Matrix> inner_before(layers);
  std::vector<Matrix> inner(layers);
  std::vector<Matrix> before(layers);
  Matrix h = reference::widen(batch.input);
  for (std::uint32_t i = 0; i < layers; ++i) {
    const Weights weights = sum_weights(batch.blocks[i]);
    sums[i] = reference::aggregate_weighted(h, batch.blocks[i], weights.edges, weights.selves);
    inner_before[i] = reference::linear(sums[i], parameters[4 * i]);
    reference::add_bias(inner_before[i], parameters[4 * i + 1].values);
    inner[i] = inner_before[i];
    reference::activate(inner[i], options.activation, {});
    before[i] = reference::linear(inner[i], parameters[4 * i + 2]);
    reference::add_bias(before[i], parameters[4 * i + 3].values);
    h = before[i];
    if (i + 1 < layers) reference::activate(h, options.activation, dropout_of(options, batch, context, i));
  }
  ReferenceResult result;
  result.logits = h;
  result.loss = reference::cross_entropy(h, batch.targets);
  result.gradients.resize(parameters.size());
  Matrix dz = result.loss.gradient;
  for (std::uint32_t i = layers; i-- > 0;) {
    const auto linear_gradients = [&](std::uint32_t first, const Matrix& x, const Matrix& d_output) {
      result.gradients[first] = reference::weight_gradient(x, d_output);
      result.gradients[first + 1] = Matrix(1, d_output.columns);
      result.gradients[first + 1].values = reference::column_sums(d_output);
    };
    linear_gradients(4 * i + 2, inner[i], dz);
    Matrix d_inner = reference::input_gradient(dz, parameters[4 * i + 2]);
    reference::activate_gradient(inner_before[i], options.activation, {}, d_inner);
    linear_gradients(4 * i, sums[i], d_inner);
    if (i == 0) break;
    const Weights weights = sum_weights(batch.blocks[i]);
    dz = reference::aggregate_weighted_gradient(batch.blocks[i], weights.edges, weights.selves,
                                                reference::input_gradient(d_inner, parameters[4 * i]));
    reference::activate_gradient(before[i - 1], options.activation,
                                 dropout_of(options, batch, context, i - 1), dz);
  }
  return result;
}

ReferenceResult run_mlp(const ModelOptions& options, const Parameters& parameters, const BatchView& batch,
                        const StepContext& context) {
  const std::uint32_t layers = options.layer_count;
  std::vector<Matrix> inputs(layers);
  std::vector<Matrix> before(layers);
  Matrix h = reference::gather(reference::widen(batch.input), batch.seed_rows(), batch.seed_count());
  for (std::uint32_t i = 0; i < layers; ++i) {
    inputs[i] = h;
    before[i] = reference::linear(h, parameters[2 * i]);
    reference::add_bias(before[i], parameters[2 * i + 1].values);
    h = before[i];
    if (i + 1 < layers) reference::activate(h, options.activation, dropout_of(options, batch, context, i));
  }
  ReferenceResult result;
  result.logits = h;
  result.loss = reference::cross_entropy(h, batch.targets);
  result.gradients.resize(parameters.size());
  Matrix dz = result.loss.gradient;
  for (std::uint32_t i = layers; i-- > 0;) {
    result.gradients[2 * i] = reference::weight_gradient(inputs[i], dz);
    Matrix bias(1, dz.columns);
    bias.values = reference::column_sums(dz);
    result.gradients[2 * i + 1] = bias;
    if (i == 0) break;
    dz = reference::input_gradient(dz, parameters[2 * i]);
    reference::activate_gradient(before[i - 1], options.activation,
                                 dropout_of(options, batch, context, i - 1), dz);
  }
  return result;
}

}  // namespace

Parameters read_parameters(const Model& model) { return read(model, false); }
Parameters read_gradients(const Model& model) { return read(model, true); }

ReferenceResult run_reference(const std::string& name, const ModelOptions& options,
                              const Parameters& parameters, const BatchView& batch,
                              const StepContext& context) {
  if (name == "sage") return run_sage(options, parameters, batch, context);
  if (name == "gcn") return run_gcn(options, parameters, batch, context);
  if (name == "gin") return run_gin(options, parameters, batch, context);
  GNEISS_ASSERT(name == "mlp");
  return run_mlp(options, parameters, batch, context);
}

}  // namespace gneiss::test
