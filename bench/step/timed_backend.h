// A backend that hands everything on to another and keeps the time of each operator: what a step is made of.
//
// Why:     matrix products and all else have different ceilings, so their times are shown apart. Each
//          operator is waited for, so wall time is its own; on a device that costs what it would do
//          meanwhile, so
//          whole steps are timed while this is paused.
// Threads: one thread calls, as with any backend.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "bench/step/clock.h"
#include "engine/compute/attention.h"
#include "engine/compute/half_rows.h"
#include "engine/compute/normalization.h"

namespace gneiss::step {

struct OperatorTime {
  bool is_product = false;  // a matrix product, with what is fused to it
  double seconds = 0;
  std::uint64_t calls = 0;
};

class OperatorTimes {
 public:
  enum class Sort : std::uint8_t { other, product };
  // `backend` computes what is timed.
  OperatorTimes(Clock clock, Backend& backend) : clock_(clock), backend_(backend) {}
  template <class Work>
  void time(const char* name, Sort sort, const Work& work) {
    if (is_paused_) return work();
    const Span span(clock_, times_[name], sort == Sort::product);
    work();
    backend_.wait(backend_.mark());
  }
  void pause(bool is_paused) noexcept { is_paused_ = is_paused; }
  const std::map<std::string, OperatorTime>& all() const noexcept { return times_; }
  void clear() { times_.clear(); }

 private:
  class Span {
   public:
    Span(const Clock& clock, OperatorTime& time, bool is_product)
        : clock_(clock), time_(time), start_(clock.now()) {
      time_.is_product = is_product;
      ++time_.calls;
    }
    ~Span() { time_.seconds += clock_.now() - start_; }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

   private:
    const Clock& clock_;
    OperatorTime& time_;
    double start_;
  };
  Clock clock_;
  Backend& backend_;
  bool is_paused_ = false;
  std::map<std::string, OperatorTime> times_;
};

class TimedAttention final : public AttentionOperators {
 public:
  TimedAttention(AttentionOperators& inner, OperatorTimes& times) : inner_(inner), times_(times) {}

  void row_products(const TieredRows& rows, ConstMatrixView weight, MatrixView out) override {
    other("attention row_products", [&] { inner_.row_products(rows, weight, out); });
  }
  void softmax(const BlockView& block, ConstMatrixView scores, const AttentionRule& rule,
               const EdgeValues& shares, const EdgeValues& weights) override {
    other("attention softmax", [&] { inner_.softmax(block, scores, rule, shares, weights); });
  }
  void aggregate(const TieredRows& rows, const BlockView& block, const ConstEdgeValues& weights,
                 MatrixView out) override {
    other("attention aggregate", [&] { inner_.aggregate(rows, block, weights, out); });
  }
  void score_gradients(const TieredRows& rows, const BlockView& block, ConstMatrixView scores,
                       const AttentionRule& rule, const ConstEdgeValues& shares, std::size_t first_dst,
                       ConstMatrixView d_out, const EdgeValues& d_scores, MatrixView d_destination,
                       MatrixView d_weight, std::span<float> scratch) override {
    other("attention score_gradients", [&] {
      inner_.score_gradients(rows, block, scores, rule, shares, first_dst, d_out, d_scores, d_destination,
                             d_weight, scratch);
    });
  }
  void input_gradient(const BlockView& block, const ConstEdgeValues& weights, ConstMatrixView d_aggregate,
                      const ConstEdgeValues& d_scores, ConstMatrixView d_destination,
                      ConstMatrixView score_weight, ConstMatrixView activated, const Epilogue& epilogue,
                      MatrixView dz) override {
    other("attention input_gradient", [&] {
      inner_.input_gradient(block, weights, d_aggregate, d_scores, d_destination, score_weight, activated,
                            epilogue, dz);
    });
  }

 private:
  template <class Work>
  void other(const char* name, const Work& work) {
    times_.time(name, OperatorTimes::Sort::other, work);
  }
  AttentionOperators& inner_;
  OperatorTimes& times_;
};

class TimedHalves final : public HalfOperators {
 public:
  TimedHalves(HalfOperators& inner, OperatorTimes& times) : inner_(inner), times_(times) {}

