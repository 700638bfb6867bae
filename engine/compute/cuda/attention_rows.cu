// Products of scattered rows with few others, and sums of them weighted head by head.
#include "engine/compute/cuda/attention_entries.cuh"
#include "engine/compute/cuda/attention_steps.h"
#include "engine/compute/cuda/launch.cuh"
#include "engine/compute/cuda/row_tile.cuh"

namespace gneiss::cuda {
namespace {

// A warp has four rows: they stay in L1 while it goes through the others, which all warps share.
template <class T, unsigned N>
__global__ void row_products_kernel(Rows rows, ConstFloatMatrix weight, FloatMatrix out) {
  const std::uint32_t first = (blockIdx.x * blockDim.y + threadIdx.y) * tile_rows;
  if (first >= out.rows) return;
  const TilePlace place(threadIdx.x);
  const std::uint32_t row = first + place.row;
  const std::byte* x[tile_rows];
  for (unsigned i = 0; i < tile_rows; ++i) x[i] = rows.row(min(first + i, out.rows - 1));
  for (std::uint32_t w = 0; w < weight.rows; w += tile_rows) {
    const float* others[tile_rows];
    for (unsigned j = 0; j < tile_rows; ++j) others[j] = weight.row(min(w + j, weight.rows - 1));
    const float product = tile_product<T, N>(x, others, weight.columns, threadIdx.x);
    const std::uint32_t column = w + place.other;
    if (place.is_first && row < out.rows && column < out.columns) out.row(row)[column] = product;
  }
}

// A group of threads has a destination, each thread some columns of `Heads` sums at once: a row is read once
// for all of them.
template <class T, unsigned N, unsigned Heads>
__global__ void head_sums_kernel(Rows rows, Block block, EdgeMatrices<const float> weights,
                                 std::uint32_t columns, FloatMatrix out) {
  const std::uint32_t dst = blockIdx.x * blockDim.y + threadIdx.y;
  if (dst >= block.dst_count) return;
  const Entries entries(block, dst);
  const std::uint32_t heads = weights.heads();
  for (std::uint32_t c = threadIdx.x * N; c < columns; c += blockDim.x * N) {
    for (std::uint32_t head = 0; head < heads; head += Heads) {
      Floats<N> sums[Heads];
      for (unsigned h = 0; h < Heads; ++h) sums[h] = Floats<N>::all(0.0F);
      for (std::uint32_t entry = 0; entry < entries.count; entry += rows_ahead) {
        const std::uint32_t count = min(rows_ahead, entries.count - entry);
        Floats<N> x[rows_ahead];
        for (std::uint32_t i = 0; i < rows_ahead; ++i) {
          if (i < count) x[i] = load_row<T, N>(rows.row(entries.source(entry + i)), c);
        }
        for (std::uint32_t i = 0; i < rows_ahead; ++i) {
          if (i >= count) break;
          const float* factors = entries.values(weights, entry + i) + head;
          for (unsigned h = 0; h < Heads; ++h) {
            if (head + h < heads) add_to(sums[h], x[i], factors[h]);
          }
        }
      }
      for (unsigned h = 0; h < Heads; ++h) {
        if (head + h < heads) store(sums[h], out.row(dst) + std::size_t{head + h} * columns + c);
      }
    }
  }
}

// Calls work with how many heads a thread sums at once.
template <class Work>
void with_heads(std::size_t heads, const Work& work) {
  if (heads == 1) return work.template operator()<1>();
  if (heads == 2) return work.template operator()<2>();
  if (heads <= 4) return work.template operator()<4>();
  return work.template operator()<8>();
}

}  // namespace

void row_products(cudaStream_t stream, const TieredRows& rows, ConstMatrixView weight, MatrixView out) {
  VectorWidth width = width_for_warp(rows.columns());
  width.matrix(weight);
  with_rows(rows, width, [&]<class T, unsigned N>() {
    launch(stream, warp_grid(divide_up(out.rows, tile_rows)), row_products_kernel<T, N>, Rows(rows),
           ConstFloatMatrix(weight), FloatMatrix(out));
  });
}

void attention_aggregate(cudaStream_t stream, const TieredRows& rows, const BlockView& block,
                         const ConstEdgeValues& weights, MatrixView out) {
  VectorWidth width;
  width.matrix(out);
  with_rows(rows, width, [&]<class T, unsigned N>() {
    with_heads(weights.heads(), [&]<unsigned Heads>() {
      launch(stream, row_grid(out.rows, rows.columns(), N), head_sums_kernel<T, N, Heads>, Rows(rows),
             Block(block), EdgeMatrices<const float>(weights), rows.columns(), FloatMatrix(out));
    });
  });
}

}  // namespace gneiss::cuda
