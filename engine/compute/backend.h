// The operators that models are written over; a backend supplies them for one kind of device.
//
// Why:     forward and backward of every model exist once; CPU and CUDA differ only below this line.
// Threads: one thread calls; the work inside is spread over the backend's own threads.
// Memory:  operators allocate nothing; allocate() is for construction. All views lie on device().
// Order:   every reduction has a fixed shape: results are the same to the bit for any thread count.
// Shapes:  `x[n, k]` is a MatrixView of n rows and k columns. Preconditions are asserted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "engine/compute/activation.h"
#include "engine/compute/block_view.h"
#include "engine/compute/dropout.h"
#include "engine/compute/matrix_view.h"
#include "engine/compute/precision.h"
#include "engine/compute/tensor_view.h"
#include "engine/compute/tiered_rows.h"

namespace gneiss {

class AttentionOperators;
class Backend;
class HalfOperators;
class NormOperators;

// Memory of the host that its backend's device reads and writes by itself, and that a CUDA backend pins:
// where results arrive while the host goes on. Owned here, zeroed once, moved and never copied.
class HostMemory {
 public:
  HostMemory() = default;
  HostMemory(Backend& backend, std::byte* data, std::size_t bytes)
      : data_(data, Release{&backend}), bytes_(bytes) {}
  std::span<std::byte> bytes() const noexcept { return {data_.get(), bytes_}; }
  template <class T>
  std::span<T> as() const noexcept {
    return {reinterpret_cast<T*>(data_.get()), bytes_ / sizeof(T)};
  }

 private:
  struct Release {
    Backend* backend;
    void operator()(std::byte* data) const noexcept;
  };
  std::unique_ptr<std::byte, Release> data_;
  std::size_t bytes_ = 0;
};

// Memory on a backend's device: owned here, zeroed once, moved and never copied.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Backend& backend, float* data, std::size_t count) : data_(data, Release{&backend}), count_(count) {}
  float* data() const noexcept { return data_.get(); }
  std::size_t size() const noexcept { return count_; }
  std::span<float> span() const noexcept { return {data_.get(), count_}; }
  // The first rows * columns elements as a matrix.
  MatrixView matrix(std::size_t rows, std::size_t columns) const {
    GNEISS_ASSERT(rows * columns <= count_);
    return {data_.get(), rows, columns};
  }
  // The same memory for indices: a u32 is as large as an f32.
  IndexMatrixView index_matrix(std::size_t rows, std::size_t columns) const {
    static_assert(sizeof(std::uint32_t) == sizeof(float));
    GNEISS_ASSERT(rows * columns <= count_);
    return {reinterpret_cast<std::uint32_t*>(data_.get()), rows, columns};
  }
  // The same memory for numbers of 16 bits, from number `first` on.
  BasicMatrixView<std::uint16_t> half_matrix(std::size_t first, std::size_t rows, std::size_t columns,
                                             std::size_t stride) const {
    GNEISS_ASSERT(first + rows * stride <= 2 * count_);
    return {reinterpret_cast<std::uint16_t*>(data_.get()) + first, rows, columns, stride};
  }

 private:
  struct Release {
    Backend* backend;  // no initializer: unique_ptr must be able to make an empty one
    void operator()(float* data) const noexcept;
  };
  std::unique_ptr<float, Release> data_;
  std::size_t count_ = 0;
};

inline constexpr std::uint32_t no_source = 0xFFFFFFFFU;

// What follows a product, element by element: + bias, activation, dropout.
struct Epilogue {
  std::span<const float> bias{};  // [columns]; empty: none
  Activation activation = Activation::none;
  Dropout dropout{};
  std::size_t first_column = 0;  // in dropout's masks: where these columns begin in a wider matrix
};

// What aggregate_sum gives an edge s -> d and the destination's own row. Products of a factor per source and
// one per destination, so that the way back needs no weight per edge. An empty span is all ones.
//   edge  source[s] * destination[d]; where source[s] is 0, s is unknown and destination[d] stands for it
//   self  self[d] * destination[d]
struct EdgeScales {
  std::span<const float> destination{};  // [dst_count]
  std::span<const float> source{};       // [src_count]
  std::span<const float> self{};         // [dst_count]
};

// How cross-entropy weighs classes: the arguments of PyTorch's CrossEntropyLoss.
struct ClassWeighting {
  std::span<const float> weights{};  // [classes], 0 or more; empty: all ones
  float smoothing = 0;               // the share of each target that all classes get alike, 0 to 1
};

// What binary cross-entropy learns, 0 or 1 and else no label: entries of columns, or classes of one column.
struct BinaryLabels {
  std::span<const std::uint8_t> entries{};  // [n * columns], row after row
  std::span<const std::int32_t> classes{};  // [n], where there are no entries
};

