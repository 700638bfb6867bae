// A model maps a mini-batch to logits, and their gradient to the gradients of its parameters.
//
// Why:     the trainer knows this interface only; adding a model is one file and one line in registry.cc.
// Threads: one thread calls; operators spread the work.
// Memory:  everything is taken at construction, sized by the largest batch; activation_bytes() says how
//          much without taking it, for --memory and the dry run.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/compute/attention.h"
#include "engine/compute/backend.h"
#include "engine/compute/batch_view.h"
#include "engine/nn/layer_tails.h"
#include "engine/nn/model_options.h"
#include "engine/nn/parameter_set.h"

namespace gneiss {

// What a forward pass depends on besides its batch.
struct StepContext {
  bool is_training = false;  // dropout, and what backward() needs is kept
  std::uint64_t seed = 0;    // with `step` and the node, the key of every dropout mask
  std::uint64_t step = 0;    // the global training step
};

// What one layer needs to be run alone.
struct LayerNeeds {
  enum class Sources : std::uint8_t {
    nothing,
    from_rows,   // of each node by its row in the layer's input
    from_edges,  // of each node by its edges: the same numbers for every layer
  };
  std::size_t aggregates = 1;          // columns of aggregates for each column of the input; 0: no neighbors
  bool own_rows = false;               // finish_layer() reads the destinations' own rows
  Sources sources = Sources::nothing;  // what aggregate_layer() must know of sources besides their rows, and
  std::size_t source_columns = 0;      // how many numbers of each
  std::size_t edge_columns = 0;        // numbers of each edge and loop: layer_edges() makes them of sources
  std::size_t projected_columns = 0;   // of project_layer(); 0: it and finish_projected() are not there
  bool may_scale_rows = false;         // the one number of each source is a factor of its row
  std::size_t input_columns = 0;       // of layer_input(); 0: there is none
};

// The rows of a layer's destinations in its input.
struct OwnRows {
  TieredRows rows{};                     // where LayerNeeds::own_rows is false: none
  std::span<const std::uint32_t> ids{};  // of destination i; empty: row i
  std::size_t count = 0;                 // of destinations
};

class Model {
 public:
  virtual ~Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // Logits [seed_count, class_count] of the batch's seeds, valid until the next forward().
  // Preconditions: the batch is within the maxima given at construction; for training, every block but
  // block 0 is transposed.
  ConstMatrixView forward(const BatchView& batch, const StepContext& context);

  // Sets (does not add to) the gradients of all parameters.
  //   batch            that of the last forward(), which was for training
  //   logit_gradients  [seed_count, class_count]; overwritten
  virtual void backward(const BatchView& batch, MatrixView logit_gradients) = 0;

  // One layer in steps: forward() is made of them, and so is exact inference, which never holds all rows of a
  // layer and takes their columns in runs. Outside forward(), a layer is run for evaluation.
  virtual LayerNeeds layer_needs(std::size_t layer) const = 0;
  // What aggregate_layer() must know of nodes besides their rows, where LayerNeeds::sources asks for it.
  //   rows   [n, in]: the nodes' rows (from_rows)
  //   block  whose destinations are the nodes (from_edges)
  //   out    [n, source_columns]
  virtual void layer_sources(std::size_t layer, const TieredRows& rows, const BlockView& block,
                             MatrixView out);
  // Where finish_layer() expects the aggregates: [dst_count, aggregates * in], the columns of the first
  // aggregate before those of the second.
  virtual MatrixView layer_aggregates(std::size_t layer, std::size_t dst_count);
  // The memory of what finish_layer() multiplies, [most destinations, input_columns], in which
  // layer_aggregates() lies. Whoever reads ahead exchanges it for memory of the same size that is filled
  // already.
  virtual Buffer* layer_input(std::size_t layer);
  // Where in it finish_layer() copies destinations' own rows, [dst_count, in]; it does not where they are
  // there already. No columns: it reads them where they are.
  virtual MatrixView layer_own_rows(std::size_t layer, std::size_t dst_count);
  // The aggregates of a block's destinations over their neighbors' rows, column by column.
  //   rows     [src_count, n]: any run of the columns of the layer's input
  //   sources  [src_count, source_columns]; none: where LayerNeeds::may_scale_rows, `rows` are multiplied by
  //            it already
  //   out      [dst_count, aggregates * n]
  virtual void aggregate_layer(std::size_t layer, const TieredRows& rows, const BlockView& block,
                               ConstMatrixView sources, MatrixView out);
  // The same in two steps, where LayerNeeds::edge_columns: the first is of all columns, once.
  //   out  of the block's edges and loops, edge_columns each
  virtual void layer_edges(std::size_t layer, const BlockView& block, ConstMatrixView sources,
                           const EdgeValues& out);
  virtual void aggregate_weighted(std::size_t layer, const TieredRows& rows, const BlockView& block,
                                  const ConstEdgeValues& edges, MatrixView out);
  // The layer's output [own.count, out] from layer_aggregates(), valid until the layer is run again.
  //   batch  whose hidden nodes key dropout; for evaluation any
  virtual MatrixView finish_layer(std::size_t layer, const OwnRows& own, const BatchView& batch) = 0;

  // The layer as forward() runs it on a batch, with what it needs of `rows`. A model may overwrite it to keep
  // in another way what lies between the steps.
  virtual MatrixView run_layer(std::size_t layer, const TieredRows& rows, const OwnRows& own,
                               const BatchView& batch);

