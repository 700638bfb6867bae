#include <cmath>

#include "engine/compute/cuda/elements.h"
#include "engine/compute/cuda/epilogue.cuh"
#include "engine/compute/cuda/launch.cuh"

namespace gneiss::cuda {
namespace {

template <unsigned N>
__global__ void epilogue_kernel(Finish finish, FloatMatrix values) {
  const std::uint32_t row = blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= values.rows) return;
  const std::uint32_t row_key = finish.masks.row_key(row);
  for (std::uint32_t c = threadIdx.x * N; c < values.columns; c += blockDim.x * N) {
    float* p = values.row(row) + c;
    store(finish.apply(load<N>(p), row_key, c), p);
  }
}

template <unsigned N>
__global__ void epilogue_gradient_kernel(Finish finish, ConstFloatMatrix activated, FloatMatrix gradient) {
  const std::uint32_t row = blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= gradient.rows) return;
  const std::uint32_t row_key = finish.masks.row_key(row);
  for (std::uint32_t c = threadIdx.x * N; c < gradient.columns; c += blockDim.x * N) {
    float* p = gradient.row(row) + c;
    store(finish.apply_gradient(load<N>(p), load<N>(activated.row(row) + c), row_key, c), p);
  }
}

template <unsigned N>
__global__ void add_kernel(ConstFloatMatrix x, FloatMatrix out) {
  const std::uint32_t row = blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= out.rows) return;
  for (std::uint32_t c = threadIdx.x * N; c < out.columns; c += blockDim.x * N) {
    Floats<N> sum = load<N>(out.row(row) + c);
    add_to(sum, load<N>(x.row(row) + c));
    store(sum, out.row(row) + c);
  }
}

__global__ void zero_kernel(FloatMatrix values) {
  const std::uint32_t row = blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= values.rows) return;
  for (std::uint32_t c = threadIdx.x; c < values.columns; c += blockDim.x) values.row(row)[c] = 0.0F;
}

// What all elements of a step share, worked out in f64 as on the CPU.
struct AdamFactors {
  float rate, root2, epsilon, beta1, beta2, rest1, rest2, l2, keep;
};

__global__ void adam_kernel(AdamFactors f, std::size_t count, float* values, const float* gradients,
                            float* first_moments, float* second_moments) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x) {
    const float w = values[i];
    const float g = fmaf(w, f.l2, gradients[i]);
    const float m = fmaf(g, f.rest1, first_moments[i] * f.beta1);
    const float v = fmaf(g * g, f.rest2, second_moments[i] * f.beta2);
    first_moments[i] = m;
    second_moments[i] = v;
    values[i] = w * f.keep - f.rate * m / (sqrtf(v) / f.root2 + f.epsilon);
  }
}

// Part p sums the elements p * part_size and on; a block's threads stride over them, and their sums meet in a
// tree whose shape is the block's.
__global__ void square_sums_kernel(const float* values, std::size_t count, std::size_t part_size,
                                   double* parts) {
  __shared__ double sums[block_threads];
  const std::size_t first = blockIdx.x * part_size;
  const std::size_t last = first + part_size < count ? first + part_size : count;
  double sum = 0;
  for (std::size_t i = first + threadIdx.x; i < last; i += blockDim.x) {
    sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  sums[threadIdx.x] = sum;
  for (unsigned half = block_threads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) parts[blockIdx.x] = sums[0];
}

__global__ void norm_kernel(const double* parts, double* norm) {
  double squares = 0;
  for (unsigned p = 0; p < norm_part_count; ++p) squares += parts[p];
  *norm = sqrt(squares);
}

__global__ void clip_kernel(float* values, std::size_t count, double norm_max, const double* norm) {
  const double factor = norm_max / (*norm + 1e-6);
  // Written so that a norm that is not finite leaves its mark on the values, as in PyTorch.
  if (factor >= 1.0) return;
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x) {
    values[i] *= static_cast<float>(factor);
  }
}

}  // namespace

void apply_epilogue(cudaStream_t stream, const Epilogue& epilogue, MatrixView values) {
  const Finish finish(epilogue);
  if (finish.does_nothing()) return;
  VectorWidth width;
  width.matrix(values);
  with_width(width, [&]<unsigned N>() {
    launch(stream, row_grid(values.rows, values.columns, N), epilogue_kernel<N>, finish, FloatMatrix(values));
  });
}

void epilogue_gradient(cudaStream_t stream, ConstMatrixView activated, const Epilogue& epilogue,
                       MatrixView gradient) {
  VectorWidth width;
  width.matrix(activated);
  width.matrix(gradient);
  with_width(width, [&]<unsigned N>() {
    launch(stream, row_grid(gradient.rows, gradient.columns, N), epilogue_gradient_kernel<N>,
           Finish(epilogue), ConstFloatMatrix(activated), FloatMatrix(gradient));
  });
}

void add(cudaStream_t stream, ConstMatrixView x, MatrixView out) {
  VectorWidth width;
  width.matrix(x);
  width.matrix(out);
  with_width(width, [&]<unsigned N>() {
    launch(stream, row_grid(out.rows, out.columns, N), add_kernel<N>, ConstFloatMatrix(x), FloatMatrix(out));
  });
}

void fill_zero(cudaStream_t stream, MatrixView values) {
  launch(stream, row_grid(values.rows, values.columns, 1), zero_kernel, FloatMatrix(values));
}

void adam(cudaStream_t stream, const AdamStep& step, std::span<float> values,
          std::span<const float> gradients, std::span<float> first_moments, std::span<float> second_moments) {
  const auto count = static_cast<double>(step.step);
  const double correction1 = 1.0 - std::pow(static_cast<double>(step.beta1), count);
  const double correction2 = 1.0 - std::pow(static_cast<double>(step.beta2), count);
  const AdamFactors factors{.rate = static_cast<float>(static_cast<double>(step.learning_rate) / correction1),
                            .root2 = static_cast<float>(std::sqrt(correction2)),
                            .epsilon = step.epsilon,
                            .beta1 = step.beta1,
                            .beta2 = step.beta2,
                            .rest1 = 1.0F - step.beta1,
                            .rest2 = 1.0F - step.beta2,
                            .l2 = step.is_decoupled ? 0.0F : step.weight_decay,
                            .keep = step.is_decoupled ? 1.0F - step.learning_rate * step.weight_decay : 1.0F};
  launch(stream, flat_grid(values.size()), adam_kernel, factors, values.size(), values.data(),
         gradients.data(), first_moments.data(), second_moments.data());
}

void clip_norm(cudaStream_t stream, std::span<float> values, double norm_max, double* parts, double* norm) {
  const std::size_t part_size = divide_up(values.size(), norm_part_count);
  launch(stream, {dim3(norm_part_count), dim3(block_threads)}, square_sums_kernel, values.data(),
         values.size(), part_size, parts);
  launch(stream, {dim3(1), dim3(1)}, norm_kernel, parts, norm);
  launch(stream, flat_grid(values.size()), clip_kernel, values.data(), values.size(), norm_max, norm);
}

}  // namespace gneiss::cuda
