#include "engine/nn/layer_tails.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "engine/nn/layer_columns.h"

namespace gneiss {
namespace {

constexpr float momentum = 0.1F;  // PyTorch's default

bool is_mapped(const ModelOptions& options, std::uint32_t layer) {
  return options.residual && in_columns(options, layer) != out_columns(options, layer);
}
// Of layer i's norm, as PyG's models call it: their batch norm wraps PyTorch's.
std::string norm_name(NormKind kind, std::size_t i, std::string_view part) {
  return fmt::format("norms.{}.{}{}", i, kind == NormKind::batch ? "module." : "", part);
}
bool is_normed(const ModelOptions& options, std::uint32_t layer) {
  return options.norm != NormKind::none && layer + 1 < options.layer_count;
}

}  // namespace

LayerTailSizes::LayerTailSizes(const Backend& backend, const ModelOptions& options,
                               std::span<const std::size_t> rows) {
  for (std::uint32_t i = 0; i < options.layer_count; ++i) {
    const std::size_t in = in_columns(options, i);
    const std::size_t out = out_columns(options, i);
    own_rows.push_back(is_mapped(options, i) ? rows[i] * in : 0);
    standardized.push_back(is_normed(options, i) ? rows[i] * out : 0);
    statistics.push_back(!is_normed(options, i) ? 0 : options.norm == NormKind::batch ? 2 * out : rows[i]);
    // The features need no gradient, so past the first layer rows go one way alone.
    if (options.residual && (i > 0 || !is_mapped(options, i))) passed = std::max(passed, rows[i] * in);
    if (is_mapped(options, i)) scratch = std::max(scratch, backend.weight_gradient_scratch(rows[i], out, in));
    if (is_normed(options, i)) scratch = std::max(scratch, backend.weight_gradient_scratch(rows[i], out, 1));
  }
}

std::size_t LayerTailSizes::total() const {
  std::size_t sum = passed + scratch;
  for (const auto* counts : {&own_rows, &standardized, &statistics}) {
    for (const std::size_t count : *counts) sum += count;
  }
  return sum;
}

std::vector<LayerTailGroups> declare_layer_tails(ParameterList& parameters, const ModelOptions& options) {
  std::vector<LayerTailGroups> groups(options.layer_count);
  const NormKind norm = options.norm;
  for (std::uint32_t i = 0; i < options.layer_count; ++i) {
    const std::size_t out = out_columns(options, i);
    if (is_mapped(options, i)) {
      const std::array<ParameterList::Part, 1> part{
          {{fmt::format("residuals.{}.weight", i), in_columns(options, i)}}};
      groups[i].residual_weight = parameters.add_stacked(out, part);
    }
    if (is_normed(options, i)) {
      groups[i].norm_weight = parameters.add_vector(norm_name(norm, i, "weight"), out, out, FirstValues::one);
      groups[i].norm_bias = parameters.add_vector(norm_name(norm, i, "bias"), out, out, FirstValues::zero);
    }
  }
  // What is not trained comes after all that is.
  for (std::uint32_t i = 0; i < options.layer_count && norm == NormKind::batch; ++i) {
    if (!is_normed(options, i)) continue;
    const std::size_t out = out_columns(options, i);
    groups[i].running_mean = parameters.add_state(norm_name(norm, i, "running_mean"), out, FirstValues::zero);
    groups[i].running_variance =
        parameters.add_state(norm_name(norm, i, "running_var"), out, FirstValues::one);
  }
  return groups;
}

LayerTails::LayerTails(ParameterSet& parameters, const ModelOptions& options,
                       std::span<const std::size_t> rows)
    : parameters_(parameters), norm_(options.norm) {
  const LayerTailSizes sizes(backend(), options, rows);
  const std::vector<LayerTailGroups> groups = declare_layer_tails(parameters, options);
  for (std::uint32_t i = 0; i < options.layer_count; ++i) {
    Layer& layer = layers_.emplace_back();
    layer.has_residual = options.residual;
    layer.is_mapped = is_mapped(options, i);
    layer.has_norm = is_normed(options, i);
    layer.in_columns = in_columns(options, i);
    layer.out_columns = out_columns(options, i);
    layer.groups = groups[i];
    layer.own_rows = backend().allocate(sizes.own_rows[i]);
    layer.standardized = backend().allocate(sizes.standardized[i]);
    layer.statistics = backend().allocate(sizes.statistics[i]);
  }
  passed_ = backend().allocate(sizes.passed);
  scratch_ = backend().allocate(sizes.scratch);
}

void LayerTails::forward(std::size_t layer_index, const TieredRows& input,
                         std::span<const std::uint32_t> own_rows, const Epilogue& activation,
                         bool is_training, MatrixView output) {
  if (!has(layer_index)) return;
  const Layer& layer = layers_[layer_index];
  if (layer.has_residual) add_own_rows(layer, input, own_rows, output);
  if (layer.has_norm && output.rows > 0) normalize(layer, is_training, output);
  backend().apply_epilogue(activation, output);
}

void LayerTails::add_own_rows(const Layer& layer, const TieredRows& input,
                              std::span<const std::uint32_t> own_rows, MatrixView output) {
  const Buffer& memory = layer.is_mapped ? layer.own_rows : passed_;
  const MatrixView rows = memory.matrix(output.rows, layer.in_columns);
  backend().gather(input, own_rows, rows);
  if (layer.is_mapped) {
    backend().linear_add(rows, parameters_.stacked_value(layer.groups.residual_weight), {}, output);
  } else {
    backend().add(rows, output);
  }
}

void LayerTails::normalize(const Layer& layer, bool is_training, MatrixView values) {
  const std::size_t out = layer.out_columns;
  const MatrixView standardized = is_training ? layer.standardized.matrix(values.rows, out) : MatrixView();
  NormOperators& norms = backend().norms();
  if (norm_ == NormKind::layer) {
    norms.layer_norm(norm_parameters(layer), values, standardized,
                     layer.statistics.span().first(values.rows));
    return;
  }
  const std::span<float> running_mean = vector(layer.groups.running_mean);
  const std::span<float> running_variance = vector(layer.groups.running_variance);
  if (!is_training) {
    norms.batch_norm(running_mean, running_variance, norm_parameters(layer), values, standardized);
    return;
  }
  const std::span<float> mean = layer.statistics.span().first(out);
  const std::span<float> variance = layer.statistics.span().last(out);
  norms.column_moments(values, mean, variance, scratch_.span());
  // One row alone has no unbiased variance; PyTorch refuses it, but the last batch of an epoch may have one.
  const auto count = static_cast<float>(values.rows);
  const float unbiased = values.rows > 1 ? count / (count - 1) : 1.0F;
  norms.move_average(momentum, 1.0F, mean, running_mean);
  norms.move_average(momentum, unbiased, variance, running_variance);
  norms.batch_norm(mean, variance, norm_parameters(layer), values, standardized);
}

void LayerTails::backward(std::size_t layer_index, MatrixView dz) {
  if (!has(layer_index)) return;
  const Layer& layer = layers_[layer_index];
  if (layer.has_norm) normalize_gradient(layer, dz);
  if (layer.is_mapped) {
    backend().linear_weight_gradient(layer.own_rows.matrix(dz.rows, layer.in_columns), dz,
                                     parameters_.stacked_gradient(layer.groups.residual_weight), {},
                                     scratch_.span());
  }
  if (!layer.has_residual || layer_index == 0) return;  // the features need no gradient
  passed_rows_ = dz.rows;
  const MatrixView passed = passed_.matrix(dz.rows, layer.in_columns);
  if (layer.is_mapped) {
    backend().linear_input_gradient(dz, parameters_.stacked_value(layer.groups.residual_weight), passed);
  } else {
    backend().gather(TieredRows::of(dz), {}, passed);
  }
}

void LayerTails::normalize_gradient(const Layer& layer, MatrixView gradient) {
  const MatrixView standardized = layer.standardized.matrix(gradient.rows, layer.out_columns);
  const std::span<float> statistics = layer.statistics.span();
  if (norm_ == NormKind::layer) {
    backend().norms().layer_norm_gradient(
        standardized, statistics.first(gradient.rows), norm_parameters(layer), gradient,
        vector_gradient(layer.groups.norm_weight), vector_gradient(layer.groups.norm_bias), scratch_.span());
  } else {
    backend().norms().batch_norm_gradient(
        standardized, statistics.last(layer.out_columns), norm_parameters(layer), gradient,
        vector_gradient(layer.groups.norm_weight), vector_gradient(layer.groups.norm_bias), scratch_.span());
  }
}

void LayerTails::add_residual(std::size_t layer_index, ConstMatrixView activated, const Epilogue& epilogue,
                              MatrixView d_input) {
  const Layer& layer = layers_[layer_index];
  if (!layer.has_residual) return;
  const MatrixView passed = passed_.matrix(passed_rows_, layer.in_columns);
  backend().epilogue_gradient(activated.row_range(0, passed.rows), epilogue, passed);
  backend().add(passed, d_input.row_range(0, passed.rows));
}

NormParameters LayerTails::norm_parameters(const Layer& layer) const {
  return {.weight = vector(layer.groups.norm_weight), .bias = vector(layer.groups.norm_bias)};
}
std::span<float> LayerTails::vector(std::size_t group) const {
  const MatrixView value = parameters_.stacked_value(group);
  return {value.data, value.columns};
}
std::span<float> LayerTails::vector_gradient(std::size_t group) const {
  const MatrixView gradient = parameters_.stacked_gradient(group);
  return {gradient.data, gradient.columns};
}

}  // namespace gneiss
