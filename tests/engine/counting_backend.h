// A backend that counts the bytes asked of it and hands everything on to another.
#pragma once

#include <cstdint>

#include "engine/compute/backend.h"

namespace gneiss::test {

class CountingBackend final : public Backend {
 public:
  explicit CountingBackend(Backend& inner) : inner_(inner) {}
  std::uint64_t allocated_bytes() const noexcept { return allocated_bytes_; }

  std::string_view name() const noexcept override { return inner_.name(); }
  Device device() const noexcept override { return inner_.device(); }
  Precision precision() const noexcept override { return inner_.precision(); }
  HalfOperators* halves() const noexcept override { return inner_.halves(); }
  std::uint64_t working_bytes(std::size_t in_columns, std::size_t out_columns) const noexcept override {
    return inner_.working_bytes(in_columns, out_columns);
  }
  Buffer allocate(std::size_t count) override {
    allocated_bytes_ += count * sizeof(float);
    return inner_.allocate(count);
  }
  void release(float* data) noexcept override { inner_.release(data); }
  void copy_in(std::span<const float> host, float* device_data) override {
    inner_.copy_in(host, device_data);
  }
  void copy_out(const float* device_data, std::span<float> host) override {
    inner_.copy_out(device_data, host);
  }
  void aggregate_mean(const TieredRows& rows, const BlockView& block, MatrixView out) override {
    inner_.aggregate_mean(rows, block, out);
  }
  void aggregate_max(const TieredRows& rows, const BlockView& block, MatrixView out,
                     IndexMatrixView winners) override {
    inner_.aggregate_max(rows, block, out, winners);
  }
  void aggregate_max_gradient(const BlockView& block, ConstIndexMatrixView winners,
                              ConstMatrixView d_aggregate, ConstMatrixView d_self, ConstMatrixView activated,
                              const Epilogue& epilogue, MatrixView dz) override {
    inner_.aggregate_max_gradient(block, winners, d_aggregate, d_self, activated, epilogue, dz);
  }
  void aggregate_sum(const TieredRows& rows, const BlockView& block, const EdgeScales& scales,
                     MatrixView out) override {
    inner_.aggregate_sum(rows, block, scales, out);
  }
  void symmetric_scales(const BlockView& block, std::span<float> destination,
                        std::span<float> source) override {
    inner_.symmetric_scales(block, destination, source);
  }
  void self_loop_scales(const BlockView& block, std::span<const float> source,
                        std::span<float> self) override {
    inner_.self_loop_scales(block, source, self);
  }
  void gather(const TieredRows& rows, std::span<const std::uint32_t> row_ids, MatrixView out) override {
    inner_.gather(rows, row_ids, out);
  }
  void linear(ConstMatrixView x, ConstMatrixView weight, const Epilogue& epilogue, MatrixView out) override {
    inner_.linear(x, weight, epilogue, out);
  }
  void linear_add(ConstMatrixView x, ConstMatrixView weight, const Epilogue& epilogue,
                  MatrixView out) override {
    inner_.linear_add(x, weight, epilogue, out);
  }
  void add(ConstMatrixView x, MatrixView out) override { inner_.add(x, out); }
  void apply_epilogue(const Epilogue& epilogue, MatrixView values) override {
    inner_.apply_epilogue(epilogue, values);
  }
  void add_outer_products(ConstMatrixView x, ConstMatrixView dz, MatrixView weight_gradient) override {
    inner_.add_outer_products(x, dz, weight_gradient);
  }
  void linear_weight_gradient(ConstMatrixView x, ConstMatrixView dz, MatrixView weight_gradient,
                              std::span<float> bias_gradient, std::span<float> scratch) override {
    inner_.linear_weight_gradient(x, dz, weight_gradient, bias_gradient, scratch);
  }
  std::size_t weight_gradient_scratch(std::size_t rows, std::size_t out_columns,
                                      std::size_t in_columns) const noexcept override {
    return inner_.weight_gradient_scratch(rows, out_columns, in_columns);
  }
  void linear_input_gradient(ConstMatrixView dz, ConstMatrixView weight, MatrixView dx) override {
    inner_.linear_input_gradient(dz, weight, dx);
  }
  void aggregate_mean_gradient(const BlockView& block, ConstMatrixView d_aggregate, ConstMatrixView d_self,
                               ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz) override {
    inner_.aggregate_mean_gradient(block, d_aggregate, d_self, activated, epilogue, dz);
  }
  void aggregate_sum_gradient(const BlockView& block, const EdgeScales& scales, ConstMatrixView d_aggregate,
                              ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz) override {
    inner_.aggregate_sum_gradient(block, scales, d_aggregate, activated, epilogue, dz);
  }
  void epilogue_gradient(ConstMatrixView activated, const Epilogue& epilogue, MatrixView gradient) override {
    inner_.epilogue_gradient(activated, epilogue, gradient);
  }
  void cross_entropy(ConstMatrixView logits, std::span<const std::int32_t> targets,
                     const ClassWeighting& classes, MatrixView gradient, LossSum& result) override {
    inner_.cross_entropy(logits, targets, classes, gradient, result);
  }
  void binary_cross_entropy(ConstMatrixView logits, const BinaryLabels& labels, MatrixView gradient,
                            LossSum& result) override {
    inner_.binary_cross_entropy(logits, labels, gradient, result);
  }
  void clip_norm(std::span<float> values, double norm_max, double& norm) override {
    inner_.clip_norm(values, norm_max, norm);
  }
  HostMemory allocate_host(std::size_t bytes) override { return inner_.allocate_host(bytes); }
  void release_host(std::byte* data) noexcept override { inner_.release_host(data); }
  void copy_out_later(ConstMatrixView device_matrix, MatrixView host) override {
    inner_.copy_out_later(device_matrix, host);
  }
  Mark mark() override { return inner_.mark(); }
  void wait(Mark mark) override { inner_.wait(mark); }
  void adam(const AdamStep& step, std::span<float> values, std::span<const float> gradients,
            std::span<float> first_moments, std::span<float> second_moments) override {
    inner_.adam(step, values, gradients, first_moments, second_moments);
  }
  AttentionOperators& attention() noexcept override { return inner_.attention(); }
  NormOperators& norms() noexcept override { return inner_.norms(); }

 private:
  Backend& inner_;
  std::uint64_t allocated_bytes_ = 0;
};

}  // namespace gneiss::test
