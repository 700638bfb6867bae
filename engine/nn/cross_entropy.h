// Softmax cross-entropy over one class a seed, with weights of classes and label smoothing.
//
// Source: PyTorch's CrossEntropyLoss(weight, ignore_index, reduction="mean", label_smoothing): the mean is
//         weighted by the weights of the seeds' own classes; smoothing spreads its share evenly before
//         classes are weighted. Szegedy et al. (2016) for the smoothing.
#pragma once

#include <vector>

#include "engine/nn/loss.h"

namespace gneiss {

struct CrossEntropyOptions {
  std::vector<float> class_weights{};  // one a class, 0 or more; empty: all alike
  float label_smoothing = 0;           // 0 to below 1
};

// Throws Error(config) for a smoothing outside [0, 1), weights that are negative, no numbers or all 0, or not
// `class_count` of them.
void check_cross_entropy(const CrossEntropyOptions& options, std::uint32_t class_count);

class CrossEntropy final : public Loss {
 public:
  // Throws Error(config) as check_cross_entropy() does.
  CrossEntropy(Backend& backend, std::uint32_t seed_count_max, std::uint32_t class_count,
               const CrossEntropyOptions& options = {});

  bool weighs_anything(const BatchLabels& labels) const override;

 private:
  void compute(ConstMatrixView logits, const BatchView& batch, MatrixView gradient, LossSum& result) override;

  std::vector<float> host_weights_;
  Buffer weights_;  // the same
  float smoothing_;
};

}  // namespace gneiss
