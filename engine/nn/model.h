// A model maps a mini-batch to logits, and their gradient to the gradients of its parameters.
//
// Why:     the trainer knows this interface only; adding a model is one file and one line in registry.cc.
// Threads: one thread calls; operators spread the work.
// Memory:  everything is taken at construction, sized by the largest batch; activation_bytes() says how
//          much without taking it, for --memory and the dry run.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/compute/backend.h"
#include "engine/compute/batch_view.h"
#include "engine/nn/parameter_set.h"

namespace gneiss {

// How a model makes one row of a node's neighbors.
enum class Aggregator : std::uint8_t { mean, max };
std::string_view name_of(Aggregator aggregator) noexcept;
Aggregator parse_aggregator(std::string_view name);  // throws Error(config)

struct ModelOptions {
  std::uint32_t feature_columns = 0;
  std::uint32_t hidden_columns = 256;
  std::uint32_t class_count = 0;
  std::uint32_t layer_count = 2;  // equals the number of blocks, except for mlp
  float dropout = 0.5F;
  std::uint32_t head_count = 4;              // gat: attention heads a layer; they share hidden_columns
  Aggregator aggregator = Aggregator::mean;  // sage
  std::uint64_t seed = 0;                    // of the first parameters
};

// What a forward pass depends on besides its batch.
struct StepContext {
  bool is_training = false;  // dropout, and what backward() needs is kept
  std::uint64_t seed = 0;    // with `step` and the node, the key of every dropout mask
  std::uint64_t step = 0;    // the global training step
};

class Model {
 public:
  virtual ~Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // Logits [seed_count, class_count] of the batch's seeds, valid until the next forward().
  // Preconditions: the batch is within the maxima given at construction; for training, every block but
  // block 0 is transposed.
  virtual ConstMatrixView forward(const BatchView& batch, const StepContext& context) = 0;

  // Sets (does not add to) the gradients of all parameters.
  //   batch            that of the last forward(), which was for training
  //   logit_gradients  [seed_count, class_count]; overwritten
  virtual void backward(const BatchView& batch, MatrixView logit_gradients) = 0;

  ParameterSet& parameters() noexcept { return parameters_; }
  const ParameterSet& parameters() const noexcept { return parameters_; }
  const ModelOptions& options() const noexcept { return options_; }
  Backend& backend() const noexcept { return parameters_.backend(); }

 protected:
  Model(Backend& backend, const ModelOptions& options) : options_(options), parameters_(backend) {}

  // What follows layer `layer` of a stack: its bias and, but after the last layer, ReLU and dropout, whose
  // masks are a function of (seed, step, layer, node).
  Epilogue layer_epilogue(std::size_t bias_group, std::size_t layer, const BatchView& batch) const;
  // A group that add_vector() declared.
  std::span<const float> vector_value(std::size_t group) const;
  std::span<float> vector_gradient(std::size_t group) const;

  ModelOptions options_;
  ParameterSet parameters_;
  StepContext context_;  // of the last forward()
};

// Which options a model has: the others neither bind nor describe it.
struct ModelTraits {
  bool uses_graph = true;       // false: works on the seeds' own rows, any number of layers
  bool has_heads = false;       // ModelOptions::head_count
  bool has_aggregator = false;  // ModelOptions::aggregator
};

// One line of the registry.
struct ModelKind {
  std::string_view name;
  std::string_view summary;  // for --help
  std::unique_ptr<Model> (*make)(Backend&, const ModelOptions&, std::span<const BlockMaxima>);
  // Bytes of activations and their gradients, and elements of all parameters, without making a model.
  std::uint64_t (*activation_bytes)(const Backend&, const ModelOptions&, std::span<const BlockMaxima>);
  std::uint64_t (*parameter_count)(const ModelOptions&);
  ModelTraits traits;
};

// ModelType(backend, options, maxima); Sizes(backend, options, maxima).total() are the elements it allocates.
template <class ModelType, class Sizes>
ModelKind describe_model(std::string_view name, std::string_view summary,
                         std::uint64_t (*parameter_count)(const ModelOptions&), ModelTraits traits = {}) {
  return {.name = name,
          .summary = summary,
          .make = [](Backend& backend, const ModelOptions& options, std::span<const BlockMaxima> maxima)
              -> std::unique_ptr<Model> { return std::make_unique<ModelType>(backend, options, maxima); },
          .activation_bytes = [](const Backend& backend, const ModelOptions& options,
                                 std::span<const BlockMaxima> maxima) -> std::uint64_t {
            return Sizes(backend, options, maxima).total() * sizeof(float);
          },
          .parameter_count = parameter_count,
          .traits = traits};
}

std::span<const ModelKind> model_kinds() noexcept;

// The kind called `name`; throws Error(config) that lists the names there are.
const ModelKind& find_model_kind(std::string_view name);

// Makes the model and its first parameters.
//   maxima  one entry per block, block 0 first
// Throws Error(config) when the options cannot be (0 layers, dropout outside [0, 1), blocks != layers, heads that do
// not share the hidden columns evenly).
std::unique_ptr<Model> make_model(std::string_view name, Backend& backend, const ModelOptions& options,
                                  std::span<const BlockMaxima> maxima);

// Bytes that make_model will take: activations, parameters, gradients and moments.
std::uint64_t model_bytes(std::string_view name, const Backend& backend, const ModelOptions& options,
                          std::span<const BlockMaxima> maxima);

}  // namespace gneiss
