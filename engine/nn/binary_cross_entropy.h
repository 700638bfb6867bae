// Binary cross-entropy with logits over columns of labels: the mean over all entries that have a label.
//
// Source: PyTorch's BCEWithLogitsLoss(reduction="mean") over the labelled entries, as OGB's examples for
//         ogbn-proteins train; entries without a label have no loss and no gradient.
#pragma once

#include "engine/nn/loss.h"

namespace gneiss {

class BinaryCrossEntropy final : public Loss {
 public:
  BinaryCrossEntropy(Backend& backend, std::uint32_t seed_count_max, std::uint32_t columns)
      : Loss(backend, seed_count_max, columns) {}

  bool weighs_anything(const BatchLabels& labels) const override;

 private:
  void compute(ConstMatrixView logits, const BatchView& batch, MatrixView gradient, LossSum& result) override;
};

}  // namespace gneiss
