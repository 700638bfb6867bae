#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <vector>

#include "engine/compute/attention.h"
#include "engine/nn/gat.h"
#include "engine/nn/gcn.h"
#include "engine/nn/gin.h"
#include "engine/nn/mlp.h"
#include "engine/nn/model.h"
#include "engine/nn/sage.h"

namespace gneiss {

std::span<const ModelKind> model_kinds() noexcept {
  // A new model: its file, its include, and its name here.
  static const std::array kinds{
      sage_kind, gcn_kind, gat_kind, gin_kind, mlp_kind,
  };
  return kinds;
}

const ModelKind& find_model_kind(std::string_view name) {
  const auto kinds = model_kinds();
  const auto found = std::ranges::find(kinds, name, &ModelKind::name);
  if (found != kinds.end()) return *found;
  std::vector<std::string_view> names;
  for (const ModelKind& kind : kinds) names.push_back(kind.name);
  fail(Kind::config, "there is no model '{}'; use one of {}", name, fmt::join(names, ", "));
}

namespace {

void check(const ModelKind& kind, const ModelOptions& options) {
  if (options.layer_count == 0) fail(Kind::config, "model {} has 0 layers; use 1 or more", kind.name);
  if (options.feature_columns == 0) fail(Kind::config, "the features have 0 columns; use 1 or more");
  if (options.class_count == 0) fail(Kind::config, "the labels have 0 classes; use 1 or more");
  if (options.hidden_columns == 0 || options.hidden_columns > hidden_columns_max) {
    fail(Kind::config, "--hidden is {}; use 1 to {}", options.hidden_columns, hidden_columns_max);
  }
  if (!(options.dropout >= 0 && options.dropout < 1)) {
    fail(Kind::config, "--dropout is {}; use 0 or more, below 1", options.dropout);
  }
  if (kind.traits.has_heads && (options.head_count == 0 || options.head_count > attention_heads_max)) {
    fail(Kind::config, "--num-heads is {}; use 1 to {}", options.head_count, attention_heads_max);
  }
  if (kind.traits.has_heads && options.hidden_columns % options.head_count != 0) {
    fail(Kind::config, "--hidden {} cannot be shared by --num-heads {}; use a multiple of the heads",
         options.hidden_columns, options.head_count);
  }
}

void check(const ModelKind& kind, const ModelOptions& options, std::span<const BlockMaxima> maxima) {
  check(kind, options);
  if (maxima.empty()) fail(Kind::config, "the batches have no block; prepare with a fanout for each layer");
  if (kind.traits.uses_graph && maxima.size() != options.layer_count) {
    fail(Kind::config, "model {} has {} layers but the batches have {} hops; use one fanout a layer",
         kind.name, options.layer_count, maxima.size());
  }
}

}  // namespace

std::unique_ptr<Model> make_model(std::string_view name, Backend& backend, const ModelOptions& options,
                                  std::span<const BlockMaxima> maxima) {
  const ModelKind& kind = find_model_kind(name);
  check(kind, options, maxima);
  return kind.make(backend, options, maxima);
}

std::vector<std::size_t> layer_rows(const ModelTraits& traits, const ModelOptions& options,
                                    std::span<const BlockMaxima> maxima) {
  std::vector<std::size_t> rows;
  rows.reserve(options.layer_count);
  for (std::uint32_t i = 0; i < options.layer_count; ++i) {
    rows.push_back(traits.uses_graph ? maxima[i].dst_count : maxima.back().dst_count);
  }
  return rows;
}

ParameterList describe_parameters(std::string_view name, const ModelOptions& options) {
  const ModelKind& kind = find_model_kind(name);
  check(kind, options);
  ParameterList parameters;
  kind.declare(parameters, options);
  declare_layer_tails(parameters, options);
  return parameters;
}

LayerNeeds describe_layer_needs(std::string_view name, const ModelOptions& options, std::uint32_t layer) {
  const ModelKind& kind = find_model_kind(name);
  check(kind, options);
  return kind.needs(options, layer);
}

std::uint64_t parameter_count(std::string_view name, const ModelOptions& options) {
  return describe_parameters(name, options).element_count();
}

std::uint64_t product_bytes(std::string_view name, const Backend& backend, const ModelOptions& options) {
  // No model's weights are wider: sage has a row's neighbors and the row itself beside each other, gat every
  // head's classes.
  const std::size_t inputs = std::max(options.feature_columns, options.hidden_columns);
  const std::size_t heads = find_model_kind(name).traits.has_heads ? options.head_count : 1;
  return backend.working_bytes(2 * inputs,
                               std::max<std::size_t>(options.hidden_columns, heads * options.class_count));
}

std::uint64_t model_bytes(std::string_view name, const Backend& backend, const ModelOptions& options,
                          std::span<const BlockMaxima> maxima) {
  const ModelKind& kind = find_model_kind(name);
  check(kind, options, maxima);
  const LayerTailSizes tails(backend, options, layer_rows(kind.traits, options, maxima));
  // Values, gradients and two moments.
  return kind.activation_bytes(backend, options, maxima) +
         (tails.total() + 4 * parameter_count(name, options)) * sizeof(float);
}

}  // namespace gneiss
