#include "tests/engine/mirrored_backend.h"

#include <algorithm>
#include <functional>
#include <new>

#include "tests/engine/device_mirror.h"

namespace gneiss::test {
namespace {

// Calls an operator of `on` with all that it is given on the device.
template <class Operators, class... Parameters, class... Arguments>
void run(Backend& device, Operators& on, void (Operators::*operation)(Parameters...),
         const Arguments&... arguments) {
  DeviceMirror mirror(device);
  (static_cast<void>(carry(mirror, arguments)), ...);
  mirror.copy_in();
  (on.*operation)(carry(mirror, arguments)...);
  device.wait(device.mark());
  mirror.copy_out();
}

class MirroredAttention final : public AttentionOperators {
 public:
  explicit MirroredAttention(Backend& device) : device_(device) {}

  void row_products(const TieredRows& rows, ConstMatrixView weight, MatrixView out) override {
    run_on(&AttentionOperators::row_products, rows, weight, out);
  }
  void softmax(const BlockView& block, ConstMatrixView scores, const AttentionRule& rule,
               const EdgeValues& shares, const EdgeValues& weights) override {
    run_on(&AttentionOperators::softmax, block, scores, rule, shares, weights);
  }
  void aggregate(const TieredRows& rows, const BlockView& block, const ConstEdgeValues& weights,
                 MatrixView out) override {
    run_on(&AttentionOperators::aggregate, rows, block, weights, out);
  }
  void score_gradients(const TieredRows& rows, const BlockView& block, ConstMatrixView scores,
                       const AttentionRule& rule, const ConstEdgeValues& shares, std::size_t first_dst,
                       ConstMatrixView d_out, const EdgeValues& d_scores, MatrixView d_destination,
                       MatrixView d_weight, std::span<float> scratch) override {
    run_on(&AttentionOperators::score_gradients, rows, block, scores, rule, shares, first_dst, d_out,
           d_scores, d_destination, d_weight, Scratch{scratch});
  }
  void input_gradient(const BlockView& block, const ConstEdgeValues& weights, ConstMatrixView d_aggregate,
                      const ConstEdgeValues& d_scores, ConstMatrixView d_destination,
                      ConstMatrixView score_weight, ConstMatrixView activated, const Epilogue& epilogue,
                      MatrixView dz) override {
    run_on(&AttentionOperators::input_gradient, block, weights, d_aggregate, d_scores, d_destination,
           score_weight, activated, epilogue, dz);
  }

 private:
  template <class... Arguments>
  void run_on(const Arguments&... operation_and_arguments) {
    run(device_, device_.attention(), operation_and_arguments...);
  }
  Backend& device_;
};

class MirroredNorms final : public NormOperators {
 public:
  explicit MirroredNorms(Backend& device) : device_(device) {}

  void column_moments(ConstMatrixView x, std::span<float> mean, std::span<float> variance,
                      std::span<float> scratch) override {
    run_on(&NormOperators::column_moments, x, mean, variance, Scratch{scratch});
  }
  void move_average(float momentum, float factor, std::span<const float> value,
                    std::span<float> average) override {
    run_on(&NormOperators::move_average, momentum, factor, value, average);
  }
  void batch_norm(std::span<const float> mean, std::span<const float> variance,
                  const NormParameters& parameters, MatrixView values, MatrixView standardized) override {
    run_on(&NormOperators::batch_norm, mean, variance, parameters, values, standardized);
  }
  void batch_norm_gradient(ConstMatrixView standardized, std::span<const float> variance,
                           const NormParameters& parameters, MatrixView gradient,
                           std::span<float> weight_gradient, std::span<float> bias_gradient,
                           std::span<float> scratch) override {
    run_on(&NormOperators::batch_norm_gradient, standardized, variance, parameters, gradient, weight_gradient,
           bias_gradient, Scratch{scratch});
  }
  void layer_norm(const NormParameters& parameters, MatrixView values, MatrixView standardized,
                  std::span<float> inverse_deviation) override {
    run_on(&NormOperators::layer_norm, parameters, values, standardized, inverse_deviation);
  }
  void layer_norm_gradient(ConstMatrixView standardized, std::span<const float> inverse_deviation,
                           const NormParameters& parameters, MatrixView gradient,
                           std::span<float> weight_gradient, std::span<float> bias_gradient,
                           std::span<float> scratch) override {
    run_on(&NormOperators::layer_norm_gradient, standardized, inverse_deviation, parameters, gradient,
           weight_gradient, bias_gradient, Scratch{scratch});
  }

