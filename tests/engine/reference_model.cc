#include "tests/engine/reference_model.h"

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
    if (i + 1 < layers) reference::activate(h, Activation::relu, dropout_of(options, batch, context, i));
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
    reference::activate_gradient(before[i - 1], Activation::relu, dropout_of(options, batch, context, i - 1),
                                 dh);
    dz = dh;
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
    if (i + 1 < layers) reference::activate(h, Activation::relu, dropout_of(options, batch, context, i));
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
    reference::activate_gradient(before[i - 1], Activation::relu, dropout_of(options, batch, context, i - 1),
                                 dz);
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
  GNEISS_ASSERT(name == "mlp");
  return run_mlp(options, parameters, batch, context);
}

}  // namespace gneiss::test
