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

Epilogue Model::layer_epilogue(std::size_t bias_group, std::size_t layer, const BatchView& batch) const {
  Epilogue epilogue{.bias = vector_value(bias_group), .activation = Activation::none, .dropout = {}};
  if (layer + 1 == options_.layer_count) return epilogue;
  epilogue.activation = Activation::relu;
  if (context_.is_training && options_.dropout > 0) {
    epilogue.dropout = {options_.dropout, mix_key(context_.seed, context_.step, layer), batch.hidden_nodes};
  }
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
