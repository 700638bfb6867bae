#include "engine/nn/gat.h"

#include <algorithm>
#include <array>

#include "engine/compute/attention.h"
#include "engine/compute/half_rows.h"
#include "engine/nn/layer_columns.h"
#include "storage/base/random.h"

namespace gneiss {
namespace {

// The first layer's way back takes its destinations by so many: its aggregates' gradients are wide and serve
// only the weights' own.
constexpr std::size_t slice_rows = 4096;
constexpr std::uint64_t attention_salt = 1;  // apart from the masks of the layer's output

bool is_last(const ModelOptions& options, std::size_t layer) { return layer + 1 == options.layer_count; }

// Of one head.
std::size_t head_columns(const ModelOptions& options, std::uint32_t layer) {
  return is_last(options, layer) ? options.class_count : options.hidden_columns / options.head_count;
}

// Whether weights differ from shares: then they have memory of their own.
bool weights_shares(const ModelOptions& options, std::size_t layer) {
  return options.dropout > 0 || (is_last(options, layer) && options.head_count > 1);
}

// Elements of each buffer; the constructor takes what activation_bytes() promises.
struct GatSizes {
  struct Layer {
    std::size_t score_weight = 0;  // [2 * heads, in]
    std::size_t scores = 0;        // [src, 2 * heads]
    std::size_t shares = 0;        // [edges + dst, heads]
    std::size_t weights = 0;       // the same, or none
    std::size_t aggregate = 0;     // [dst, heads * in]; or in halves, and all rows
    std::size_t output = 0;        // [dst, out]
  };
  std::vector<Layer> layers;
  std::size_t d_score_weight = 0;
  std::size_t d_edges = 0;
  std::size_t d_destination = 0;
  std::size_t d_aggregate = 0;
  std::size_t dz = 0;
  std::size_t scratch = 0;