 private:
  template <class... Arguments>
  void run_on(const Arguments&... operation_and_arguments) {
    run(device_, device_.norms(), operation_and_arguments...);
  }
  Backend& device_;
};

class MirroredBackend final : public Backend {
 public:
  explicit MirroredBackend(std::shared_ptr<CudaBackend> device)
      : device_(std::move(device)), attention_(*device_), norms_(*device_) {}

  std::string_view name() const noexcept override { return device_->name(); }
  Device device() const noexcept override { return {}; }  // where its memory lies
  Precision precision() const noexcept override { return device_->precision(); }
  std::uint64_t working_bytes(std::size_t in_columns, std::size_t out_columns) const noexcept override {
    return device_->working_bytes(in_columns, out_columns);
  }

  Buffer allocate(std::size_t count) override {
    if (count == 0) return {};
    auto* const data = static_cast<float*>(::operator new(count * sizeof(float), alignment));
    std::fill_n(data, count, 0.0F);
    return {*this, data, count};
  }
  void release(float* data) noexcept override { ::operator delete(data, alignment); }
  void copy_in(std::span<const float> host, float* device_data) override {
    std::ranges::copy(host, device_data);
  }
  void copy_out(const float* device_data, std::span<float> host) override {
    std::copy_n(device_data, host.size(), host.data());
  }
  HostMemory allocate_host(std::size_t bytes) override { return device_->allocate_host(bytes); }
  void release_host(std::byte* data) noexcept override { device_->release_host(data); }
  void copy_out_later(ConstMatrixView device_matrix, MatrixView host) override {
    DeviceMirror mirror(*device_);
    static_cast<void>(carry(mirror, device_matrix));
    mirror.copy_in();
    device_->copy_out_later(carry(mirror, device_matrix), host);
    device_->wait(device_->mark());
  }
  Mark mark() override { return device_->mark(); }
  void wait(Mark mark) override { device_->wait(mark); }

  void aggregate_mean(const TieredRows& rows, const BlockView& block, MatrixView out) override {
    run_on(&Backend::aggregate_mean, rows, block, out);
  }
  void aggregate_max(const TieredRows& rows, const BlockView& block, MatrixView out,
                     IndexMatrixView winners) override {
    run_on(&Backend::aggregate_max, rows, block, out, winners);
  }
  void aggregate_sum(const TieredRows& rows, const BlockView& block, const EdgeScales& scales,
                     MatrixView out) override {
    run_on(&Backend::aggregate_sum, rows, block, scales, out);
  }
  void symmetric_scales(const BlockView& block, std::span<float> destination,
                        std::span<float> source) override {
    run_on(&Backend::symmetric_scales, block, destination, source);
  }
  void self_loop_scales(const BlockView& block, std::span<const float> source,
                        std::span<float> self) override {
    run_on(&Backend::self_loop_scales, block, source, self);
  }
  void gather(const TieredRows& rows, std::span<const std::uint32_t> row_ids, MatrixView out) override {
    run_on(&Backend::gather, rows, row_ids, out);
  }

