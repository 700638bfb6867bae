// Operators whose result comes later, waited for: the result as a value.
#pragma once

#include <cstdint>
#include <span>

#include "engine/compute/backend.h"

namespace gneiss::test {

// What `start(result)` leaves in the backend's host memory.
template <class Result, class Start>
Result waited_for(Backend& backend, const Start& start) {
  const HostMemory memory = backend.allocate_host(sizeof(Result));
  Result& result = memory.as<Result>().front();
  start(result);
  backend.wait(backend.mark());
  return result;
}

inline LossSum cross_entropy(Backend& backend, ConstMatrixView logits, std::span<const std::int32_t> targets,
                             const ClassWeighting& classes, MatrixView gradient) {
  return waited_for<LossSum>(
      backend, [&](LossSum& sum) { backend.cross_entropy(logits, targets, classes, gradient, sum); });
}

inline LossSum binary_cross_entropy(Backend& backend, ConstMatrixView logits, const BinaryLabels& labels,
                                    MatrixView gradient) {
  return waited_for<LossSum>(
      backend, [&](LossSum& sum) { backend.binary_cross_entropy(logits, labels, gradient, sum); });
}

// Returns the norm before.
inline double clip_norm(Backend& backend, std::span<float> values, double norm_max) {
  return waited_for<double>(backend, [&](double& norm) { backend.clip_norm(values, norm_max, norm); });
}

}  // namespace gneiss::test
