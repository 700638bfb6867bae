#include "sampler/labor.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "storage/base/error.h"
#include "storage/base/random.h"

namespace gneiss {

LaborVariates::LaborVariates(std::uint64_t seed, const BatchKey& key, std::uint32_t hop,
                             const LaborOptions& options) {
  GNEISS_ASSERT(options.batch_dependency >= 1);
  constexpr std::uint64_t labor_stream = 0x1AB0;  // apart from neighbor sampling's streams
  const std::uint64_t layer = options.layer_dependency ? 0 : hop + 1;
  const auto key_of_period = [&](std::uint64_t period) {
    return mix_key(seed, labor_stream, static_cast<std::uint32_t>(key.split), key.epoch, key.worker, layer,
                   period);
  };
  const std::uint64_t period = key.batch / options.batch_dependency;
  const double progress =
      static_cast<double>(key.batch % options.batch_dependency) / options.batch_dependency;
  key_ = key_of_period(period);
  next_key_ = key_of_period(period + 1);
  now_weight_ = std::cos(progress * std::numbers::pi / 2);
  next_weight_ = std::sin(progress * std::numbers::pi / 2);
}

double LaborVariates::of(NodeId node) const {
  if (next_weight_ == 0) return RandomStream(mix_key(key_, to_index(node))).uniform();
  // Mixed normals are normal again; their order is that of the uniforms they stand for.
  return now_weight_ * RandomStream(mix_key(key_, to_index(node))).normal() +
         next_weight_ * RandomStream(mix_key(next_key_, to_index(node))).normal();
}

void draw_labor(std::span<const NodeId> neighbors, std::uint64_t fanout, const LaborVariates& variates,
                std::vector<std::pair<double, std::uint64_t>>& scratch,
                std::vector<std::uint64_t>& positions) {
  positions.clear();
  if (neighbors.size() <= fanout) {
    for (std::uint64_t i = 0; i < neighbors.size(); ++i) positions.push_back(i);
    return;
  }
  scratch.clear();
  for (std::uint64_t i = 0; i < neighbors.size(); ++i) scratch.emplace_back(variates.of(neighbors[i]), i);
  std::ranges::nth_element(scratch, scratch.begin() + static_cast<std::ptrdiff_t>(fanout));
  for (std::uint64_t i = 0; i < fanout; ++i) positions.push_back(scratch[i].second);
  std::ranges::sort(positions);
}

}  // namespace gneiss