  GatSizes(const Backend& backend, const ModelOptions& options, std::span<const BlockMaxima> maxima) {
    const std::size_t heads = options.head_count;
    const bool keeps_halves = backend.halves() != nullptr;
    for (std::uint32_t i = 0; i < options.layer_count; ++i) {
      const BlockMaxima& block = maxima[i];
      const std::size_t rows = block.dst_count;
      const std::size_t in = in_columns(options, i);
      Layer& layer = layers.emplace_back();
      layer.score_weight = 2 * heads * in;
      layer.scores = 2 * heads * block.src_count;
      layer.shares = (block.edge_count + rows) * heads;
      layer.weights = weights_shares(options, i) ? layer.shares : 0;
      layer.aggregate = rows * heads * in;
      layer.output = rows * out_columns(options, i);
      d_score_weight = std::max(d_score_weight, layer.score_weight);
      d_edges = std::max(d_edges, layer.shares);
      d_destination = std::max(d_destination, rows * heads);
      const std::size_t gradients = (i == 0 ? std::min(rows, slice_rows) : rows) * heads;
      d_aggregate = std::max(d_aggregate, gradients * (keeps_halves ? half_columns(in) / 2 : in));
      if (!is_last(options, i)) dz = std::max(dz, layer.output);
      scratch =
          std::max({scratch, backend.weight_gradient_scratch(rows, head_columns(options, i), in),
                    backend.weight_gradient_scratch(rows, 2 * heads, keeps_halves ? half_columns(in) : in)});
      // A layer run alone has its aggregates in f32 whatever a batch's are, and in the same memory.
      if (keeps_halves) {
        layer.aggregate = std::max(layer.aggregate, (rows * heads + block.src_count) * half_columns(in) / 2);
      }
    }
  }
  std::size_t total() const {
    std::size_t sum = d_score_weight + d_edges + d_destination + d_aggregate + dz + scratch;
    for (const Layer& layer : layers) {
      sum +=
          layer.score_weight + layer.scores + layer.shares + layer.weights + layer.aggregate + layer.output;
    }
    return sum;
  }
};

struct GatGroups {
  std::size_t weight = 0;  // of the parameters
  std::size_t attention = 0;
  std::size_t bias = 0;
};

GatGroups declare(ParameterList& parameters, const ModelOptions& options, std::uint32_t layer) {
  const std::size_t heads = options.head_count;
  const std::size_t in = in_columns(options, layer);
  const std::size_t columns = head_columns(options, layer);
  const std::array<ParameterList::Part, 1> part{{{fmt::format("convs.{}.lin.weight", layer), in}}};
  const std::array<std::string, 2> attention{fmt::format("convs.{}.att_src", layer),
                                             fmt::format("convs.{}.att_dst", layer)};
  GatGroups groups;
  groups.weight = parameters.add_stacked(heads * columns, part, FirstValues::glorot);
  groups.attention = parameters.add_rows(attention, {1, heads, columns}, heads, columns, FirstValues::glorot);
  groups.bias = parameters.add_vector(fmt::format("convs.{}.bias", layer), out_columns(options, layer), in,
                                      FirstValues::zero);
  return groups;
}

// A head's sum of products is the product of its sum. Heads wider than the input gain nothing by it.
LayerNeeds needs_of(const ModelOptions& options, std::uint32_t layer) {
  const std::size_t heads = options.head_count;
  const std::size_t columns = head_columns(options, layer);
  return {.aggregates = heads,
          .own_rows = options.residual,
          .sources = LayerNeeds::Sources::from_rows,
          .source_columns = 2 * heads,
          .edge_columns = heads,
          .projected_columns = columns <= in_columns(options, layer) ? heads * columns : 0};
}

class GatModel final : public Model {
 public:
  GatModel(Backend& backend, const ModelOptions& options, std::span<const BlockMaxima> maxima)
      : Model(backend, options), heads_(options.head_count), halves_(backend.halves()) {
    const GatSizes sizes(backend, options, maxima);
    for (std::uint32_t i = 0; i < options.layer_count; ++i) {
      Layer& layer = layers_.emplace_back();
      layer.in_columns = in_columns(options, i);
      layer.out_columns = out_columns(options, i);
      layer.head_columns = head_columns(options, i);
      layer.groups = declare(parameters_, options, i);
      const GatSizes::Layer& size = sizes.layers[i];
      layer.score_weight = backend.allocate(size.score_weight);
      layer.scores = backend.allocate(size.scores);
      layer.shares = backend.allocate(size.shares);
      layer.weights = backend.allocate(size.weights);
      layer.aggregate = backend.allocate(size.aggregate);
      layer.output = backend.allocate(size.output);
    }
    d_score_weight_ = backend.allocate(sizes.d_score_weight);
    d_edges_ = backend.allocate(sizes.d_edges);
    d_destination_ = backend.allocate(sizes.d_destination);
    d_aggregate_ = backend.allocate(sizes.d_aggregate);
    dz_ = backend.allocate(sizes.dz);
    scratch_ = backend.allocate(sizes.scratch);
    complete(layer_rows({}, options, maxima));
  }

  LayerNeeds layer_needs(std::size_t i) const override {
    return needs_of(options_, static_cast<std::uint32_t>(i));
  }

  // The scores.
  void layer_sources(std::size_t i, const TieredRows& rows, const BlockView& /*block*/,
                     MatrixView out) override {
    backend().attention().row_products(rows, score_weight(layers_[i]), out);
  }

  MatrixView layer_aggregates(std::size_t i, std::size_t dst_count) override {
    return layers_[i].aggregate.matrix(dst_count, heads_ * layers_[i].in_columns);
  }

  void aggregate_layer(std::size_t i, const TieredRows& rows, const BlockView& block, ConstMatrixView sources,
                       MatrixView out) override {
    const Layer& layer = layers_[i];
    backend().attention().softmax(block, sources, rule(i), edge_values(layer.shares, block),
                                  weights(layer, block));
    aggregate_weighted(i, rows, block, weights(layer, block), out);
  }

