// The softmax over a destination's entries, and its way back. A warp has a destination; its lanes lie over
// heads first, side by side in memory, then over entries. Each lane meets the same entries in every pass, so
// that what it has written is its own to read again.
#include <limits>

#include "engine/compute/cuda/attention_entries.cuh"
#include "engine/compute/cuda/attention_steps.h"
#include "engine/compute/cuda/lanes.cuh"
#include "engine/compute/cuda/launch.cuh"

namespace gneiss::cuda {
namespace {

// What a lane does of a destination: one head, and every `step`th entry. A lane past the last head has no
// entries, and takes part in the sums only.
class Share {
 public:
  // `head_lanes`: over how many lanes heads lie, a power of two.
  __device__ Share(const Entries& entries, const ConstFloatMatrix& scores, const Rule& rule,
                   std::uint32_t head_lanes, std::uint32_t first_head)
      : entries_(entries),
        scores_(scores),
        rule_(rule),
        heads_(scores.columns / 2),
        head_lanes_(head_lanes),
        head_(first_head + threadIdx.x % head_lanes),
        end_(head_ < heads_ ? entries.count : 0),
        own_score_(end_ == 0 ? 0.0F : scores.row(entries.own_row)[heads_ + head_]),
        row_key_(rule.masks.row_key(entries.dst)) {}

  template <class Work>
  __device__ __forceinline__ void for_entries(const Work& work) const {
    const std::uint32_t step = warp_lanes / head_lanes_;
    for (std::uint32_t entry = threadIdx.x / head_lanes_; entry < end_; entry += step) work(entry);
  }
  // Before the leaky ReLU.
  __device__ float score(std::uint32_t entry) const {
    return scores_.row(entries_.source(entry))[head_] + own_score_;
  }
  __device__ float weight_per_share(std::uint32_t entry) const {
    return rule_.weight_per_share(row_key_, entry * heads_ + head_);
  }
  template <class T>
  __device__ T& value(const EdgeMatrices<T>& all, std::uint32_t entry) const {
    return entries_.values(all, entry)[head_];
  }
  // Over all lanes with this one's head.
  __device__ float sum(float x) const { return sum_of_same_lanes(x, head_lanes_); }
  __device__ float max(float x) const { return max_of_same_lanes(x, head_lanes_); }
  __device__ std::uint32_t head() const { return head_; }
  __device__ bool is_first() const { return threadIdx.x < head_lanes_ && head_ < heads_; }

 private:
  const Entries& entries_;
  const ConstFloatMatrix& scores_;
  const Rule& rule_;
  std::uint32_t heads_;
  std::uint32_t head_lanes_;
  std::uint32_t head_;
  std::uint32_t end_;
  float own_score_;
  std::uint32_t row_key_;
};

__global__ void softmax_kernel(Block block, ConstFloatMatrix scores, Rule rule, std::uint32_t head_lanes,
                               EdgeMatrices<float> shares, EdgeMatrices<float> weights) {
  const std::uint32_t dst = blockIdx.x * blockDim.y + threadIdx.y;
  if (dst >= block.dst_count) return;
  const Entries entries(block, dst);
  for (std::uint32_t first_head = 0; first_head < shares.heads(); first_head += head_lanes) {
    const Share mine(entries, scores, rule, head_lanes, first_head);
    float largest = -std::numeric_limits<float>::infinity();
    mine.for_entries([&](std::uint32_t entry) {
      const float score = mine.score(entry);
      const float leaky = score * rule.slope(score);
      mine.value(shares, entry) = leaky;
      if (!entries.is_skipped(entry)) largest = fmaxf(largest, leaky);
    });
    largest = mine.max(largest);
    float sum = 0;
    mine.for_entries([&](std::uint32_t entry) {
      float& share = mine.value(shares, entry);
      share = entries.is_skipped(entry) ? 0.0F : expf(share - largest);
      sum += share;
    });
    sum = mine.sum(sum);  // 1 or more: the largest's exponential is among them
    mine.for_entries([&](std::uint32_t entry) {
      const float share = mine.value(shares, entry) / sum;
      mine.value(shares, entry) = share;
      mine.value(weights, entry) = share * mine.weight_per_share(entry);
    });
  }
}

__global__ void softmax_gradient_kernel(Block block, ConstFloatMatrix scores, Rule rule,
                                        std::uint32_t head_lanes, EdgeMatrices<const float> shares,
                                        std::uint32_t first_dst, std::uint32_t count,
                                        EdgeMatrices<float> gradient, FloatMatrix d_destination) {
  const std::uint32_t index = blockIdx.x * blockDim.y + threadIdx.y;
  if (index >= count) return;
  const Entries entries(block, first_dst + index);
  for (std::uint32_t first_head = 0; first_head < shares.heads(); first_head += head_lanes) {
    const Share mine(entries, scores, rule, head_lanes, first_head);
    float mean = 0;  // of the shares' gradients, each by its share
    mine.for_entries([&](std::uint32_t entry) {
      float& value = mine.value(gradient, entry);
      value *= mine.weight_per_share(entry);
      mean = fmaf(mine.value(shares, entry), value, mean);
    });
    mean = mine.sum(mean);
    float sum = 0;
    mine.for_entries([&](std::uint32_t entry) {
      float& value = mine.value(gradient, entry);
      value = mine.value(shares, entry) * (value - mean) * rule.slope(mine.score(entry));
      sum += value;
    });
    sum = mine.sum(sum);
    if (mine.is_first()) d_destination.row(entries.dst)[mine.head()] = sum;
  }
}

std::uint32_t head_lanes(ConstMatrixView scores) {
  return static_cast<std::uint32_t>(std::min<std::size_t>(warp_lanes, std::bit_ceil(scores.columns / 2)));
}

}  // namespace

void attention_softmax(cudaStream_t stream, const BlockView& block, ConstMatrixView scores,
                       const AttentionRule& rule, const EdgeValues& shares, const EdgeValues& weights) {
  launch(stream, warp_grid(block.dst_count), softmax_kernel, Block(block), ConstFloatMatrix(scores),
         Rule(rule), head_lanes(scores), EdgeMatrices<float>(shares), EdgeMatrices<float>(weights));
}

void attention_softmax_gradient(cudaStream_t stream, const BlockView& block, ConstMatrixView scores,
                                const AttentionRule& rule, const ConstEdgeValues& shares,
                                std::size_t first_dst, std::size_t count, const EdgeValues& gradient,
                                MatrixView d_destination) {
  launch(stream, warp_grid(count), softmax_gradient_kernel, Block(block), ConstFloatMatrix(scores),
         Rule(rule), head_lanes(scores), EdgeMatrices<const float>(shares), first_dst, count,
         EdgeMatrices<float>(gradient), FloatMatrix(d_destination));
}

}  // namespace gneiss::cuda
