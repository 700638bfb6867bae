#include <algorithm>
#include <array>
#include <vector>

#include "engine/compute/cuda/aggregate.h"
#include "engine/compute/cuda/batch_slots.h"
#include "engine/compute/cuda/column_sums.h"
#include "engine/compute/cuda/cuda_attention.h"
#include "engine/compute/cuda/cuda_backend.h"
#include "engine/compute/cuda/cuda_norms.h"
#include "engine/compute/cuda/device_memory.h"
#include "engine/compute/cuda/elements.h"
#include "engine/compute/cuda/losses.h"
#include "engine/compute/cuda/products.h"
#include "engine/compute/cuda/stream.h"
#include "storage/base/error.h"

namespace gneiss {
namespace {

// Marks that may be waited for apart: more than batches that are ever in flight. A mark that has been
// overtaken is waited for by a later one's event.
constexpr std::size_t mark_count = 16;

constexpr std::uint64_t fixed_bytes = cuda::loss_part_count * sizeof(LossSum) + sizeof(LossSum) +
                                      cuda::norm_part_count * sizeof(double) + sizeof(double) +
                                      8 * device_alignment;

class CudaDevice final : public CudaBackend {
 public:
  CudaDevice(std::int32_t index, Precision precision)
      : index_(chosen(index)),
        products_(stream_.get(), precision),
        attention_(stream_.get()),
        norms_(stream_.get()),
        marks_(mark_count) {}
  ~CudaDevice() override { cudaStreamSynchronize(stream_.get()); }

  std::string_view name() const noexcept override { return "cuda"; }
  Device device() const noexcept override { return {Device::Type::cuda, index_}; }
  Precision precision() const noexcept override { return products_.precision(); }
  std::uint64_t working_bytes(std::size_t in_columns, std::size_t out_columns) const noexcept override {
    return cuda::Products::bytes(precision(), in_columns, out_columns);
  }

  std::uint64_t free_bytes() const override {
    std::size_t free = 0;
    std::size_t all = 0;
    cuda::check(cudaMemGetInfo(&free, &all), "asking for its memory");
    return free;
  }

  void reserve(std::uint64_t bytes, std::uint64_t product_bytes) override {
    GNEISS_ASSERT(!memory_.is_taken());
    memory_.take(bytes + round_up(product_bytes, device_alignment) + fixed_bytes);
    products_.set_memory(memory_.deal(product_bytes));
    scratch_.parts = deal<LossSum>(cuda::loss_part_count);
    scratch_.total = deal<LossSum>(1);
    norm_parts_ = deal<double>(cuda::norm_part_count);
    norm_ = deal<double>(1);
    kept_ = memory_.mark();
  }

  Buffer allocate(std::size_t count) override {
    if (count == 0) return {};
    const std::span<std::byte> memory = take(count * sizeof(float));
    ++buffer_count_;
    cuda::check(cudaMemsetAsync(memory.data(), 0, memory.size(), stream_.get()), "clearing memory");
    return {*this, reinterpret_cast<float*>(memory.data()), count};
  }
  // All at once, when the last one goes: a run's model, before the next one's.
  void release(float* /*data*/) noexcept override {
    if (--buffer_count_ == 0) memory_.return_to(kept_);
  }

  void copy_in(std::span<const float> host, float* device_data) override {
    cuda::check(
        cudaMemcpyAsync(device_data, host.data(), host.size_bytes(), cudaMemcpyHostToDevice, stream_.get()),
        "copying to the device");
    stream_.wait();
  }
  void copy_out(const float* device_data, std::span<float> host) override {
    cuda::check(
        cudaMemcpyAsync(host.data(), device_data, host.size_bytes(), cudaMemcpyDeviceToHost, stream_.get()),
        "copying from the device");
    stream_.wait();
  }
  HostMemory allocate_host(std::size_t bytes) override {
    if (bytes == 0) return {};
    void* data = nullptr;
    cuda::check(cudaMallocHost(&data, bytes), "pinning memory of the host");
    std::fill_n(static_cast<std::byte*>(data), bytes, std::byte{0});
    return {*this, static_cast<std::byte*>(data), bytes};
  }
  void release_host(std::byte* data) noexcept override {
    cudaStreamSynchronize(stream_.get());  // what is under way may still write there
    cudaFreeHost(data);
  }
  void copy_out_later(ConstMatrixView device_matrix, MatrixView host) override {
    GNEISS_ASSERT(device_matrix.rows == host.rows && device_matrix.columns == host.columns);
    if (host.empty()) return;
    cuda::check(cudaMemcpy2DAsync(host.data, host.stride * sizeof(float), device_matrix.data,
                                  device_matrix.stride * sizeof(float), host.columns * sizeof(float),
                                  host.rows, cudaMemcpyDeviceToHost, stream_.get()),
                "copying from the device");
  }
  Mark mark() override {
    marks_[next_mark_ % mark_count].record(stream_.get());
    return next_mark_++;
  }
  void wait(Mark mark) override {
    GNEISS_ASSERT(mark < next_mark_);
    marks_[mark % mark_count].wait();
  }

