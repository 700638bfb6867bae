// The ways back of aggregation, by the transposed edges: each source sums what reaches it, in ascending order
// of edges, so that no two threads add to one number. The epilogue below is gone through in the same pass.
#include "engine/compute/cuda/aggregate.h"
#include "engine/compute/cuda/edge_scales.cuh"
#include "engine/compute/cuda/epilogue.cuh"
#include "engine/compute/cuda/launch.cuh"

namespace gneiss::cuda {
namespace {

// What a gradient is multiplied by on its way from a destination, and from a source's own row.
struct MeanWayBack {
  Block block;
  __device__ float edge(std::uint32_t /*src*/, std::uint32_t dst) const {
    return 1.0F / static_cast<float>(block.degree(dst));
  }
  __device__ float self(std::uint32_t /*src*/) const { return 1.0F; }
};
struct SumWayBack {
  Scales scales;
  __device__ float edge(std::uint32_t src, std::uint32_t dst) const {
    const float scale = scales.destination(dst);
    return scale * scales.source(src, scale);
  }
  __device__ float self(std::uint32_t src) const { return scales.destination(src) * scales.self(src); }
};

template <unsigned N, class WayBack>
__global__ void weighted_gradient_kernel(Block block, WayBack back, ConstFloatMatrix d_aggregate,
                                         ConstFloatMatrix d_self, ConstFloatMatrix activated, Finish finish,
                                         FloatMatrix dz) {
  const std::uint32_t src = blockIdx.x * blockDim.y + threadIdx.y;
  if (src >= block.src_count) return;
  const std::uint32_t first = block.transposed_indptr[src];
  const std::uint32_t last = block.transposed_indptr[src + 1];
  const std::uint32_t row_key = finish.masks.row_key(src);
  for (std::uint32_t c = threadIdx.x * N; c < dz.columns; c += blockDim.x * N) {
    Floats<N> sum = Floats<N>::all(0.0F);
    if (src < block.dst_count) sum = times(load<N>(d_self.row(src) + c), back.self(src));
    for (std::uint32_t edge = first; edge < last; edge += rows_ahead) {
      const std::uint32_t count = min(rows_ahead, last - edge);
      Floats<N> x[rows_ahead];
      float factor[rows_ahead];
      for (std::uint32_t i = 0; i < rows_ahead; ++i) {
        if (i >= count) continue;
        const std::uint32_t dst = block.transposed_indices[edge + i];
        x[i] = load<N>(d_aggregate.row(dst) + c);
        factor[i] = back.edge(src, dst);
      }
      for (std::uint32_t i = 0; i < rows_ahead; ++i) {
        if (i < count) add_to(sum, x[i], factor[i]);
      }
    }
    store(finish.apply_gradient(sum, load<N>(activated.row(src) + c), row_key, c), dz.row(src) + c);
  }
}

template <unsigned N>
__global__ void max_gradient_kernel(Block block, Matrix<const std::uint32_t> winners,
                                    ConstFloatMatrix d_aggregate, ConstFloatMatrix d_self,
                                    ConstFloatMatrix activated, Finish finish, FloatMatrix dz) {
  const std::uint32_t src = blockIdx.x * blockDim.y + threadIdx.y;
  if (src >= block.src_count) return;
  const std::uint32_t first = block.transposed_indptr[src];
  const std::uint32_t last = block.transposed_indptr[src + 1];
  const std::uint32_t row_key = finish.masks.row_key(src);
  for (std::uint32_t c = threadIdx.x * N; c < dz.columns; c += blockDim.x * N) {
    Floats<N> sum = Floats<N>::all(0.0F);
    if (src < block.dst_count) sum = load<N>(d_self.row(src) + c);
    std::uint32_t before = no_source;
    for (std::uint32_t edge = first; edge < last; ++edge) {
      const std::uint32_t dst = block.transposed_indices[edge];
      // An edge that was drawn twice carries its destination's gradient once.
      if (dst == before) continue;
      before = dst;
      const Floats<N> gradient = load<N>(d_aggregate.row(dst) + c);
      for (unsigned i = 0; i < N; ++i) {
        if (winners.row(dst)[c + i] == src) sum.at[i] += gradient.at[i];
      }
    }
    store(finish.apply_gradient(sum, load<N>(activated.row(src) + c), row_key, c), dz.row(src) + c);
  }
}

VectorWidth width_of(ConstMatrixView d_aggregate, ConstMatrixView d_self, ConstMatrixView activated,
                     MatrixView dz) {
  VectorWidth width;
  width.matrix(d_aggregate);
  width.matrix(d_self);
  width.matrix(activated);
  width.matrix(dz);
  return width;
}

template <class WayBack>
void weighted_gradient(cudaStream_t stream, const BlockView& block, const WayBack& back,
                       ConstMatrixView d_aggregate, ConstMatrixView d_self, ConstMatrixView activated,
                       const Epilogue& epilogue, MatrixView dz) {
  with_width(width_of(d_aggregate, d_self, activated, dz), [&]<unsigned N>() {
    launch(stream, row_grid(dz.rows, dz.columns, N), weighted_gradient_kernel<N, WayBack>, Block(block), back,
           ConstFloatMatrix(d_aggregate), ConstFloatMatrix(d_self), ConstFloatMatrix(activated),
           Finish(epilogue), FloatMatrix(dz));
  });
}

}  // namespace

void aggregate_mean_gradient(cudaStream_t stream, const BlockView& block, ConstMatrixView d_aggregate,
                             ConstMatrixView d_self, ConstMatrixView activated, const Epilogue& epilogue,
                             MatrixView dz) {
  weighted_gradient(stream, block, MeanWayBack{Block(block)}, d_aggregate, d_self, activated, epilogue, dz);
}

void aggregate_sum_gradient(cudaStream_t stream, const BlockView& block, const EdgeScales& scales,
                            ConstMatrixView d_aggregate, ConstMatrixView activated, const Epilogue& epilogue,
                            MatrixView dz) {
  weighted_gradient(stream, block, SumWayBack{Scales(scales)}, d_aggregate, d_aggregate, activated, epilogue,
                    dz);
}

void aggregate_max_gradient(cudaStream_t stream, const BlockView& block, ConstIndexMatrixView winners,
                            ConstMatrixView d_aggregate, ConstMatrixView d_self, ConstMatrixView activated,
                            const Epilogue& epilogue, MatrixView dz) {
  with_width(width_of(d_aggregate, d_self, activated, dz), [&]<unsigned N>() {
    launch(stream, row_grid(dz.rows, dz.columns, N), max_gradient_kernel<N>, Block(block),
           Matrix<const std::uint32_t>(winners), ConstFloatMatrix(d_aggregate), ConstFloatMatrix(d_self),
           ConstFloatMatrix(activated), Finish(epilogue), FloatMatrix(dz));
  });
}

}  // namespace gneiss::cuda