  void layer_edges(std::size_t i, const BlockView& block, ConstMatrixView sources,
                   const EdgeValues& out) override {
    const AttentionRule rule = this->rule(i);
    const bool are_shares = rule.weight_scale == 1 && !rule.dropout.is_active();
    backend().attention().softmax(block, sources, rule,
                                  are_shares ? out : edge_values(layers_[i].shares, block), out);
  }

  void aggregate_weighted(std::size_t /*layer*/, const TieredRows& rows, const BlockView& block,
                          const ConstEdgeValues& edges, MatrixView out) override {
    backend().attention().aggregate(rows, block, edges, out);
  }

  void project_layer(std::size_t i, const OwnRows& rows, MatrixView out) override {
    const MatrixView input = layers_[i].aggregate.matrix(rows.count, layers_[i].in_columns);
    backend().gather(rows.rows, rows.ids, input);
    backend().linear(input, parameters_.stacked_value(layers_[i].groups.weight), {}, out);
  }

  void aggregate_projected(std::size_t i, std::size_t first_column, const TieredRows& rows,
                           const BlockView& block, const ConstEdgeValues& edges, MatrixView out) override {
    const std::size_t width = layers_[i].head_columns;
    const std::size_t first_head = first_column / width;
    const std::size_t end = first_column + rows.columns();
    for (std::size_t column = first_column; column < end;) {
      const std::size_t head = column / width;
      const std::size_t count = std::min(end, (head + 1) * width) - column;
      const std::size_t from = column - first_column;
      const ConstEdgeValues of_head{edges.edges.column_range(head - first_head, 1),
                                    edges.loops.column_range(head - first_head, 1)};
      backend().attention().aggregate(
          rows.column_range(static_cast<std::uint32_t>(from), static_cast<std::uint32_t>(count)), block,
          of_head, out.column_range(from, count));
      column += count;
    }
  }

  // The output itself where heads stand side by side in it; where it is their sum, they have other memory.
  MatrixView projected_aggregates(std::size_t i, std::size_t dst_count) override {
    const Layer& layer = layers_[i];
    const std::size_t columns = heads_ * layer.head_columns;
    const Buffer& memory = columns == layer.out_columns ? layer.output : layer.aggregate;
    return memory.matrix(dst_count, columns);
  }

  MatrixView finish_projected(std::size_t i, const OwnRows& own, const BatchView& batch) override {
    const Layer& layer = layers_[i];
    const MatrixView output = layer.output.matrix(own.count, layer.out_columns);
    const MatrixView aggregates = projected_aggregates(i, own.count);
    if (aggregates.columns != output.columns) {
      backend().gather(TieredRows::of(of_head(aggregates, 0)), {}, output);
      for (std::size_t h = 1; h < heads_; ++h) backend().add(of_head(aggregates, h), output);
    }
    backend().apply_epilogue(product_epilogue(layer.groups.bias, i, batch), output);
    tails().forward(i, own.rows, own.ids, activation(i, batch), context_.is_training, output);
    return output;
  }

  MatrixView finish_layer(std::size_t i, const OwnRows& own, const BatchView& batch) override {
    return finish(i, own, batch, layer_aggregates(i, own.count));
  }