  void aggregate_mean(const TieredRows& rows, const BlockView& block, MatrixView out) override {
    check_aggregate(rows, block, out);
    cuda::aggregate_mean(stream_.get(), rows, block, out);
  }
  void aggregate_max(const TieredRows& rows, const BlockView& block, MatrixView out,
                     IndexMatrixView winners) override {
    check_aggregate(rows, block, out);
    GNEISS_ASSERT(winners.rows == 0 || (winners.rows == out.rows && winners.columns == out.columns));
    cuda::aggregate_max(stream_.get(), rows, block, out, winners);
  }
  void aggregate_sum(const TieredRows& rows, const BlockView& block, const EdgeScales& scales,
                     MatrixView out) override {
    check_scales(scales, block);
    check_aggregate(rows, block, out);
    cuda::aggregate_sum(stream_.get(), rows, block, scales, out);
  }
  void symmetric_scales(const BlockView& block, std::span<float> destination,
                        std::span<float> source) override {
    GNEISS_ASSERT(destination.size() == block.dst_count);
    GNEISS_ASSERT(source.empty() || source.size() == block.src_count);
    cuda::symmetric_scales(stream_.get(), block, destination, source);
  }
  void self_loop_scales(const BlockView& block, std::span<const float> source,
                        std::span<float> self) override {
    GNEISS_ASSERT(source.empty() || source.size() == block.src_count);
    GNEISS_ASSERT(self.size() == block.dst_count);
    cuda::self_loop_scales(stream_.get(), block, source, self);
  }
  void gather(const TieredRows& rows, std::span<const std::uint32_t> row_ids, MatrixView out) override {
    GNEISS_ASSERT(out.columns == rows.columns());
    GNEISS_ASSERT(row_ids.empty() ? out.rows <= rows.row_count() : out.rows == row_ids.size());
    cuda::gather(stream_.get(), rows, row_ids, out);
  }

  void linear(ConstMatrixView x, ConstMatrixView weight, const Epilogue& epilogue, MatrixView out) override {
    check_epilogue(epilogue, out);
    products_.linear(x, weight, out, cuda::Into::set);
    cuda::apply_epilogue(stream_.get(), epilogue, out);
  }
  void linear_add(ConstMatrixView x, ConstMatrixView weight, const Epilogue& epilogue,
                  MatrixView out) override {
    check_epilogue(epilogue, out);
    products_.linear(x, weight, out, cuda::Into::add);
    cuda::apply_epilogue(stream_.get(), epilogue, out);
  }
  void add(ConstMatrixView x, MatrixView out) override {
    GNEISS_ASSERT(x.rows == out.rows && x.columns == out.columns);
    cuda::add(stream_.get(), x, out);
  }
  void apply_epilogue(const Epilogue& epilogue, MatrixView values) override {
    check_epilogue(epilogue, values);
    cuda::apply_epilogue(stream_.get(), epilogue, values);
  }

