// Sums over neighbors. A group of threads has a destination, each thread some of its columns: a row is read
// in whole lines, and the neighbors are added in the sampler's order, so sums have one order whatever runs
// beside. Four rows are asked for before the first is added, for there is nothing else to wait with: a block
// is many short rows scattered over more memory than any cache.
#include "engine/compute/cuda/aggregate.h"
#include "engine/compute/cuda/edge_scales.cuh"
#include "engine/compute/cuda/launch.cuh"
#include "engine/compute/cuda/vectors.cuh"
#include "engine/compute/cuda/views.cuh"

namespace gneiss::cuda {
namespace {

struct NoFactors {
  __device__ float of(std::uint32_t /*source*/) const { return 1.0F; }
};
struct SourceFactors {
  Scales scales;
  float destination_scale;
  __device__ float of(std::uint32_t source) const { return scales.source(source, destination_scale); }
};

// sum + the rows of edges [first, last), each times its factor, columns from `column` on.
template <class T, unsigned N, class Factors>
__device__ __forceinline__ Floats<N> sum_rows(const Rows& rows, const std::uint32_t* indices,
                                              std::uint32_t first, std::uint32_t last, std::size_t column,
                                              const Factors& factors, Floats<N> sum) {
  for (std::uint32_t edge = first; edge < last; edge += rows_ahead) {
    const std::uint32_t count = min(rows_ahead, last - edge);
    Floats<N> x[rows_ahead];
    float factor[rows_ahead];
    for (std::uint32_t i = 0; i < rows_ahead; ++i) {
      if (i >= count) continue;
      const std::uint32_t source = indices[edge + i];
      x[i] = load_row<T, N>(rows.row(source), column);
      factor[i] = factors.of(source);
    }
    for (std::uint32_t i = 0; i < rows_ahead; ++i) {
      if (i < count) add_to(sum, x[i], factor[i]);
    }
  }
  return sum;
}

template <class T, unsigned N>
__global__ void mean_kernel(Rows rows, Block block, FloatMatrix out) {
  const std::uint32_t dst = blockIdx.x * blockDim.y + threadIdx.y;
  if (dst >= block.dst_count) return;
  const std::uint32_t first = block.indptr[dst];
  const std::uint32_t last = block.indptr[dst + 1];
  const float mean = last == first ? 0.0F : 1.0F / static_cast<float>(last - first);
  for (std::uint32_t c = threadIdx.x * N; c < out.columns; c += blockDim.x * N) {
    const Floats<N> sum =
        sum_rows<T, N>(rows, block.indices, first, last, c, NoFactors(), Floats<N>::all(0.0F));
    store(times(sum, mean), out.row(dst) + c);
  }
}

template <class T, unsigned N>
__global__ void sum_kernel(Rows rows, Block block, Scales scales, FloatMatrix out) {
  const std::uint32_t dst = blockIdx.x * blockDim.y + threadIdx.y;
  if (dst >= block.dst_count) return;
  const std::uint32_t first = block.indptr[dst];
  const std::uint32_t last = block.indptr[dst + 1];
  const float scale = scales.destination(dst);
  const std::byte* self = rows.row(block.row_of(dst));
  for (std::uint32_t c = threadIdx.x * N; c < out.columns; c += blockDim.x * N) {
    const Floats<N> own = times(load_row<T, N>(self, c), scales.self(dst));
    const Floats<N> sum =
        sum_rows<T, N>(rows, block.indices, first, last, c, SourceFactors{scales, scale}, own);
    store(times(sum, scale), out.row(dst) + c);
  }
}

template <class T, unsigned N>
__global__ void max_kernel(Rows rows, Block block, FloatMatrix out, Matrix<std::uint32_t> winners) {
  const std::uint32_t dst = blockIdx.x * blockDim.y + threadIdx.y;
  if (dst >= block.dst_count) return;
  const std::uint32_t first = block.indptr[dst];
  const std::uint32_t last = block.indptr[dst + 1];
  for (std::uint32_t c = threadIdx.x * N; c < out.columns; c += blockDim.x * N) {
    Floats<N> best = Floats<N>::all(0.0F);
    std::uint32_t source[N];
    for (unsigned i = 0; i < N; ++i) source[i] = no_source;
    for (std::uint32_t edge = first; edge < last; ++edge) {
      const std::uint32_t other = block.indices[edge];
      const Floats<N> x = load_row<T, N>(rows.row(other), c);
      for (unsigned i = 0; i < N; ++i) {
        // Only what is larger takes its place: the first of equals stays. What is no number stays too, so
        // that it is seen at the end.
        if (edge == first || x.at[i] > best.at[i] || x.at[i] != x.at[i]) {
          best.at[i] = x.at[i];
          source[i] = other;
        }
      }
    }
    store(best, out.row(dst) + c);
    if (winners.data == nullptr) continue;
    for (unsigned i = 0; i < N; ++i) winners.row(dst)[c + i] = source[i];
  }
}

template <class T, unsigned N>
__global__ void gather_kernel(Rows rows, const std::uint32_t* row_ids, FloatMatrix out) {
  const std::uint32_t i = blockIdx.x * blockDim.y + threadIdx.y;
  if (i >= out.rows) return;
  const std::byte* row = rows.row(row_ids == nullptr ? i : row_ids[i]);
  for (std::uint32_t c = threadIdx.x * N; c < out.columns; c += blockDim.x * N) {
    store(load_row<T, N>(row, c), out.row(i) + c);
  }
}

}  // namespace

void aggregate_mean(cudaStream_t stream, const TieredRows& rows, const BlockView& block, MatrixView out) {
  VectorWidth width(rows);
  width.matrix(out);
  with_wide_rows(rows, width, [&]<class T, unsigned N>() {
    launch(stream, row_grid(out.rows, out.columns, N), mean_kernel<T, N>, Rows(rows), Block(block),
           FloatMatrix(out));
  });
}

void aggregate_max(cudaStream_t stream, const TieredRows& rows, const BlockView& block, MatrixView out,
                   IndexMatrixView winners) {
  VectorWidth width(rows);
  width.matrix(out);
  with_wide_rows(rows, width, [&]<class T, unsigned N>() {
    launch(stream, row_grid(out.rows, out.columns, N), max_kernel<T, N>, Rows(rows), Block(block),
           FloatMatrix(out), Matrix<std::uint32_t>(winners));
  });
}

void aggregate_sum(cudaStream_t stream, const TieredRows& rows, const BlockView& block,
                   const EdgeScales& scales, MatrixView out) {
  VectorWidth width(rows);
  width.matrix(out);
  with_wide_rows(rows, width, [&]<class T, unsigned N>() {
    launch(stream, row_grid(out.rows, out.columns, N), sum_kernel<T, N>, Rows(rows), Block(block),
           Scales(scales), FloatMatrix(out));
  });
}

void gather(cudaStream_t stream, const TieredRows& rows, std::span<const std::uint32_t> row_ids,
            MatrixView out) {
  VectorWidth width(rows);
  width.matrix(out);
  with_wide_rows(rows, width, [&]<class T, unsigned N>() {
    launch(stream, row_grid(out.rows, out.columns, N), gather_kernel<T, N>, Rows(rows), data_or_null(row_ids),
           FloatMatrix(out));
  });
}

}  // namespace gneiss::cuda
