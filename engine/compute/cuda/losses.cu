// Losses in three steps: what all rows weigh, which every row's gradient is divided by; the rows, in parts
// that their number decides; the parts, in order. Nothing is added in the order in which threads come by.
#include "engine/compute/batch_view.h"
#include "engine/compute/cuda/launch.cuh"
#include "engine/compute/cuda/losses.h"
#include "engine/compute/cuda/views.cuh"

namespace gneiss::cuda {
namespace {

constexpr unsigned warp_threads = 32;
constexpr unsigned all_lanes = 0xFFFFFFFFU;
constexpr unsigned row_warps = 4;  // a block's, each on its own row

// A plain LossSum: its members' first values would make shared memory of it impossible.
struct Sum {
  double loss;
  double weight;
  unsigned long long labelled;
  unsigned long long correct;
};
static_assert(sizeof(Sum) == sizeof(LossSum));

__device__ Sum plus(const Sum& a, const Sum& b) {
  return {a.loss + b.loss, a.weight + b.weight, a.labelled + b.labelled, a.correct + b.correct};
}

// The sums of a block's threads, in a tree whose shape is the block's; the first thread has it.
template <unsigned Threads>
__device__ Sum block_sum(Sum sum) {
  __shared__ Sum sums[Threads];
  sums[threadIdx.x] = sum;
  for (unsigned half = Threads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] = plus(sums[threadIdx.x], sums[threadIdx.x + half]);
  }
  __syncthreads();
  return sums[0];
}

__device__ float warp_max(float value) {
  for (unsigned half = warp_threads / 2; half > 0; half /= 2) {
    value = fmaxf(value, __shfl_xor_sync(all_lanes, value, half));
  }
  return value;
}
__device__ unsigned warp_min(unsigned value) {
  for (unsigned half = warp_threads / 2; half > 0; half /= 2) {
    value = min(value, __shfl_xor_sync(all_lanes, value, half));
  }
  return value;
}
template <class T>
__device__ T warp_sum(T value) {
  for (unsigned half = warp_threads / 2; half > 0; half /= 2) {
    value += __shfl_xor_sync(all_lanes, value, half);
  }
  return value;
}

__global__ void weigh_classes_kernel(const std::int32_t* targets, std::uint32_t count, const float* weights,
                                     Sum* total) {
  Sum sum{};
  for (std::uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
    const std::int32_t target = targets[i];
    if (target == no_label) continue;
    ++sum.labelled;
    sum.weight += weights == nullptr ? 1.0 : static_cast<double>(weights[target]);
  }
  sum = block_sum<block_threads>(sum);
  if (threadIdx.x == 0) *total = sum;
}

struct Labels {
  const std::uint8_t* entries;
  const std::int32_t* classes;