  std::size_t weight_gradient_scratch(std::size_t rows, std::size_t out_columns,
                                      std::size_t in_columns) const noexcept override {
    // Products need none; sums over rows, of biases, norms and attention's few weights, have a part a piece.
    return std::max(cuda::cut_rows(rows).count * 2 * out_columns,
                    cuda::cut_rows_for_weights(rows).count * out_columns * (in_columns + 1));
  }
  void linear_weight_gradient(ConstMatrixView x, ConstMatrixView dz, MatrixView weight_gradient,
                              std::span<float> bias_gradient, std::span<float> scratch) override {
    GNEISS_ASSERT(bias_gradient.empty() || bias_gradient.size() == dz.columns);
    GNEISS_ASSERT(scratch.size() >= weight_gradient_scratch(x.rows, dz.columns, x.columns));
    if (x.rows == 0) {
      cuda::fill_zero(stream_.get(), weight_gradient);
    } else {
      products_.outer(x, dz, weight_gradient, cuda::Into::set);
    }
    if (!bias_gradient.empty()) cuda::column_sums(stream_.get(), dz, bias_gradient, scratch);
  }
  void add_outer_products(ConstMatrixView x, ConstMatrixView dz, MatrixView weight_gradient) override {
    if (x.rows > 0) products_.outer(x, dz, weight_gradient, cuda::Into::add);
  }
  void linear_input_gradient(ConstMatrixView dz, ConstMatrixView weight, MatrixView dx) override {
    GNEISS_ASSERT(dx.rows == dz.rows);
    products_.input_gradient(dz, weight, dx);
  }

  void aggregate_mean_gradient(const BlockView& block, ConstMatrixView d_aggregate, ConstMatrixView d_self,
                               ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz) override {
    check_way_back(block, d_aggregate, activated, epilogue, dz);
    GNEISS_ASSERT(d_self.rows == block.dst_count && d_self.columns == dz.columns);
    cuda::aggregate_mean_gradient(stream_.get(), block, d_aggregate, d_self, activated, epilogue, dz);
  }
  void aggregate_max_gradient(const BlockView& block, ConstIndexMatrixView winners,
                              ConstMatrixView d_aggregate, ConstMatrixView d_self, ConstMatrixView activated,
                              const Epilogue& epilogue, MatrixView dz) override {
    check_way_back(block, d_aggregate, activated, epilogue, dz);
    GNEISS_ASSERT(d_self.rows == block.dst_count && d_self.columns == dz.columns);
    GNEISS_ASSERT(winners.rows == block.dst_count && winners.columns == dz.columns);
    cuda::aggregate_max_gradient(stream_.get(), block, winners, d_aggregate, d_self, activated, epilogue, dz);
  }
  void aggregate_sum_gradient(const BlockView& block, const EdgeScales& scales, ConstMatrixView d_aggregate,
                              ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz) override {
    check_scales(scales, block);
    check_way_back(block, d_aggregate, activated, epilogue, dz);
    cuda::aggregate_sum_gradient(stream_.get(), block, scales, d_aggregate, activated, epilogue, dz);
  }
  void epilogue_gradient(ConstMatrixView activated, const Epilogue& epilogue, MatrixView gradient) override {
    check_epilogue(epilogue, gradient);
    GNEISS_ASSERT(activated.rows == gradient.rows && activated.columns == gradient.columns);
    cuda::epilogue_gradient(stream_.get(), activated, epilogue, gradient);
  }

  void cross_entropy(ConstMatrixView logits, std::span<const std::int32_t> targets,
                     const ClassWeighting& classes, MatrixView gradient, LossSum& result) override {
    GNEISS_ASSERT(targets.size() == logits.rows && (gradient.rows == 0 || gradient.rows == logits.rows));
    GNEISS_ASSERT(classes.weights.empty() || classes.weights.size() == logits.columns);
    cuda::cross_entropy(stream_.get(), logits, targets, classes, gradient, scratch_, &result);
  }
  void binary_cross_entropy(ConstMatrixView logits, const BinaryLabels& labels, MatrixView gradient,
                            LossSum& result) override {
    GNEISS_ASSERT(labels.entries.empty() ? labels.classes.size() == logits.rows
                                         : labels.entries.size() == logits.rows * logits.columns);
    GNEISS_ASSERT(gradient.rows == 0 || gradient.rows == logits.rows);
    cuda::binary_cross_entropy(stream_.get(), logits, labels, gradient, scratch_, &result);
  }
  void clip_norm(std::span<float> values, double norm_max, double& norm) override {
    cuda::clip_norm(stream_.get(), values, norm_max, norm_parts_, norm_);
    cuda::check(cudaMemcpyAsync(&norm, norm_, sizeof(double), cudaMemcpyDeviceToHost, stream_.get()),
                "copying from the device");
  }
  void adam(const AdamStep& step, std::span<float> values, std::span<const float> gradients,
            std::span<float> first_moments, std::span<float> second_moments) override {
    const std::size_t size = values.size();
    GNEISS_ASSERT(gradients.size() == size && first_moments.size() == size && second_moments.size() == size);
    cuda::adam(stream_.get(), step, values, gradients, first_moments, second_moments);
  }

