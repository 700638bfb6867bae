#include "engine/nn/binary_cross_entropy.h"

#include "storage/base/error.h"

namespace gneiss {

std::span<const std::uint8_t> binary_labels(const BatchView& batch, std::vector<std::uint8_t>& memory) {
  if (batch.label_columns > 0) return batch.label_rows;
  memory.clear();
  for (const std::int32_t target : batch.targets) {
    GNEISS_ASSERT(target >= no_label && target <= 1);
    memory.push_back(target == no_label ? unlabelled : static_cast<std::uint8_t>(target));
  }
  return memory;
}

BinaryCrossEntropy::BinaryCrossEntropy(Backend& backend, std::uint32_t seed_count_max, std::uint32_t columns)
    : Loss(backend, seed_count_max, columns) {
  if (columns == 1) labels_.reserve(seed_count_max);
}

LossSum BinaryCrossEntropy::compute(ConstMatrixView logits, const BatchView& batch, MatrixView gradient) {
  return backend().binary_cross_entropy(logits, binary_labels(batch, labels_), gradient);
}

}  // namespace gneiss