  void row_products(const TieredRows& rows, ConstMatrixView weight, MatrixView out, HalfView kept) override {
    other("attention row_products", [&] { inner_.row_products(rows, weight, out, kept); });
  }
  void aggregate(ConstHalfView rows, const BlockView& block, const ConstEdgeValues& weights,
                 HalfView out) override {
    other("attention aggregate", [&] { inner_.aggregate(rows, block, weights, out); });
  }
  void linear(ConstHalfView x, ConstMatrixView weight, const Epilogue& epilogue, MatrixView out) override {
    product("linear", [&] { inner_.linear(x, weight, epilogue, out); });
  }
  void linear_add(ConstHalfView x, ConstMatrixView weight, const Epilogue& epilogue,
                  MatrixView out) override {
    product("linear_add", [&] { inner_.linear_add(x, weight, epilogue, out); });
  }
  void linear_weight_gradient(ConstHalfView x, ConstMatrixView dz, MatrixView weight_gradient,
                              std::span<float> bias_gradient, std::span<float> scratch) override {
    product("linear_weight_gradient",
            [&] { inner_.linear_weight_gradient(x, dz, weight_gradient, bias_gradient, scratch); });
  }
  void linear_input_gradient(ConstMatrixView dz, ConstMatrixView weight, HalfView dx) override {
    product("linear_input_gradient", [&] { inner_.linear_input_gradient(dz, weight, dx); });
  }
  void score_gradients(ConstHalfView rows, const BlockView& block, ConstMatrixView scores,
                       const AttentionRule& rule, const ConstEdgeValues& shares, std::size_t first_dst,
                       ConstHalfView d_out, const EdgeValues& d_scores, MatrixView d_destination,
                       MatrixView d_weight, std::span<float> scratch) override {
    other("attention score_gradients", [&] {
      inner_.score_gradients(rows, block, scores, rule, shares, first_dst, d_out, d_scores, d_destination,
                             d_weight, scratch);
    });
  }
  void input_gradient(const BlockView& block, const ConstEdgeValues& weights, ConstHalfView d_aggregate,
                      const ConstEdgeValues& d_scores, ConstMatrixView d_destination,
                      ConstMatrixView score_weight, ConstMatrixView activated, const Epilogue& epilogue,
                      MatrixView dz) override {
    other("attention input_gradient", [&] {
      inner_.input_gradient(block, weights, d_aggregate, d_scores, d_destination, score_weight, activated,
                            epilogue, dz);
    });
  }

 private:
  template <class Work>
  void other(const char* name, const Work& work) {
    times_.time(name, OperatorTimes::Sort::other, work);
  }
  template <class Work>
  void product(const char* name, const Work& work) {
    times_.time(name, OperatorTimes::Sort::product, work);
  }
  HalfOperators& inner_;
  OperatorTimes& times_;
};

// `inner` outlives this and all buffers.
class TimedBackend final : public Backend {
 public:
  TimedBackend(Backend& inner, Clock clock)
      : inner_(inner), times_(clock, inner), attention_(inner.attention(), times_) {
    if (HalfOperators* const halves = inner.halves()) {
      halves_ = std::make_unique<TimedHalves>(*halves, times_);
    }
  }
  OperatorTimes& times() noexcept { return times_; }

  std::string_view name() const noexcept override { return inner_.name(); }
  Device device() const noexcept override { return inner_.device(); }
  Precision precision() const noexcept override { return inner_.precision(); }
  std::uint64_t working_bytes(std::size_t in_columns, std::size_t out_columns) const noexcept override {
    return inner_.working_bytes(in_columns, out_columns);
  }
  Buffer allocate(std::size_t count) override { return inner_.allocate(count); }
  void release(float* data) noexcept override { inner_.release(data); }
  void copy_in(std::span<const float> host, float* device_data) override {
    inner_.copy_in(host, device_data);
  }
  void copy_out(const float* device_data, std::span<float> host) override {
    inner_.copy_out(device_data, host);
  }
  HostMemory allocate_host(std::size_t bytes) override { return inner_.allocate_host(bytes); }
  void release_host(std::byte* data) noexcept override { inner_.release_host(data); }
  void copy_out_later(ConstMatrixView device_matrix, MatrixView host) override {
    inner_.copy_out_later(device_matrix, host);
  }
  Mark mark() override { return inner_.mark(); }
  void wait(Mark mark) override { inner_.wait(mark); }