  explicit Labels(const BinaryLabels& labels)
      : entries(data_or_null(labels.entries)), classes(data_or_null(labels.classes)) {}
  // 0 or 1, or above 1 where there is none.
  __device__ unsigned at(std::size_t i) const {
    return entries != nullptr ? entries[i] : static_cast<unsigned>(classes[i]);
  }
};

__global__ void weigh_entries_kernel(Labels labels, std::size_t count, Sum* total) {
  Sum sum{};
  for (std::size_t i = threadIdx.x; i < count; i += blockDim.x) sum.labelled += labels.at(i) <= 1 ? 1 : 0;
  sum.weight = static_cast<double>(sum.labelled);
  sum = block_sum<block_threads>(sum);
  if (threadIdx.x == 0) *total = sum;
}

struct Classes {
  const float* weights = nullptr;
  float smoothing = 0;
  __device__ float weight(std::uint32_t c) const { return weights == nullptr ? 1.0F : weights[c]; }
};

// One row, by a warp: its loss and whether the largest logit is the label; the gradient where it is wanted.
__device__ Sum row_cross_entropy(const float* row, std::uint32_t columns, std::uint32_t target,
                                 const Classes& classes, float gradient_scale, float* gradient) {
  const unsigned lane = threadIdx.x % warp_threads;
  float largest = -INFINITY;
  for (std::uint32_t c = lane; c < columns; c += warp_threads) largest = fmaxf(largest, row[c]);
  largest = warp_max(largest);
  unsigned best = columns;  // the first of equals
  float sum = 0;
  double spread = 0;  // of all columns alike
  float spread_weight = 0;
  for (std::uint32_t c = lane; c < columns; c += warp_threads) {
    if (row[c] == largest) best = min(best, c);
    sum += expf(row[c] - largest);
    if (classes.smoothing > 0) {
      spread += static_cast<double>(classes.weight(c)) * static_cast<double>(largest - row[c]);
      spread_weight += classes.weight(c);
    }
  }
  best = warp_min(best);
  sum = warp_sum(sum);
  const double log_sum = log(static_cast<double>(sum));
  const float target_weight = (1.0F - classes.smoothing) * classes.weight(target);
  Sum result{};
  result.loss = static_cast<double>(target_weight) *
                (log_sum + static_cast<double>(largest) - static_cast<double>(row[target]));
  result.correct = best == target ? 1 : 0;
  const float spread_share = classes.smoothing / static_cast<float>(columns);
  if (classes.smoothing > 0) {
    spread = warp_sum(spread);
    spread_weight = warp_sum(spread_weight);
    result.loss +=
        static_cast<double>(spread_share) * (spread + static_cast<double>(spread_weight) * log_sum);
  }
  if (gradient == nullptr) return result;
  const float factor = gradient_scale * (target_weight + spread_weight * spread_share) / sum;
  for (std::uint32_t c = lane; c < columns; c += warp_threads) {
    float g = expf(row[c] - largest) * factor;
    if (c == target) g -= gradient_scale * target_weight;
    if (classes.smoothing > 0) g -= gradient_scale * spread_share * classes.weight(c);
    gradient[c] = g;
  }
  return result;
}

__device__ float gradient_scale_of(const Sum& total) {
  return total.weight > 0 ? 1.0F / static_cast<float>(total.weight) : 0.0F;
}

__global__ void cross_entropy_kernel(ConstFloatMatrix logits, const std::int32_t* targets, Classes classes,
                                     std::uint32_t part_rows, FloatMatrix gradient, const Sum* total,
                                     Sum* parts) {
  const unsigned warp = threadIdx.x / warp_threads;
  const unsigned lane = threadIdx.x % warp_threads;
  const std::uint32_t first = blockIdx.x * part_rows;
  const std::uint32_t last = min(logits.rows, first + part_rows);
  const float scale = gradient_scale_of(*total);
  Sum sum{};
  for (std::uint32_t r = first + warp; r < last; r += row_warps) {
    float* row_gradient = gradient.data == nullptr ? nullptr : gradient.row(r);
    if (targets[r] == no_label) {
      if (row_gradient == nullptr) continue;
      for (std::uint32_t c = lane; c < logits.columns; c += warp_threads) row_gradient[c] = 0.0F;
      continue;
    }
    const Sum row = row_cross_entropy(logits.row(r), logits.columns, static_cast<std::uint32_t>(targets[r]),
                                      classes, scale, row_gradient);
    if (lane == 0) sum = plus(sum, row);
  }
  sum = block_sum<row_warps * warp_threads>(sum);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

__global__ void binary_cross_entropy_kernel(ConstFloatMatrix logits, Labels labels, std::uint32_t part_rows,
                                            FloatMatrix gradient, const Sum* total, Sum* parts) {
  const std::uint32_t first = blockIdx.x * part_rows;
  const std::uint32_t rows = min(logits.rows - first, part_rows);
  const float scale = gradient_scale_of(*total);
  Sum sum{};
  for (std::size_t i = threadIdx.x; i < std::size_t{rows} * logits.columns; i += blockDim.x) {
    const std::size_t r = first + i / logits.columns;
    const std::size_t c = i % logits.columns;
    const unsigned label = labels.at(r * logits.columns + c);
    float g = 0;
    if (label <= 1) {
      const float x = logits.row(r)[c];
      const auto y = static_cast<float>(label);
      // exp(-|x|) never overflows, see the CPU's kernel.
      const float e = expf(-fabsf(x));
      sum.loss += static_cast<double>(fmaxf(x, 0.0F) - x * y + log1pf(e));
      if (x != x) sum.loss = static_cast<double>(x);  // fmaxf() would hide it
      sum.correct += (x > 0.0F) == (label == 1) ? 1 : 0;
      g = ((x > 0.0F ? 1.0F : e) / (1.0F + e) - y) * scale;
    }
    if (gradient.data != nullptr) gradient.row(r)[c] = g;
  }
  sum = block_sum<row_warps * warp_threads>(sum);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

__global__ void total_kernel(const Sum* total, const Sum* parts, std::uint32_t part_count, Sum* result) {
  Sum sum{};
  for (std::uint32_t p = threadIdx.x; p < part_count; p += blockDim.x) sum = plus(sum, parts[p]);
  sum = block_sum<block_threads>(sum);
  if (threadIdx.x != 0) return;
  sum.weight = total->weight;
  sum.labelled = total->labelled;
  *result = sum;
}

Sum* plain(LossSum* sum) { return reinterpret_cast<Sum*>(sum); }

struct RowParts {
  std::uint32_t rows;
  std::uint32_t count;

  explicit RowParts(std::size_t all_rows)
      : rows(static_cast<std::uint32_t>(
            std::max<std::uint64_t>(row_warps, divide_up(all_rows, loss_part_count)))),
        count(static_cast<std::uint32_t>(divide_up(all_rows, rows))) {}
  Grid grid() const { return {dim3(count), dim3(row_warps * warp_threads)}; }
};

const Grid one_block{dim3(1), dim3(block_threads)};

}  // namespace

void cross_entropy(cudaStream_t stream, ConstMatrixView logits, std::span<const std::int32_t> targets,
                   const ClassWeighting& classes, MatrixView gradient, const LossScratch& scratch,
                   LossSum* result) {
  const RowParts parts(logits.rows);
  launch(stream, one_block, weigh_classes_kernel, targets.data(), static_cast<std::uint32_t>(targets.size()),
         data_or_null(classes.weights), plain(scratch.total));
  launch(stream, parts.grid(), cross_entropy_kernel, ConstFloatMatrix(logits), targets.data(),
         Classes{data_or_null(classes.weights), classes.smoothing}, parts.rows, FloatMatrix(gradient),
         plain(scratch.total), plain(scratch.parts));
  launch(stream, one_block, total_kernel, plain(scratch.total), plain(scratch.parts), parts.count,
         plain(result));
}

void binary_cross_entropy(cudaStream_t stream, ConstMatrixView logits, const BinaryLabels& labels,
                          MatrixView gradient, const LossScratch& scratch, LossSum* result) {
  const RowParts parts(logits.rows);
  launch(stream, one_block, weigh_entries_kernel, Labels(labels), logits.rows * logits.columns,
         plain(scratch.total));
  launch(stream, parts.grid(), binary_cross_entropy_kernel, ConstFloatMatrix(logits), Labels(labels),
         parts.rows, FloatMatrix(gradient), plain(scratch.total), plain(scratch.parts));
  launch(stream, one_block, total_kernel, plain(scratch.total), plain(scratch.parts), parts.count,
         plain(result));
}

}  // namespace gneiss::cuda
