// The ways back of attention's weighted sums: to the shares, by products with the rows; to the weight of the
// scores, by sums of the rows; and to the rows themselves, by the transposed edges.
#include <algorithm>

#include "engine/compute/cuda/attention_entries.cuh"
#include "engine/compute/cuda/attention_steps.h"
#include "engine/compute/cuda/column_sums.h"
#include "engine/compute/cuda/launch.cuh"
#include "engine/compute/cuda/row_tile.cuh"

namespace gneiss::cuda {
namespace {

constexpr unsigned sum_heads = 4;   // that a thread sums at once
constexpr unsigned sum_warps = 16;  // that share a piece of destinations: 4 pieces are few warps else
constexpr unsigned sum_columns_max =
    2;  // of a thread, for as many warps again; a warp still reads whole lines

// blockIdx.y: of a destination's entries, four by four, every gridDim.yth: destinations may be few.
template <class T, unsigned N>
__global__ void share_gradients_kernel(Rows rows, Block block, std::uint32_t first_dst,
                                       ConstFloatMatrix d_out, EdgeMatrices<float> products) {
  const std::uint32_t index = blockIdx.x * blockDim.y + threadIdx.y;
  if (index >= d_out.rows) return;
  const Entries entries(block, first_dst + index);
  const TilePlace place(threadIdx.x);
  const std::uint32_t heads = products.heads();
  const std::uint32_t columns = d_out.columns / heads;
  for (std::uint32_t first = blockIdx.y * tile_rows; first < entries.count; first += gridDim.y * tile_rows) {
    const std::uint32_t entry = first + place.row;
    const std::byte* x[tile_rows];
    for (unsigned i = 0; i < tile_rows; ++i) {
      x[i] = rows.row(entries.source(min(first + i, entries.count - 1)));
    }
    for (std::uint32_t h = 0; h < heads; h += tile_rows) {
      const float* gradients[tile_rows];
      for (unsigned j = 0; j < tile_rows; ++j) {
        gradients[j] = d_out.row(index) + std::size_t{min(h + j, heads - 1)} * columns;
      }
      const float product = tile_product<T, N>(x, gradients, columns, threadIdx.x);
      const std::uint32_t head = h + place.other;
      if (place.is_first && entry < entries.count && head < heads) {
        entries.values(products, entry)[head] = product;
      }
    }
  }
}

// sums[h] += sum over i of [first, last), those of this warp, of factors[i, head + h] * the row source(i).
template <class T, unsigned N, class Source>
__device__ __forceinline__ void add_rows(const Rows& rows, const Source& source,
                                         const ConstFloatMatrix& factors, std::uint32_t head,
                                         std::uint32_t first, std::uint32_t last, std::uint32_t column,
                                         Floats<N> (&sums)[sum_heads]) {
  for (std::uint32_t i = first + threadIdx.y * rows_ahead; i < last; i += sum_warps * rows_ahead) {
    const std::uint32_t count = min(rows_ahead, last - i);
    Floats<N> x[rows_ahead];
    for (std::uint32_t k = 0; k < rows_ahead; ++k) {
      if (k < count) x[k] = load_row<T, N>(rows.row(source(i + k)), column);
    }
    for (std::uint32_t k = 0; k < rows_ahead; ++k) {
      if (k >= count) break;
      const float* factor = factors.row(i + k) + head;
      for (unsigned h = 0; h < sum_heads; ++h) {
        if (head + h < factors.columns) add_to(sums[h], x[k], factor[h]);
      }
    }
  }
}

// A block has a piece of the destinations (x), some columns (y) and some rows of the weight (z): first those
// for sources, then those for destinations. Its warps take turns at the piece's edges, whosever they are, and
// their sums are added in the warps' order.
template <class T, unsigned N>
__global__ void weight_gradient_kernel(Rows rows, Block block, std::uint32_t first_dst,
                                       std::uint32_t last_dst, std::uint32_t piece_rows,
                                       std::uint32_t columns, EdgeMatrices<const float> d_scores,
                                       ConstFloatMatrix d_destination, float* parts) {
  constexpr unsigned block_columns = warp_lanes * N;
  __shared__ float shared[sum_warps][sum_heads * block_columns];
  const std::uint32_t heads = d_scores.heads();
  const std::uint32_t tiles = gridDim.z / 2;
  const bool is_of_sources = blockIdx.z < tiles;
  const std::uint32_t head = blockIdx.z % tiles * sum_heads;
  const std::uint32_t first = first_dst + blockIdx.x * piece_rows;
  const std::uint32_t last = min(last_dst, first + piece_rows);
  const std::uint32_t first_column = blockIdx.y * block_columns;
  const std::uint32_t column = first_column + threadIdx.x * N;
  const auto neighbor = [&](std::uint32_t edge) { return block.indices[edge]; };
  const auto own_row = [&](std::uint32_t dst) { return block.row_of(dst); };
  Floats<N> sums[sum_heads];
  for (unsigned h = 0; h < sum_heads; ++h) sums[h] = Floats<N>::all(0.0F);
  if (column < columns && is_of_sources) {
    add_rows<T, N>(rows, own_row, d_scores.loops, head, first, last, column, sums);
    add_rows<T, N>(rows, neighbor, d_scores.edges, head, block.indptr[first], block.indptr[last], column,
                   sums);
  } else if (column < columns) {
    add_rows<T, N>(rows, own_row, d_destination, head, first, last, column, sums);
  }
  for (unsigned h = 0; h < sum_heads; ++h) {
    for (unsigned n = 0; n < N; ++n) {
      shared[threadIdx.y][h * block_columns + threadIdx.x * N + n] = sums[h].at[n];
    }
  }
  __syncthreads();
  const unsigned place = threadIdx.y * warp_lanes + threadIdx.x;
  if (place >= sum_heads * block_columns) return;
  const std::uint32_t out_head = head + place / block_columns;
  const std::uint32_t out_column = first_column + place % block_columns;
  if (out_head >= heads || out_column >= columns) return;
  float sum = 0;
  for (unsigned w = 0; w < sum_warps; ++w) sum += shared[w][place];
  const std::size_t row = (is_of_sources ? 0 : heads) + out_head;
  parts[(std::size_t{blockIdx.x} * 2 * heads + row) * columns + out_column] = sum;
}

// Head by head, so that what a source's scores have gathered is one number at a time.
template <unsigned N>
__global__ void input_gradient_kernel(Block block, EdgeMatrices<const float> weights,
                                      ConstFloatMatrix d_aggregate, EdgeMatrices<const float> d_scores,
                                      ConstFloatMatrix d_destination, ConstFloatMatrix score_weight,
                                      ConstFloatMatrix activated, Finish finish, FloatMatrix dz) {
  const std::uint32_t src = blockIdx.x * blockDim.y + threadIdx.y;
  if (src >= block.src_count) return;
  const std::uint32_t first = block.transposed_indptr[src];
  const std::uint32_t last = block.transposed_indptr[src + 1];
  const bool is_destination = src < block.dst_count;
  const std::uint32_t heads = weights.heads();
  const std::uint32_t row_key = finish.masks.row_key(src);
  for (std::uint32_t c = threadIdx.x * N; c < dz.columns; c += blockDim.x * N) {
    Floats<N> sum = Floats<N>::all(0.0F);
    for (std::uint32_t h = 0; h < heads; ++h) {
      const std::size_t column = std::size_t{h} * dz.columns + c;
      float score_sum = 0;
      if (is_destination) {
        add_to(sum, load<N>(d_aggregate.row(src) + column), weights.loops.row(src)[h]);
        add_to(sum, load<N>(score_weight.row(heads + h) + c), d_destination.row(src)[h]);
        score_sum = d_scores.loops.row(src)[h];
      }
      for (std::uint32_t t = first; t < last; t += rows_ahead) {
        const std::uint32_t count = min(rows_ahead, last - t);
        Floats<N> x[rows_ahead];
        float weight[rows_ahead];
        float score[rows_ahead];
        for (std::uint32_t i = 0; i < rows_ahead; ++i) {
          if (i >= count) continue;
          const std::uint32_t edge = block.transposed_edges[t + i];
          x[i] = load<N>(d_aggregate.row(block.transposed_indices[t + i]) + column);
          weight[i] = weights.edges.row(edge)[h];
          score[i] = d_scores.edges.row(edge)[h];
        }
        for (std::uint32_t i = 0; i < rows_ahead; ++i) {
          if (i >= count) continue;
          add_to(sum, x[i], weight[i]);
          score_sum += score[i];
        }
      }
      add_to(sum, load<N>(score_weight.row(h) + c), score_sum);
    }
    store(finish.apply_gradient(sum, load<N>(activated.row(src) + c), row_key, c), dz.row(src) + c);
  }
}

}  // namespace

void attention_share_gradients(cudaStream_t stream, const TieredRows& rows, const BlockView& block,
                               std::size_t first_dst, ConstMatrixView d_out, const EdgeValues& products) {
  // 8,192 warps are what the largest devices hold at once.
  constexpr std::size_t warps_wanted = 8192;
  constexpr std::size_t share_max = 8;  // 32 entries: fanouts are seldom above
  VectorWidth width = width_for_warp(rows.columns());
  width.matrix(d_out);
  Grid grid = warp_grid(d_out.rows);
  if (d_out.rows > 0) {
    grid.blocks.y = static_cast<unsigned>(std::clamp<std::size_t>(warps_wanted / d_out.rows, 1, share_max));
  }
  with_rows(rows, width, [&]<class T, unsigned N>() {
    launch(stream, grid, share_gradients_kernel<T, N>, Rows(rows), Block(block), first_dst,
           ConstFloatMatrix(d_out), EdgeMatrices<float>(products));
  });
}

void attention_weight_gradient(cudaStream_t stream, const TieredRows& rows, const BlockView& block,
                               std::size_t first_dst, std::size_t count, const ConstEdgeValues& d_scores,
                               ConstMatrixView d_destination, std::span<float> d_weight,
                               std::span<float> scratch) {
  const RowPieces pieces = cut_rows_for_weights(count);
  const std::size_t columns = rows.columns();
  const std::size_t tiles = divide_up(d_scores.heads(), sum_heads);
  with_rows(rows, width_for_warp(columns), [&]<class T, unsigned Width>() {
    constexpr unsigned N = std::min(Width, sum_columns_max);
    const std::size_t column_tiles = divide_up(columns, warp_lanes * N);
    launch(stream,
           {dim3(static_cast<unsigned>(pieces.count), static_cast<unsigned>(column_tiles),
                 static_cast<unsigned>(2 * tiles)),
            dim3(warp_lanes, sum_warps)},
           weight_gradient_kernel<T, N>, Rows(rows), Block(block), first_dst, first_dst + count, pieces.rows,
           columns, EdgeMatrices<const float>(d_scores), ConstFloatMatrix(d_destination), scratch.data());
  });
  if (first_dst == 0) {
    sum_parts(stream, scratch.data(), pieces.count, d_weight);
  } else {
    add_parts(stream, scratch.data(), pieces.count, d_weight);
  }
}

void attention_input_gradient(cudaStream_t stream, const BlockView& block, const ConstEdgeValues& weights,
                              ConstMatrixView d_aggregate, const ConstEdgeValues& d_scores,
                              ConstMatrixView d_destination, ConstMatrixView score_weight,
                              ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz) {
  VectorWidth width;
  width.matrix(d_aggregate);
  width.matrix(score_weight);
  width.matrix(activated);
  width.matrix(dz);
  with_width(width, [&]<unsigned N>() {
    launch(stream, row_grid(dz.rows, dz.columns, N), input_gradient_kernel<N>, Block(block),
           EdgeMatrices<const float>(weights), ConstFloatMatrix(d_aggregate),
           EdgeMatrices<const float>(d_scores), ConstFloatMatrix(d_destination),
           ConstFloatMatrix(score_weight), ConstFloatMatrix(activated), Finish(epilogue), FloatMatrix(dz));
  });
}

}  // namespace gneiss::cuda