struct LossSum {
  double loss = 0;                   // the sum; divide by `weight` for the mean
  double weight = 0;                 // of what has a label; their number, unless classes have weights
  std::uint64_t labelled_count = 0;  // rows, or entries of several columns
  // The largest logit (the first of equals) is the label; of binary entries: the logit is above 0 where it
  // is 1.
  std::uint64_t correct_count = 0;

  double mean() const noexcept { return weight > 0 ? loss / weight : 0; }
};

// One step of Adam over flat arrays; see Optimizer for what the numbers mean.
struct AdamStep {
  float learning_rate = 0;
  float beta1 = 0;
  float beta2 = 0;
  float epsilon = 0;
  float weight_decay = 0;
  bool is_decoupled = false;  // AdamW: decay the weight; Adam: add the decay to the gradient
  std::uint64_t step = 1;     // from 1: corrects the bias of the moments
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const noexcept = 0;
  virtual Device device() const noexcept = 0;
  virtual Precision precision() const noexcept = 0;  // of matrix products
  // The most that products with weights [out_columns, in_columns] keep besides the buffers, for --memory.
  virtual std::uint64_t working_bytes(std::size_t in_columns, std::size_t out_columns) const noexcept = 0;

  // Throws Error(io) when the device has no such memory left.
  virtual Buffer allocate(std::size_t count) = 0;
  virtual void release(float* data) noexcept = 0;
  // Both are done when they return, and so is all that was asked for before.
  virtual void copy_in(std::span<const float> host, float* device_data) = 0;
  virtual void copy_out(const float* device_data, std::span<float> host) = 0;

  // Operators may return before they are done. What they leave in host memory is there once wait() has
  // returned for a mark that was made after them; the device's own memory needs no such care.
  virtual HostMemory allocate_host(std::size_t bytes) = 0;
  virtual void release_host(std::byte* data) noexcept = 0;
  virtual void copy_out_later(ConstMatrixView device_matrix, MatrixView host) = 0;  // in allocate_host()'s
  using Mark = std::uint64_t;
  virtual Mark mark() = 0;
  virtual void wait(Mark mark) = 0;  // throws Error(io) where an operator before it has failed

  // out[d] = mean over neighbors s of rows[s], 0 where d has none. out[dst_count, rows.columns].
  virtual void aggregate_mean(const TieredRows& rows, const BlockView& block, MatrixView out) = 0;

  // out[d, c] = the largest rows[s, c] among neighbors s, 0 where d has none. out[dst_count, rows.columns].
  //   winners  [dst_count, rows.columns]: the s it came from, the first of equals; no_source where d has no
  //            neighbor. A view with no rows: not wanted
  virtual void aggregate_max(const TieredRows& rows, const BlockView& block, MatrixView out,
                             IndexMatrixView winners) = 0;

  // out[d] = weighted sum over neighbors s of rows[s]  +  weighted row of d itself; the weights are those of
  // `scales`. out[dst_count, rows.columns].
  virtual void aggregate_sum(const TieredRows& rows, const BlockView& block, const EdgeScales& scales,
                             MatrixView out) = 0;

  // The factors of GCN's symmetric normalization with one self-loop a node, where the degree of d is 1 + its
  // neighbors in the block. An edge d -> d of the graph is that self-loop, not a second one.
  //   destination  [dst_count]: 1 / sqrt(degree(d))
  //   source       [src_count], or empty: not wanted. destination[d] at the row of d, 0 at other sources
  virtual void symmetric_scales(const BlockView& block, std::span<float> destination,
                                std::span<float> source) = 0;
  // self[d] that makes all edges d -> d together, and the row of d, weigh as one edge: source[row of d] times
  // 1 - their number. source empty: ones.
  virtual void self_loop_scales(const BlockView& block, std::span<const float> source,
                                std::span<float> self) = 0;

  // out[i] = rows[row_ids[i]]; row_ids empty: rows[i], which may lie in `out` already. out[n, rows.columns].
  virtual void gather(const TieredRows& rows, std::span<const std::uint32_t> row_ids, MatrixView out) = 0;

  // out[n, m] = epilogue(x[n, k] . weight[m, k]^T)
  virtual void linear(ConstMatrixView x, ConstMatrixView weight, const Epilogue& epilogue,
                      MatrixView out) = 0;

  // out[n, m] = epilogue(out + x[n, k] . weight[m, k]^T)
  virtual void linear_add(ConstMatrixView x, ConstMatrixView weight, const Epilogue& epilogue,
                          MatrixView out) = 0;
  // out[n, m] += x[n, m]
  virtual void add(ConstMatrixView x, MatrixView out) = 0;
  // values[n, m] = epilogue(values), where a product alone could not have it
  virtual void apply_epilogue(const Epilogue& epilogue, MatrixView values) = 0;

