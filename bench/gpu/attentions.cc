// Graph attention over the input rows of block 0, and its way back to rows over the same edges.
#include "bench/gpu/bytes.h"
#include "bench/gpu/measurements.h"
#include "engine/compute/attention.h"

namespace gneiss::gpu {
namespace {

// Numbers for each edge and each loop, of `block`.
struct EdgeBuffer {
  EdgeBuffer(Rig& rig, const BlockView& of)
      : block(of),
        memory(rig.random_buffer((block.edge_count() + std::size_t{block.dst_count}) * head_count)) {}
  EdgeValues values() const {
    const MatrixView all = memory.matrix(memory.size() / head_count, head_count);
    return {all.row_range(0, block.edge_count()), all.row_range(block.edge_count(), block.dst_count)};
  }
  double bytes() const { return bytes_of(memory.size(), 1); }

  const BlockView& block;
  Buffer memory;
};

void over_rows(Rig& rig, const BatchView& batch, std::vector<OperatorRate>& rates) {
  Backend& backend = rig.backend();
  AttentionOperators& attention = backend.attention();
  const BlockView& block = batch.blocks[0];
  const TieredRows& rows = batch.input;
  const std::size_t columns = rows.columns();
  const Buffer weight = rig.random_buffer(2 * head_count * columns);
  const Buffer scores = rig.random_buffer(block.src_count * 2 * head_count);
  const Buffer out = rig.random_buffer(block.dst_count * head_count * columns);
  const EdgeBuffer shares(rig, block);
  const MatrixView weight_matrix = weight.matrix(2 * head_count, columns);
  const MatrixView score_matrix = scores.matrix(block.src_count, 2 * head_count);
  const MatrixView out_matrix = out.matrix(block.dst_count, head_count * columns);

  const double of_rows = bytes_of(block.src_count, columns);
  const double of_scores = bytes_of(block.src_count, 2 * head_count);
  const double of_out = bytes_of(block.dst_count, head_count * columns);
  const double per_entry =
      bytes_of(block.edge_count() + std::size_t{block.dst_count}, columns) + edge_bytes(block);
  const double once = of_rows + edge_bytes(block);
  rates.push_back({"attention, scores of rows",
                   rig.seconds([&] { attention.row_products(rows, weight_matrix, score_matrix); }),
                   of_rows + of_scores, of_rows + of_scores});
  const double scores_asked =
      bytes_of(block.edge_count() + 2 * std::size_t{block.dst_count}, head_count) + edge_bytes(block);
  rates.push_back({"attention, softmax", rig.seconds([&] {
                     attention.softmax(block, score_matrix, {}, shares.values(), shares.values());
                   }),
                   scores_asked + shares.bytes(), of_scores + edge_bytes(block) + shares.bytes()});
  rates.push_back({"attention, aggregate",
                   rig.seconds([&] { attention.aggregate(rows, block, shares.values(), out_matrix); }),
                   per_entry + shares.bytes() + of_out, once + shares.bytes() + of_out});
  const EdgeBuffer d_scores(rig, block);
  const Buffer d_destination = backend.allocate(block.dst_count * head_count);
  const Buffer scratch =
      backend.allocate(backend.weight_gradient_scratch(block.dst_count, 2 * head_count, columns));
  rates.push_back({"attention, way back to scores", rig.seconds([&] {
                     attention.score_gradients(
                         rows, block, score_matrix, {}, shares.values(), 0, out_matrix, d_scores.values(),
                         d_destination.matrix(block.dst_count, head_count), weight_matrix, scratch.span());
                   }),
                   per_entry + scores_asked + 2 * shares.bytes() + of_out,
                   once + of_scores + 2 * shares.bytes() + of_out});
}

void to_rows(Rig& rig, const BlockView& block, std::size_t columns, std::vector<OperatorRate>& rates) {
  Backend& backend = rig.backend();
  const EdgeBuffer weights(rig, block);
  const EdgeBuffer d_scores(rig, block);
  const Buffer d_aggregate = rig.random_buffer(block.dst_count * head_count * columns);
  const Buffer d_destination = rig.random_buffer(block.dst_count * head_count);
  const Buffer score_weight = rig.random_buffer(2 * head_count * columns);
  const Buffer activated = rig.random_buffer(block.src_count * columns);
  const Buffer dz = backend.allocate(block.src_count * columns);
  const double per_entry = bytes_of(block.edge_count() + std::size_t{block.dst_count}, head_count * columns);
  const double once = bytes_of(block.dst_count, head_count * columns);
  // Destinations and places of edges; weights and gradients of each; sources read and written.
  const double rest = 2 * edge_bytes(block) + 2 * weights.bytes() + 2 * bytes_of(block.src_count, columns);
  rates.push_back({"attention, way back to rows", rig.seconds([&] {
                     backend.attention().input_gradient(
                         block, weights.values(), d_aggregate.matrix(block.dst_count, head_count * columns),
                         d_scores.values(), d_destination.matrix(block.dst_count, head_count),
                         score_weight.matrix(2 * head_count, columns),
                         activated.matrix(block.src_count, columns), {.activation = Activation::relu},
                         dz.matrix(block.src_count, columns));
                   }),
                   per_entry + rest, once + rest});
}

}  // namespace

std::vector<OperatorRate> attention_rates(Rig& rig, const BatchView& batch) {
  std::vector<OperatorRate> rates;
  over_rows(rig, batch, rates);
  to_rows(rig, as_hidden(batch.blocks[0]), batch.input.columns(), rates);
  return rates;
}

}  // namespace gneiss::gpu