  void aggregate_mean(const TieredRows& rows, const BlockView& block, MatrixView out) override {
    other("aggregate_mean", [&] { inner_.aggregate_mean(rows, block, out); });
  }
  void aggregate_max(const TieredRows& rows, const BlockView& block, MatrixView out,
                     IndexMatrixView winners) override {
    other("aggregate_max", [&] { inner_.aggregate_max(rows, block, out, winners); });
  }
  void aggregate_sum(const TieredRows& rows, const BlockView& block, const EdgeScales& scales,
                     MatrixView out) override {
    other("aggregate_sum", [&] { inner_.aggregate_sum(rows, block, scales, out); });
  }
  void symmetric_scales(const BlockView& block, std::span<float> destination,
                        std::span<float> source) override {
    other("symmetric_scales", [&] { inner_.symmetric_scales(block, destination, source); });
  }
  void self_loop_scales(const BlockView& block, std::span<const float> source,
                        std::span<float> self) override {
    other("self_loop_scales", [&] { inner_.self_loop_scales(block, source, self); });
  }
  void gather(const TieredRows& rows, std::span<const std::uint32_t> row_ids, MatrixView out) override {
    other("gather", [&] { inner_.gather(rows, row_ids, out); });
  }
  void linear(ConstMatrixView x, ConstMatrixView weight, const Epilogue& epilogue, MatrixView out) override {
    product("linear", [&] { inner_.linear(x, weight, epilogue, out); });
  }
  void linear_add(ConstMatrixView x, ConstMatrixView weight, const Epilogue& epilogue,
                  MatrixView out) override {
    product("linear_add", [&] { inner_.linear_add(x, weight, epilogue, out); });
  }
  void add(ConstMatrixView x, MatrixView out) override {
    other("add", [&] { inner_.add(x, out); });
  }
  void apply_epilogue(const Epilogue& epilogue, MatrixView values) override {
    other("apply_epilogue", [&] { inner_.apply_epilogue(epilogue, values); });
  }
  void linear_weight_gradient(ConstMatrixView x, ConstMatrixView dz, MatrixView weight_gradient,
                              std::span<float> bias_gradient, std::span<float> scratch) override {
    product("linear_weight_gradient",
            [&] { inner_.linear_weight_gradient(x, dz, weight_gradient, bias_gradient, scratch); });
  }
  std::size_t weight_gradient_scratch(std::size_t rows, std::size_t out_columns,
                                      std::size_t in_columns) const noexcept override {
    return inner_.weight_gradient_scratch(rows, out_columns, in_columns);
  }
  void add_outer_products(ConstMatrixView x, ConstMatrixView dz, MatrixView weight_gradient) override {
    product("add_outer_products", [&] { inner_.add_outer_products(x, dz, weight_gradient); });
  }
  void linear_input_gradient(ConstMatrixView dz, ConstMatrixView weight, MatrixView dx) override {
    product("linear_input_gradient", [&] { inner_.linear_input_gradient(dz, weight, dx); });
  }
  void aggregate_mean_gradient(const BlockView& block, ConstMatrixView d_aggregate, ConstMatrixView d_self,
                               ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz) override {
    other("aggregate_mean_gradient",
          [&] { inner_.aggregate_mean_gradient(block, d_aggregate, d_self, activated, epilogue, dz); });
  }
  void aggregate_max_gradient(const BlockView& block, ConstIndexMatrixView winners,
                              ConstMatrixView d_aggregate, ConstMatrixView d_self, ConstMatrixView activated,
                              const Epilogue& epilogue, MatrixView dz) override {
    other("aggregate_max_gradient", [&] {
      inner_.aggregate_max_gradient(block, winners, d_aggregate, d_self, activated, epilogue, dz);
    });
  }
  void aggregate_sum_gradient(const BlockView& block, const EdgeScales& scales, ConstMatrixView d_aggregate,
                              ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz) override {
    other("aggregate_sum_gradient",
          [&] { inner_.aggregate_sum_gradient(block, scales, d_aggregate, activated, epilogue, dz); });
  }
  void epilogue_gradient(ConstMatrixView activated, const Epilogue& epilogue, MatrixView gradient) override {
    other("epilogue_gradient", [&] { inner_.epilogue_gradient(activated, epilogue, gradient); });
  }
  void cross_entropy(ConstMatrixView logits, std::span<const std::int32_t> targets,
                     const ClassWeighting& classes, MatrixView gradient, LossSum& result) override {
    other("cross_entropy", [&] { inner_.cross_entropy(logits, targets, classes, gradient, result); });
  }
  void binary_cross_entropy(ConstMatrixView logits, const BinaryLabels& labels, MatrixView gradient,
                            LossSum& result) override {
    other("binary_cross_entropy", [&] { inner_.binary_cross_entropy(logits, labels, gradient, result); });
  }
  void clip_norm(std::span<float> values, double norm_max, double& norm) override {
    other("clip_norm", [&] { inner_.clip_norm(values, norm_max, norm); });
  }
  void adam(const AdamStep& step, std::span<float> values, std::span<const float> gradients,
            std::span<float> first_moments, std::span<float> second_moments) override {
    other("adam", [&] { inner_.adam(step, values, gradients, first_moments, second_moments); });
  }
  AttentionOperators& attention() noexcept override { return attention_; }
  HalfOperators* halves() const noexcept override { return halves_.get(); }
  NormOperators& norms() noexcept override {
    return inner_.norms();
  }  // counted as the time between operators

 private:
  template <class Work>
  void product(const char* name, const Work& work) {
    times_.time(name, OperatorTimes::Sort::product, work);
  }
  template <class Work>
  void other(const char* name, const Work& work) {
    times_.time(name, OperatorTimes::Sort::other, work);
  }
  Backend& inner_;
  OperatorTimes times_;
  TimedAttention attention_;
  std::unique_ptr<TimedHalves> halves_;  // none: `inner` has none
};

}  // namespace gneiss::step