  // weight_gradient[m, k] = dz[n, m]^T . x[n, k], bias_gradient[m] = column sums of dz (empty: not wanted).
  //   scratch  weight_gradient_scratch(n, m, k) elements or more, for partial products
  virtual void linear_weight_gradient(ConstMatrixView x, ConstMatrixView dz, MatrixView weight_gradient,
                                      std::span<float> bias_gradient, std::span<float> scratch) = 0;
  virtual std::size_t weight_gradient_scratch(std::size_t rows, std::size_t out_columns,
                                              std::size_t in_columns) const noexcept = 0;

  // weight_gradient[m, k] += dz[n, m]^T . x[n, k], for few rows: one thread's product
  virtual void add_outer_products(ConstMatrixView x, ConstMatrixView dz, MatrixView weight_gradient) = 0;

  // dx[n, k] = dz[n, m] . weight[m, k]
  virtual void linear_input_gradient(ConstMatrixView dz, ConstMatrixView weight, MatrixView dx) = 0;

  // The way back of aggregate_mean, of the self term and of the epilogue that made the sources, in one pass:
  //   g[s]  = sum over edges s -> d of d_aggregate[d] / degree(d)  +  (s < dst_count ? d_self[s] : 0)
  //   dz[s] = g[s] through the epilogue whose output was activated[s]
  // Precondition: block.is_transposed(), destinations are the prefix of sources; activated and dz are
  // [src_count, columns].
  virtual void aggregate_mean_gradient(const BlockView& block, ConstMatrixView d_aggregate,
                                       ConstMatrixView d_self, ConstMatrixView activated,
                                       const Epilogue& epilogue, MatrixView dz) = 0;

  // The way back of aggregate_max, of the self term and of the epilogue that made the sources, as above:
  //   g[s, c] = sum over the d that have the neighbor s and winners[d, c] = s of d_aggregate[d, c]
  //             +  (s < dst_count ? d_self[s, c] : 0)
  virtual void aggregate_max_gradient(const BlockView& block, ConstIndexMatrixView winners,
                                      ConstMatrixView d_aggregate, ConstMatrixView d_self,
                                      ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz) = 0;

  // The way back of aggregate_sum and of the epilogue that made the sources, as above:
  //   g[s] = sum over edges s -> d of weight(s -> d) * d_aggregate[d]
  //          +  (s < dst_count ? self weight(s) * d_aggregate[s] : 0)
  virtual void aggregate_sum_gradient(const BlockView& block, const EdgeScales& scales,
                                      ConstMatrixView d_aggregate, ConstMatrixView activated,
                                      const Epilogue& epilogue, MatrixView dz) = 0;

  // gradient[n, m], in place: dy becomes dz through the epilogue whose output was activated[n, m].
  virtual void epilogue_gradient(ConstMatrixView activated, const Epilogue& epilogue,
                                 MatrixView gradient) = 0;

  // Softmax cross-entropy over the rows whose target y is not no_label (-1), s being the smoothing:
  //   loss = sum over rows of -(1 - s) * weights[y] * log p[y]  -  s / classes * sum over c of weights[c] *
  //   log p[c] weight = sum over rows of weights[y]
  // gradient[n, classes] is the derivative of the mean; a view with no rows: not wanted.
  //   result  in host memory, see allocate_host()
  virtual void cross_entropy(ConstMatrixView logits, std::span<const std::int32_t> targets,
                             const ClassWeighting& classes, MatrixView gradient, LossSum& result) = 0;

  // Binary cross-entropy with logits, over the entries whose label y is 0 or 1.
  //   loss = sum over entries of log(1 + exp(x)) - x * y, weight = their number
  // gradient[n, columns] and result as above; 0 where there is no label.
  virtual void binary_cross_entropy(ConstMatrixView logits, const BinaryLabels& labels, MatrixView gradient,
                                    LossSum& result) = 0;

  // Scales `values` by norm_max / (norm + 1e-6) where that is below 1.
  //   norm  their Euclidean norm before; in host memory
  virtual void clip_norm(std::span<float> values, double norm_max, double& norm) = 0;

  virtual void adam(const AdamStep& step, std::span<float> values, std::span<const float> gradients,
                    std::span<float> first_moments, std::span<float> second_moments) = 0;

  // The operators that graph attention and normalization need besides.
  virtual AttentionOperators& attention() noexcept = 0;
  virtual NormOperators& norms() noexcept = 0;
  // Attention over rows kept as bf16; nullptr where rows stay f32.
  virtual HalfOperators* halves() const noexcept { return nullptr; }
};

inline void HostMemory::Release::operator()(std::byte* data) const noexcept { backend->release_host(data); }
inline void Buffer::Release::operator()(float* data) const noexcept { backend->release(data); }

}  // namespace gneiss
