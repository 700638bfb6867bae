// Losses and logits on their way back from the device: what a step gave is looked at some steps later.
//
// Why:     a host that waits for each loss leaves the device idle until it has asked for the next step.
// Order:   results are settled in the order of their batches, whatever the device: scores, and the first
//          batch whose loss is no number, are the same.
// Memory:  in_flight results, each with a batch's logits and labels, taken at construction. On the CPU, where
//          an operator is done when it returns, none is in flight and nothing is copied.
// Threads: one.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/nn/loss.h"
#include "engine/train/scores.h"

namespace gneiss {

class StepResults {
 public:
  // Takes a batch whose loss is known.
  using Take = std::function<void(const BatchKey& key, const LossSum& loss)>;

  //   seed_count_max  of any batch;  columns  of its logits
  StepResults(Backend& backend, ScoreSum& scores, std::uint32_t seed_count_max, std::uint32_t columns);
  // What the constructor takes of the host's memory.
  static std::uint64_t bytes(const Device& device, std::uint32_t seed_count_max,
                             std::uint32_t columns) noexcept;

  // Starts the batch's loss, and adds its scores once they are known.
  //   labels  of the batch, in host memory; not needed after
  void start(Loss& loss, ConstMatrixView logits, const BatchView& batch, const BatchLabels& labels,
             Loss::Gradient gradient, const Take& take);
  // Waits for all that is in flight.
  void settle(const Take& take);

 private:
  struct Result {
    BatchKey key{};
    LossSum* loss = nullptr;
    MatrixView logits{};
    std::vector<std::int32_t> targets;
    std::vector<std::uint8_t> label_rows;
    std::uint32_t label_columns = 0;
    Backend::Mark mark = 0;
  };
  void settle_oldest(const Take& take);

  Backend& backend_;
  ScoreSum& scores_;
  HostMemory losses_;  // [results]
  HostMemory logits_;  // [results, seed_count_max * columns]
  std::size_t batch_elements_ = 0;
  std::vector<Result> results_;  // a ring
  std::size_t oldest_ = 0;
  std::size_t in_flight_ = 0;
};

}  // namespace gneiss
