// Binary cross-entropy with logits over columns of labels: the mean over all entries that have a label.
//
// Source: PyTorch's BCEWithLogitsLoss(reduction="mean") over the labelled entries, as OGB's examples for
//         ogbn-proteins train; entries without a label have no loss and no gradient.
#pragma once

#include <span>
#include <vector>

#include "engine/nn/loss.h"

namespace gneiss {

// A batch's labels as [seeds, columns] of 0, 1 and `unlabelled`: its rows where it has them, else its
// classes, 0 and 1, as one column in `memory`.
std::span<const std::uint8_t> binary_labels(const BatchView& batch, std::vector<std::uint8_t>& memory);

class BinaryCrossEntropy final : public Loss {
 public:
  BinaryCrossEntropy(Backend& backend, std::uint32_t seed_count_max, std::uint32_t columns);

 private:
  LossSum compute(ConstMatrixView logits, const BatchView& batch, MatrixView gradient) override;

  std::vector<std::uint8_t> labels_;  // where they come as classes
};

}  // namespace gneiss