  // The same layer with its product first, where LayerNeeds::projected_columns: neighbors are asked for
  // those, and each has one aggregate. Equal but for the order in which numbers are added; worth it where
  // they are fewer. All write over what layer_aggregates() gives.
  //   rows  the nodes whose rows neighbors will ask for
  //   out   [rows.count, projected_columns]: what aggregate_layer(), or with edge columns
  //         aggregate_projected(), takes in the place of the layer's input
  virtual void project_layer(std::size_t layer, const OwnRows& rows, MatrixView out);
  // With edge columns, aggregate_weighted() for any run of projected columns: equal parts of them have one
  // edge column each.
  //   first_column  of the run
  //   edges         those of the parts that the run has columns of
  virtual void aggregate_projected(std::size_t layer, std::size_t first_column, const TieredRows& rows,
                                   const BlockView& block, const ConstEdgeValues& edges, MatrixView out);
  // Where finish_projected() expects the aggregates: [dst_count, projected_columns].
  virtual MatrixView projected_aggregates(std::size_t layer, std::size_t dst_count);
  virtual MatrixView finish_projected(std::size_t layer, const OwnRows& own, const BatchView& batch);

  ParameterSet& parameters() noexcept { return parameters_; }
  const ParameterSet& parameters() const noexcept { return parameters_; }
  const ModelOptions& options() const noexcept { return options_; }
  Backend& backend() const noexcept { return parameters_.backend(); }

 protected:
  Model(Backend& backend, const ModelOptions& options) : options_(options), parameters_(backend) {}

  // A constructor's last call, after all layers are declared: declares what follows them, takes the
  // parameters' memory and draws their first values.
  //   rows  the most rows of each layer's output
  void complete(std::span<const std::size_t> rows);

  // Of all sources of a batch's block, what layer_sources() says of them.
  virtual ConstMatrixView batch_sources(std::size_t layer, const TieredRows& rows, const BatchView& batch);

  // What layer `layer` of a stack ends with, but the last: activation and dropout, whose masks are a function
  // of (seed, step, layer, node).
  Epilogue activation(std::size_t layer, const BatchView& batch) const;
  // What is fused with a layer's last product: its bias and, unless a tail comes between, the activation.
  Epilogue product_epilogue(std::size_t bias_group, std::size_t layer, const BatchView& batch) const;
  // Residual and norm. A layer calls forward() after its product; before its way back backward(), and after
  // it add_residual() with the activation of the layer below.
  LayerTails& tails() noexcept { return *tails_; }
  // A group that add_vector() declared.
  std::span<const float> vector_value(std::size_t group) const;
  std::span<float> vector_gradient(std::size_t group) const;

  ModelOptions options_;
  ParameterSet parameters_;
  StepContext context_;                   // of the last forward(), and
  std::span<const NodeId> hidden_nodes_;  // its batch's

 private:
  std::optional<LayerTails> tails_;
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
  // Without making a model and without what LayerTails take: bytes of activations and their gradients, the
  // parameters, what a layer needs.
  std::uint64_t (*activation_bytes)(const Backend&, const ModelOptions&, std::span<const BlockMaxima>);
  void (*declare)(ParameterList&, const ModelOptions&);
  LayerNeeds (*needs)(const ModelOptions&, std::uint32_t layer);
  ModelTraits traits;
};

// The parameters of all layers, by what declares those of one.
template <auto declare_layer>
void declare_layers(ParameterList& parameters, const ModelOptions& options) {
  for (std::uint32_t i = 0; i < options.layer_count; ++i) declare_layer(parameters, options, i);
}

// ModelType(backend, options, maxima); Sizes(backend, options, maxima).total() are the elements it allocates.
template <class ModelType, class Sizes>
ModelKind describe_model(std::string_view name, std::string_view summary,
                         void (*declare)(ParameterList&, const ModelOptions&),
                         LayerNeeds (*needs)(const ModelOptions&, std::uint32_t), ModelTraits traits = {}) {
  return {.name = name,
          .summary = summary,
          .make = [](Backend& backend, const ModelOptions& options, std::span<const BlockMaxima> maxima)
              -> std::unique_ptr<Model> { return std::make_unique<ModelType>(backend, options, maxima); },
          .activation_bytes = [](const Backend& backend, const ModelOptions& options,
                                 std::span<const BlockMaxima> maxima) -> std::uint64_t {
            return Sizes(backend, options, maxima).total() * sizeof(float);
          },
          .declare = declare,
          .needs = needs,
          .traits = traits};
}

std::span<const ModelKind> model_kinds() noexcept;

// The kind called `name`; throws Error(config) that lists the names there are.
const ModelKind& find_model_kind(std::string_view name);

// Makes the model and its first parameters.
//   maxima  one entry per block, block 0 first
// Throws Error(config) when the options cannot be (0 layers, dropout outside [0, 1), blocks != layers, heads
// that do not share the hidden columns evenly).
std::unique_ptr<Model> make_model(std::string_view name, Backend& backend, const ModelOptions& options,
                                  std::span<const BlockMaxima> maxima);

// The most rows of each layer's output.
std::vector<std::size_t> layer_rows(const ModelTraits& traits, const ModelOptions& options,
                                    std::span<const BlockMaxima> maxima);

// What make_model() would declare, those of residuals and norms among them, and what its layers would need:
// no memory is taken for a model. Throw Error(config) as make_model() does.
ParameterList describe_parameters(std::string_view name, const ModelOptions& options);
LayerNeeds describe_layer_needs(std::string_view name, const ModelOptions& options, std::uint32_t layer);

// Elements of all parameters.
std::uint64_t parameter_count(std::string_view name, const ModelOptions& options);

// Bytes that the backend's products with this model's weights keep besides: Backend::working_bytes().
std::uint64_t product_bytes(std::string_view name, const Backend& backend, const ModelOptions& options);

// Bytes that make_model will take: activations, parameters, gradients and moments.
std::uint64_t model_bytes(std::string_view name, const Backend& backend, const ModelOptions& options,
                          std::span<const BlockMaxima> maxima);

}  // namespace gneiss