  void linear(ConstMatrixView x, ConstMatrixView weight, const Epilogue& epilogue, MatrixView out) override {
    run_on(&Backend::linear, x, weight, epilogue, out);
  }
  void linear_add(ConstMatrixView x, ConstMatrixView weight, const Epilogue& epilogue,
                  MatrixView out) override {
    run_on(&Backend::linear_add, x, weight, epilogue, out);
  }
  void add(ConstMatrixView x, MatrixView out) override { run_on(&Backend::add, x, out); }
  void apply_epilogue(const Epilogue& epilogue, MatrixView values) override {
    run_on(&Backend::apply_epilogue, epilogue, values);
  }
  void linear_weight_gradient(ConstMatrixView x, ConstMatrixView dz, MatrixView weight_gradient,
                              std::span<float> bias_gradient, std::span<float> scratch) override {
    run_on(&Backend::linear_weight_gradient, x, dz, weight_gradient, bias_gradient, Scratch{scratch});
  }
  std::size_t weight_gradient_scratch(std::size_t rows, std::size_t out_columns,
                                      std::size_t in_columns) const noexcept override {
    return device_->weight_gradient_scratch(rows, out_columns, in_columns);
  }
  void add_outer_products(ConstMatrixView x, ConstMatrixView dz, MatrixView weight_gradient) override {
    run_on(&Backend::add_outer_products, x, dz, weight_gradient);
  }
  void linear_input_gradient(ConstMatrixView dz, ConstMatrixView weight, MatrixView dx) override {
    run_on(&Backend::linear_input_gradient, dz, weight, dx);
  }

  void aggregate_mean_gradient(const BlockView& block, ConstMatrixView d_aggregate, ConstMatrixView d_self,
                               ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz) override {
    run_on(&Backend::aggregate_mean_gradient, block, d_aggregate, d_self, activated, epilogue, dz);
  }
  void aggregate_max_gradient(const BlockView& block, ConstIndexMatrixView winners,
                              ConstMatrixView d_aggregate, ConstMatrixView d_self, ConstMatrixView activated,
                              const Epilogue& epilogue, MatrixView dz) override {
    run_on(&Backend::aggregate_max_gradient, block, winners, d_aggregate, d_self, activated, epilogue, dz);
  }
  void aggregate_sum_gradient(const BlockView& block, const EdgeScales& scales, ConstMatrixView d_aggregate,
                              ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz) override {
    run_on(&Backend::aggregate_sum_gradient, block, scales, d_aggregate, activated, epilogue, dz);
  }
  void epilogue_gradient(ConstMatrixView activated, const Epilogue& epilogue, MatrixView gradient) override {
    run_on(&Backend::epilogue_gradient, activated, epilogue, gradient);
  }

  void cross_entropy(ConstMatrixView logits, std::span<const std::int32_t> targets,
                     const ClassWeighting& classes, MatrixView gradient, LossSum& result) override {
    run_on(&Backend::cross_entropy, logits, targets, classes, gradient, std::ref(result));
  }
  void binary_cross_entropy(ConstMatrixView logits, const BinaryLabels& labels, MatrixView gradient,
                            LossSum& result) override {
    run_on(&Backend::binary_cross_entropy, logits, labels, gradient, std::ref(result));
  }
  void clip_norm(std::span<float> values, double norm_max, double& norm) override {
    run_on(&Backend::clip_norm, values, norm_max, std::ref(norm));
  }
  void adam(const AdamStep& step, std::span<float> values, std::span<const float> gradients,
            std::span<float> first_moments, std::span<float> second_moments) override {
    run_on(&Backend::adam, step, values, gradients, first_moments, second_moments);
  }

  AttentionOperators& attention() noexcept override { return attention_; }
  NormOperators& norms() noexcept override { return norms_; }

 private:
  static constexpr std::align_val_t alignment{256};  // as device memory has

  template <class... Arguments>
  void run_on(const Arguments&... operation_and_arguments) {
    run(*device_, static_cast<Backend&>(*device_), operation_and_arguments...);
  }

  std::shared_ptr<CudaBackend> device_;
  MirroredAttention attention_;
  MirroredNorms norms_;
};

}  // namespace

std::unique_ptr<Backend> make_mirrored_backend(std::shared_ptr<CudaBackend> device) {
  return std::make_unique<MirroredBackend>(std::move(device));
}

}  // namespace gneiss::test