  MatrixView run_layer(std::size_t i, const TieredRows& rows, const OwnRows& own,
                       const BatchView& batch) override {
    if (halves_ == nullptr) return Model::run_layer(i, rows, own, batch);
    const Layer& layer = layers_[i];
    const BlockView& block = batch.blocks[i];
    const MatrixView scores = layer.scores.matrix(block.src_count, 2 * heads_);
    halves_->row_products(rows, score_weight(layer), scores, kept_rows(layer, block));
    backend().attention().softmax(block, scores, rule(i), edge_values(layer.shares, block),
                                  weights(layer, block));
    const HalfView aggregate = kept_aggregates(layer.aggregate, layer, block.dst_count);
    halves_->aggregate(kept_rows(layer, block), block, weights(layer, block), aggregate);
    return finish(i, own, batch, aggregate);
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
      if (halves_ != nullptr) {
        output_weight_gradients(layer, dz, i, kept_aggregates(layer.aggregate, layer, dz.rows));
      } else {
        output_weight_gradients(layer, dz, i, layer_aggregates(i, dz.rows));
      }
      score_gradients(batch, dz, i);
      if (i == 0) break;  // the features need no gradient
      const EdgeValues d_edges = edge_values(d_edges_, block);
      const MatrixView below = layers_[i - 1].output.matrix(block.src_count, in);
      dz = dz_.matrix(block.src_count, in);
      const MatrixView d_destination = d_destination_.matrix(block.dst_count, heads_);
      const MatrixView d_sources = layer.score_weight.matrix(2 * heads_, in);
      if (halves_ != nullptr) {
        halves_->input_gradient(block, weights(layer, block),
                                kept_aggregates(d_aggregate_, layer, block.dst_count), d_edges, d_destination,
                                d_sources, below, activation(i - 1, batch), dz);
      } else {
        backend().attention().input_gradient(block, weights(layer, block),
                                             d_aggregate_.matrix(block.dst_count, heads_ * in), d_edges,
                                             d_destination, d_sources, below, activation(i - 1, batch), dz);
      }
      tails().add_residual(i, below, activation(i - 1, batch), dz);
    }
  }

 private:
  struct Layer {
    GatGroups groups;
    std::size_t in_columns = 0;
    std::size_t out_columns = 0;
    std::size_t head_columns = 0;
    Buffer score_weight;  // [2, heads * in]: att_src . lin and att_dst . lin
    Buffer scores;        // [src, 2 * heads]
    Buffer shares;        // [edges + dst, heads], the softmax
    Buffer weights;       // the same after dropout and averaging; empty: as shares
    // [dst, heads * in], kept for the weights' gradient. Where rows are kept as halves: of all heads, then
    // [src, in] of the layer's rows.
    Buffer aggregate;
    Buffer output;  // [dst, out], kept for the activation's slope
  };

  // att_src . lin and att_dst . lin
  MatrixView score_weight(const Layer& layer) {
    for (std::size_t h = 0; h < heads_; ++h) {
      backend().linear_input_gradient(attention_of(layer, h), weight_of(layer, h),
                                      of_head(layer.score_weight.matrix(2, heads_ * layer.in_columns), h));
    }
    return layer.score_weight.matrix(2 * heads_, layer.in_columns);
  }

  template <class Aggregates>
  MatrixView finish(std::size_t i, const OwnRows& own, const BatchView& batch, Aggregates aggregate) {
    const Layer& layer = layers_[i];
    const MatrixView output = layer.output.matrix(own.count, layer.out_columns);
    multiply_heads(batch, i, aggregate, output);
    tails().forward(i, own.rows, own.ids, activation(i, batch), context_.is_training, output);
    return output;
  }

  // The operators on aggregates in f32, or kept as halves.
  Backend& operators(MatrixView /*rows*/) const { return backend(); }
  HalfOperators& operators(HalfView /*rows*/) const { return *halves_; }

  // Every head has its own columns and finishes them, but in the last layer, where the last of them finishes
  // the sum of all.
  template <class Aggregates>
  void multiply_heads(const BatchView& batch, std::size_t i, Aggregates aggregate, MatrixView output) {
    const Layer& layer = layers_[i];
    const Epilogue epilogue = product_epilogue(layer.groups.bias, i, batch);
    for (std::size_t h = 0; h < heads_; ++h) {
      const Aggregates rows = of_head(aggregate, layer, h);
      if (is_last(options_, i)) {
        const Epilogue last = h + 1 == heads_ ? epilogue : Epilogue();
        if (h == 0) {
          operators(rows).linear(rows, weight_of(layer, h), last, output);
        } else {
          operators(rows).linear_add(rows, weight_of(layer, h), last, output);
        }
        continue;
      }
      Epilogue own = epilogue;
      own.first_column = h * layer.head_columns;
      own.bias = epilogue.bias.subspan(own.first_column, layer.head_columns);
      operators(rows).linear(rows, weight_of(layer, h), own, of_head(output, h));
    }
  }

