#include "engine/nn/binary_cross_entropy.h"

#include <algorithm>

namespace gneiss {

void BinaryCrossEntropy::compute(ConstMatrixView logits, const BatchView& batch, MatrixView gradient,
                                 LossSum& result) {
  // Two classes are one column, whose label is the class.
  const BinaryLabels labels = batch.label_columns > 0 ? BinaryLabels{.entries = batch.label_rows}
                                                      : BinaryLabels{.classes = batch.targets};
  backend().binary_cross_entropy(logits, labels, gradient, result);
}

bool BinaryCrossEntropy::weighs_anything(const BatchLabels& labels) const {
  return std::ranges::any_of(labels.label_rows, [](std::uint8_t entry) { return entry <= 1; }) ||
         std::ranges::any_of(labels.targets, [](std::int32_t target) { return target != no_label; });
}

}  // namespace gneiss