  AttentionOperators& attention() noexcept override { return attention_; }
  NormOperators& norms() noexcept override { return norms_; }

  std::unique_ptr<BatchUploader> make_uploader(const UploadSizes& sizes, CpuRowPath path) override {
    return cuda::make_batch_slots(stream_.get(), keep(sizes.bytes()), sizes, path);
  }
  std::span<std::byte> keep(std::uint64_t bytes) override {
    GNEISS_ASSERT(buffer_count_ == 0);
    const std::span<std::byte> memory = take(bytes);
    kept_ = memory_.mark();
    return memory;
  }
  void fill(std::span<std::byte> kept, std::uint64_t offset, std::span<const std::byte> host) override {
    GNEISS_ASSERT(offset <= kept.size() && host.size() <= kept.size() - offset);
    cuda::check(cudaMemcpyAsync(kept.data() + offset, host.data(), host.size(), cudaMemcpyHostToDevice,
                                stream_.get()),
                "copying to the device");
    stream_.wait();
  }

 private:
  // A stream is made on the device that is set.
  static std::int32_t chosen(std::int32_t index) {
    cuda::check(cudaSetDevice(index), "choosing the device");
    return index;
  }
  std::span<std::byte> take(std::uint64_t bytes) {
    GNEISS_ASSERT(memory_.is_taken());
    if (round_up(bytes, device_alignment) > memory_.left()) {
      fail(Kind::io, "the plan for the device's memory is {} bytes too small; this is a bug of gneiss",
           round_up(bytes, device_alignment) - memory_.left());
    }
    return memory_.deal(bytes);
  }
  template <class T>
  T* deal(std::size_t count) {
    return reinterpret_cast<T*>(memory_.deal(count * sizeof(T)).data());
  }

  static void check_aggregate(const TieredRows& rows, const BlockView& block, MatrixView out) {
    GNEISS_ASSERT(out.rows == block.dst_count && out.columns == rows.columns());
    GNEISS_ASSERT(rows.row_count() >= block.src_count);
  }
  static void check_way_back(const BlockView& block, ConstMatrixView d_aggregate, ConstMatrixView activated,
                             const Epilogue& epilogue, MatrixView dz) {
    check_epilogue(epilogue, dz);
    GNEISS_ASSERT(block.is_transposed() && block.dst_in_src.empty());
    GNEISS_ASSERT(d_aggregate.rows == block.dst_count && d_aggregate.columns == dz.columns);
    GNEISS_ASSERT(activated.rows == block.src_count && dz.rows == block.src_count);
    GNEISS_ASSERT(activated.columns == dz.columns);
  }
  static void check_epilogue(const Epilogue& epilogue, MatrixView out) {
    GNEISS_ASSERT(epilogue.bias.empty() || epilogue.bias.size() == out.columns);
    GNEISS_ASSERT(!epilogue.dropout.is_active() || epilogue.dropout.row_nodes.size() >= out.rows);
  }
  static void check_scales(const EdgeScales& scales, const BlockView& block) {
    GNEISS_ASSERT(scales.destination.empty() || scales.destination.size() == block.dst_count);
    GNEISS_ASSERT(scales.source.empty() || scales.source.size() == block.src_count);
    GNEISS_ASSERT(scales.self.empty() || scales.self.size() == block.dst_count);
  }

  std::int32_t index_;
  cuda::DeviceMemory memory_;  // outlives all that is under way on the stream
  cuda::Stream stream_;
  cuda::Products products_;
  cuda::CudaAttention attention_;
  cuda::CudaNorms norms_;
  cuda::LossScratch scratch_;
  double* norm_parts_ = nullptr;
  double* norm_ = nullptr;
  std::size_t kept_ = 0;  // what is not of buffers
  std::size_t buffer_count_ = 0;
  std::vector<cuda::Event> marks_;
  Mark next_mark_ = 0;
};

}  // namespace

std::unique_ptr<CudaBackend> make_cuda_backend(std::int32_t device_index, Precision precision) {
  return std::make_unique<CudaDevice>(device_index, precision);
}

}  // namespace gneiss
