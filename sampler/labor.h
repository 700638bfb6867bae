// LABOR: the destinations of a hop share one random variate per source, and each takes the k neighbors with
// the smallest. Neighborhoods that overlap then draw the same sources: fewer input rows at the same variance.
//
// Unbiased: within one neighborhood the variates are independent and alike, so every neighbor is among the k
//           smallest with probability k / degree, as in uniform sampling.
// Random:   a variate is a function of (seed, split, epoch, worker, batch, hop, node): threads change
//           nothing.
// Source:   Balin and Catalyurek, "Layer-Neighbor Sampling" (NeurIPS 2023), in the fixed-size form
//           (sequential Poisson sampling, Ohlsson 1998); the two dependencies are GraphBolt's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "storage/base/ids.h"
#include "storage/format/batch_key.h"

namespace gneiss {

struct LaborOptions {
  bool layer_dependency = false;  // all hops of a batch share their variates
  std::uint32_t batch_dependency =
      1;  // variates change smoothly and are new only every so many batches; 1: each
};

// The variates of one hop of one batch. Smaller is taken first.
class LaborVariates {
 public:
  LaborVariates(std::uint64_t seed, const BatchKey& key, std::uint32_t hop, const LaborOptions& options);

  double of(NodeId node) const;

 private:
  std::uint64_t key_ = 0;       // of the variates now
  std::uint64_t next_key_ = 0;  // of those being approached
  double now_weight_ = 1;       // their shares: a point on the unit circle keeps the variance
  double next_weight_ = 0;
};

// Fills `positions` with those of the `fanout` smallest variates among `neighbors`, ascending; all where
// there are no more. `scratch` is reused from call to call.
void draw_labor(std::span<const NodeId> neighbors, std::uint64_t fanout, const LaborVariates& variates,
                std::vector<std::pair<double, std::uint64_t>>& scratch,
                std::vector<std::uint64_t>& positions);

}  // namespace gneiss
