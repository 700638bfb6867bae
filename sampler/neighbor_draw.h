// Which of a destination's neighbors are drawn: the one place of it, for every way of going through a graph.
//
// Why:     sampling in memory and sampling while sweeping the file must draw the same; only where the
//          neighbors come from differs.
// Random:  each draw is a function of (seed, split, epoch, batch, hop, node): threads change nothing.
// Threads: belongs to one thread.
// Source:  a uniform subset without replacement by Floyd's algorithm (Bentley and Floyd, CACM 1987) for small
//          fanouts, by selection sampling (Knuth, TAOCP 2, algorithm S) for large ones; LABOR: labor.h.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "sampler/labor.h"
#include "storage/base/ids.h"
#include "storage/format/preparation.h"

namespace gneiss {

struct SamplerOptions {
  std::vector<std::int32_t> fanouts;  // fanouts[0] is drawn for the seeds, as PyG's num_neighbors; -1: all
  bool replace = false;         // draw with replacement: exactly `fanout` draws where there is a neighbor
  bool edge_positions = false;  // record where in csc_indices each sampled edge stands
  std::uint64_t seed = 0;
  SamplerKind kind = SamplerKind::neighbor;
  LaborOptions labor{};
};

class NeighborDraw {
 public:
  explicit NeighborDraw(SamplerOptions options);

  const SamplerOptions& options() const noexcept { return options_; }
  // What follows is for this hop of this batch.
  void begin_hop(const BatchKey& key, std::uint32_t hop);

  // How many are drawn of `degree` neighbors.
  std::uint64_t count(std::uint64_t degree) const noexcept;
  // All `degree` neighbors are drawn, each once and in order: no random number decides.
  bool takes_all(std::uint64_t degree) const noexcept {
    return fanout_ == -1 || (!options_.replace && degree <= static_cast<std::uint64_t>(fanout_));
  }
  // The draw depends on who the neighbors are, not only on how many.
  bool needs_neighbors() const noexcept { return options_.kind == SamplerKind::labor && fanout_ != -1; }
  const LaborVariates& variates() const noexcept { return variates_; }

  // The drawn among `node`'s neighbors, by position, in the order of the batch; valid until the next call.
  std::span<const std::uint64_t> draw(NodeId node, std::span<const NodeId> neighbors);
  // The same from their number alone. Precondition: !needs_neighbors().
  std::span<const std::uint64_t> draw(NodeId node, std::uint64_t degree);

 private:
  SamplerOptions options_;
  std::int32_t fanout_ = -1;
  std::uint64_t hop_key_ = 0;
  LaborVariates variates_;
  std::vector<std::pair<double, std::uint64_t>> labor_scratch_;
  std::vector<std::uint64_t> positions_;
};

}  // namespace gneiss
