// Gathers, sums over neighbors and the largest of them, and their ways back.
#include "bench/gpu/bytes.h"
#include "bench/gpu/measurements.h"

namespace gneiss::gpu {
namespace {

// The input rows of block 0, from the table of all nodes' rows.
void forward(Rig& rig, const BatchView& batch, std::vector<OperatorRate>& rates) {
  Backend& backend = rig.backend();
  const BlockView& block = batch.blocks[0];
  const TieredRows& rows = batch.input;
  const std::size_t columns = rows.columns();
  const double read = bytes_of(block.edge_count(), columns) + edge_bytes(block);
  const double read_once = bytes_of(block.src_count, columns) + edge_bytes(block);
  const double written = bytes_of(block.dst_count, columns);
  {
    const Buffer out = backend.allocate(block.src_count * columns);
    const double bytes = 2 * bytes_of(block.src_count, columns) + bytes_of(block.src_count, 1);
    rates.push_back({"gather",
                     rig.seconds([&] { backend.gather(rows, {}, out.matrix(block.src_count, columns)); }),
                     bytes, bytes});
  }
  {
    const Buffer out = backend.allocate(block.dst_count * columns);
    const MatrixView target = out.matrix(block.dst_count, columns);
    rates.push_back({"mean", rig.seconds([&] { backend.aggregate_mean(rows, block, target); }),
                     read + written, read_once + written});
    const Buffer destination = rig.random_buffer(block.dst_count);
    const Buffer source = rig.random_buffer(block.src_count);
    const Buffer self = rig.random_buffer(block.dst_count);
    const EdgeScales scales{destination.span(), source.span(), self.span()};
    const double factors = bytes_of(block.src_count + 2 * block.dst_count, 1);
    rates.push_back({"weighted sum", rig.seconds([&] { backend.aggregate_sum(rows, block, scales, target); }),
                     read + 2 * written + factors, read_once + written + factors});
  }
  {
    const Buffer out = backend.allocate(block.dst_count * columns);
    const Buffer winners = backend.allocate(block.dst_count * columns);
    rates.push_back({"max, with winners", rig.seconds([&] {
                       backend.aggregate_max(rows, block, out.matrix(block.dst_count, columns),
                                             winners.index_matrix(block.dst_count, columns));
                     }),
                     read + 2 * written, read_once + 2 * written});
  }
  {
    // The same bytes read as twice as many halves.
    TieredRows halves(Dtype::f16, static_cast<std::uint32_t>(2 * columns));
    halves.append(rows.range(0).base, rows.range(0).count, rows.range(0).slots);
    const Buffer out = backend.allocate(block.dst_count * 2 * columns);
    rates.push_back({"mean of f16", rig.seconds([&] {
                       backend.aggregate_mean(halves, block, out.matrix(block.dst_count, 2 * columns));
                     }),
                     read + 2 * written, read_once + 2 * written});
  }
}

// Of a hidden layer with the edges of `block`.
void ways_back(Rig& rig, const BlockView& block, std::size_t columns, const std::string& where,
               std::vector<OperatorRate>& rates) {
  Backend& backend = rig.backend();
  const std::size_t of_destinations = block.dst_count * columns;
  const Buffer activated = rig.random_buffer(block.src_count * columns);
  const Buffer dz = backend.allocate(block.src_count * columns);
  const Buffer d_aggregate = rig.random_buffer(of_destinations);
  const MatrixView activated_matrix = activated.matrix(block.src_count, columns);
  const MatrixView dz_matrix = dz.matrix(block.src_count, columns);
  const MatrixView d_matrix = d_aggregate.matrix(block.dst_count, columns);
  const Epilogue relu{.activation = Activation::relu};
  const double per_edge = bytes_of(block.edge_count(), columns);
  const double of_dst = bytes_of(block.dst_count, columns);
  const double rest = 2 * bytes_of(block.src_count, columns) + edge_bytes(block);
  {
    const Buffer d_self = rig.random_buffer(of_destinations);
    rates.push_back({"mean, way back" + where, rig.seconds([&] {
                       backend.aggregate_mean_gradient(block, d_matrix,
                                                       d_self.matrix(block.dst_count, columns),
                                                       activated_matrix, relu, dz_matrix);
                     }),
                     per_edge + of_dst + rest, 2 * of_dst + rest});
  }
  rates.push_back({"sum, way back" + where, rig.seconds([&] {
                     backend.aggregate_sum_gradient(block, {}, d_matrix, activated_matrix, relu, dz_matrix);
                   }),
                   per_edge + of_dst + rest, of_dst + rest});
  {
    const Buffer d_self = rig.random_buffer(of_destinations);
    const Buffer largest = backend.allocate(of_destinations);
    const Buffer winners = backend.allocate(of_destinations);
    const auto winners_matrix = winners.index_matrix(block.dst_count, columns);
    backend.aggregate_max(TieredRows::of(activated_matrix), block, largest.matrix(block.dst_count, columns),
                          winners_matrix);
    rates.push_back({"max, way back" + where, rig.seconds([&] {
                       backend.aggregate_max_gradient(block, winners_matrix, d_matrix,
                                                      d_self.matrix(block.dst_count, columns),
                                                      activated_matrix, relu, dz_matrix);
                     }),
                     2 * per_edge + of_dst + rest, 3 * of_dst + rest});
  }
}

}  // namespace

RigMemory operator_memory(const SampledBlocks& blocks, const BlockShape& shape, std::uint32_t columns) {
  const BlockView& block = blocks.block(0);
  const std::size_t hidden = blocks.block(1).src_count * std::size_t{hidden_columns};
  const std::size_t entries = std::size_t{block.edge_count()} + block.dst_count;
  // Rows of sources, twice; of destinations, for each head and some more; a few numbers an edge and a source.
  const std::size_t elements =
      2 * std::size_t{block.src_count} * columns + (head_count + 5) * std::size_t{block.dst_count} * columns +
      4 * entries * head_count + std::size_t{block.src_count} * 4 * head_count + 2 * hidden;
  return {.table_bytes = std::uint64_t{shape.node_count} * columns * sizeof(float),
          .buffer_bytes = elements * sizeof(float),
          .frame_bytes = blocks.frame_bytes(),
          .transposed_bytes = blocks.transposed_bytes()};
}

std::vector<OperatorRate> aggregate_rates(Rig& rig, const BatchView& batch) {
  std::vector<OperatorRate> rates;
  forward(rig, batch, rates);
  ways_back(rig, as_hidden(batch.blocks[0]), batch.input.columns(), "", rates);
  // As a step has it: a layer whose destinations' rows the cache holds.
  ways_back(rig, batch.blocks[1], hidden_columns, ", second layer", rates);
  return rates;
}

}  // namespace gneiss::gpu
