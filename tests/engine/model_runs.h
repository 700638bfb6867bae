// Short runs of a whole model on one batch, and how far their numbers are apart.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "engine/compute/reference.h"
#include "engine/nn/model.h"

namespace gneiss::test {

// The largest difference as a share of the largest value; no number where there is one without. Fails the
// test where shapes differ.
double distance(const reference::Matrix& a, const reference::Matrix& b);

// Logits, losses and parameters after three steps.
std::vector<float> train(const std::string& name, const ModelOptions& options, const BatchView& batch,
                         std::span<const BlockMaxima> maxima, std::size_t threads,
                         Precision precision = Precision::f32);

bool equal_bits(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace gneiss::test
