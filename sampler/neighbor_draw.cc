#include "sampler/neighbor_draw.h"

#include <algorithm>

#include "storage/base/error.h"
#include "storage/base/random.h"

namespace gneiss {
namespace {

// Up to here the quadratic search for repeats in Floyd's algorithm beats one pass over the neighbors.
constexpr std::int32_t floyd_fanout_max = 48;

}  // namespace

NeighborDraw::NeighborDraw(SamplerOptions options)
    : options_(std::move(options)), variates_(options_.seed, {}, 0, options_.labor) {
  for (const std::int32_t fanout : options_.fanouts) GNEISS_ASSERT(fanout >= -1 && fanout != 0);
  GNEISS_ASSERT(options_.kind != SamplerKind::labor || !options_.replace);
}

void NeighborDraw::begin_hop(const BatchKey& key, std::uint32_t hop) {
  fanout_ = options_.fanouts[hop];
  hop_key_ =
      mix_key(options_.seed, static_cast<std::uint32_t>(key.split), key.epoch, key.worker, key.batch, hop);
  variates_ = LaborVariates(options_.seed, key, hop, options_.labor);
}

std::uint64_t NeighborDraw::count(std::uint64_t degree) const noexcept {
  if (degree == 0) return 0;
  return takes_all(degree) ? degree : static_cast<std::uint64_t>(fanout_);
}

std::span<const std::uint64_t> NeighborDraw::draw(NodeId node, std::span<const NodeId> neighbors) {
  if (!needs_neighbors()) return draw(node, neighbors.size());
  draw_labor(neighbors, static_cast<std::uint64_t>(fanout_), variates_, labor_scratch_, positions_);
  return positions_;
}

std::span<const std::uint64_t> NeighborDraw::draw(NodeId node, std::uint64_t degree) {
  positions_.clear();
  if (degree == 0) return positions_;
  RandomStream random(mix_key(hop_key_, to_index(node)));
  const auto wanted = static_cast<std::uint64_t>(fanout_);
  if (takes_all(degree)) {
    for (std::uint64_t i = 0; i < degree; ++i) positions_.push_back(i);
    return positions_;
  }
  if (options_.replace) {
    for (std::uint64_t i = 0; i < wanted; ++i) positions_.push_back(random.below(degree));
    return positions_;
  }
  if (fanout_ <= floyd_fanout_max) {
    for (std::uint64_t last = degree - wanted; last < degree; ++last) {
      const std::uint64_t drawn = random.below(last + 1);
      positions_.push_back(std::ranges::find(positions_, drawn) == positions_.end() ? drawn : last);
    }
    return positions_;
  }
  std::uint64_t missing = wanted;
  for (std::uint64_t i = 0; missing > 0; ++i) {
    if (random.below(degree - i) < missing) {
      positions_.push_back(i);
      --missing;
    }
  }
  return positions_;
}

}  // namespace gneiss