  // Of lin.weight, and of the bias, by what follows the aggregates.
  template <class Aggregates>
  void output_weight_gradients(const Layer& layer, MatrixView dz, std::size_t i, Aggregates aggregate) {
    const std::span<float> bias = vector_gradient(layer.groups.bias);
    for (std::size_t h = 0; h < heads_; ++h) {
      std::span<float> part = bias.subspan(0, h == 0 ? bias.size() : 0);
      if (!is_last(options_, i)) part = bias.subspan(h * layer.head_columns, layer.head_columns);
      const Aggregates rows = of_head(aggregate, layer, h);
      operators(rows).linear_weight_gradient(rows, output_of_head(dz, i, h), weight_gradient_of(layer, h),
                                             part, scratch_.span());
    }
  }

  // Of att_src and att_dst, and what lin.weight has to do with scores; leaves the gradients of the scores in
  // d_edges_ and d_destination_, and, after all layers but the first, those of the aggregates in
  // d_aggregate_.
  void score_gradients(const BatchView& batch, MatrixView dz, std::size_t i) {
    const Layer& layer = layers_[i];
    const BlockView& block = batch.blocks[i];
    const std::size_t in = layer.in_columns;
    const MatrixView scores = layer.scores.matrix(block.src_count, 2 * heads_);
    const EdgeValues shares = edge_values(layer.shares, block);
    const EdgeValues d_edges = edge_values(d_edges_, block);
    const MatrixView d_destination = d_destination_.matrix(block.dst_count, heads_);
    const MatrixView d_weight = d_score_weight_.matrix(2 * heads_, in);
    // Of destinations from `first` on.
    const auto gradients = [&](auto& attention, const auto& rows, std::size_t first, auto d_aggregate) {
      for (std::size_t h = 0; h < heads_; ++h) {
        operators(d_aggregate)
            .linear_input_gradient(output_of_head(dz, i, h).row_range(first, d_aggregate.rows),
                                   weight_of(layer, h), of_head(d_aggregate, layer, h));
      }
      attention.score_gradients(rows, block, scores, rule(i), shares, first, d_aggregate, d_edges,
                                d_destination, d_weight, scratch_.span());
    };
    const std::size_t slice = i == 0 ? slice_rows : std::max<std::size_t>(block.dst_count, 1);
    for (std::size_t first = 0; first == 0 || first < block.dst_count; first += slice) {
      const std::size_t count = std::min<std::size_t>(slice, block.dst_count - first);
      if (halves_ != nullptr) {
        gradients(*halves_, kept_rows(layer, block), first, kept_aggregates(d_aggregate_, layer, count));
      } else {
        gradients(backend().attention(), source_rows(batch, i), first,
                  d_aggregate_.matrix(count, heads_ * in));
      }
    }
    const MatrixView d_score_weight = d_score_weight_.matrix(2, heads_ * in);
    const MatrixView d_attention = parameters_.stacked_gradient(layer.groups.attention);
    for (std::size_t h = 0; h < heads_; ++h) {
      backend().add_outer_products(of_head(d_score_weight, h), attention_of(layer, h),
                                   weight_gradient_of(layer, h));
      backend().linear(of_head(d_score_weight, h), weight_of(layer, h), {}, of_head(d_attention, h));
    }
  }

  ConstMatrixView batch_sources(std::size_t i, const TieredRows& rows, const BatchView& batch) override {
    const MatrixView scores = layers_[i].scores.matrix(batch.blocks[i].src_count, 2 * heads_);
    layer_sources(i, rows, batch.blocks[i], scores);
    return scores;
  }
  TieredRows source_rows(const BatchView& batch, std::size_t i) const {
    if (i == 0) return batch.input;
    return TieredRows::of(layers_[i - 1].output.matrix(batch.blocks[i].src_count, layers_[i].in_columns));
  }
  // Of all heads: [dst_count, heads * half_columns(in)].
  HalfView kept_aggregates(const Buffer& buffer, const Layer& layer, std::size_t dst_count) const {
    const std::size_t columns = heads_ * half_columns(layer.in_columns);
    return buffer.half_matrix(0, dst_count, columns, columns);
  }
  HalfView kept_rows(const Layer& layer, const BlockView& block) const {
    const std::size_t columns = half_columns(layer.in_columns);
    return layer.aggregate.half_matrix(block.dst_count * heads_ * columns, block.src_count, layer.in_columns,
                                       columns);
  }
  EdgeValues edge_values(const Buffer& buffer, const BlockView& block) const {
    const std::size_t edges = block.edge_count();
    const MatrixView all = buffer.matrix(edges + block.dst_count, heads_);
    return {all.row_range(0, edges), all.row_range(edges, block.dst_count)};
  }
  EdgeValues weights(const Layer& layer, const BlockView& block) const {
    return edge_values(layer.weights.size() > 0 ? layer.weights : layer.shares, block);
  }
  AttentionRule rule(std::size_t i) const {
    AttentionRule rule;
    if (is_last(options_, i)) rule.weight_scale = 1.0F / static_cast<float>(heads_);
    if (context_.is_training && options_.dropout > 0) {
      rule.dropout = {options_.dropout, mix_key(context_.seed, context_.step, i, attention_salt),
                      hidden_nodes_};
    }
    return rule;
  }

  // One head's part of a matrix whose columns all heads share.
  MatrixView of_head(MatrixView matrix, std::size_t h) const {
    const std::size_t columns = matrix.columns / heads_;
    return matrix.column_range(h * columns, columns);
  }
  MatrixView of_head(MatrixView aggregates, const Layer& /*layer*/, std::size_t h) const {
    return of_head(aggregates, h);
  }
  HalfView of_head(HalfView aggregates, const Layer& layer, std::size_t h) const {
    return aggregates.column_range(h * half_columns(layer.in_columns), layer.in_columns);
  }
  // What a head adds to in a layer's output: its own columns, or, where heads are averaged, all.
  MatrixView output_of_head(MatrixView output, std::size_t i, std::size_t h) const {
    return is_last(options_, i) ? output : of_head(output, h);
  }
  MatrixView weight_of(const Layer& layer, std::size_t h) const {
    return parameters_.stacked_value(layer.groups.weight)
        .row_range(h * layer.head_columns, layer.head_columns);
  }
  MatrixView weight_gradient_of(const Layer& layer, std::size_t h) const {
    return parameters_.stacked_gradient(layer.groups.weight)
        .row_range(h * layer.head_columns, layer.head_columns);
  }
  MatrixView attention_of(const Layer& layer, std::size_t h) const {  // [2, head_columns]
    return of_head(parameters_.stacked_value(layer.groups.attention), h);
  }

  std::size_t heads_;
  HalfOperators* halves_;  // nullptr: all is f32
  std::vector<Layer> layers_;
  Buffer d_score_weight_;
  Buffer d_edges_;
  Buffer d_destination_;
  Buffer d_aggregate_;
  Buffer dz_;
  Buffer scratch_;
};

}  // namespace

const ModelKind gat_kind = describe_model<GatModel, GatSizes>(
    "gat", "graph attention with several heads", declare_layers<declare>, needs_of, {.has_heads = true});

}  // namespace gneiss
