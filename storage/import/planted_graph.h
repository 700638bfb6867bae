// The model behind generated datasets: every node's class, features and edges as a function of the seed.
//
// Why:     nothing is stored, so any part can be made by any thread at any time, always the same.
// Model:   a hidden rank r gives a node its group (r mod groups) and its place in the group; groups belong
//          to classes in turn. A node of place q draws its share of all edges by weight (q + 1)^-skew, and
//          partners are chosen by the same weight, so that degrees have the tail P(degree > d) ~
//          d^(-1 / skew). A partner is of the same class with probability `homophily`, and then, where there
//          are communities, of the same community with probability `community_share`. Features are the
//          class's mean, a random corner of a cube at distance `signal` from the origin, and noise of
//          deviation 1 a column. A share `label_noise` of the labels is drawn at random.
// Exact:   arithmetic is integer or IEEE (no libm, no fused operations): the same bytes on every machine.
// Threads: const members may run concurrently.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "storage/base/random.h"
#include "storage/import/id_shuffle.h"

namespace gneiss {

struct PlantedOptions {
  std::uint64_t node_count = 0;
  double average_degree = 15;  // edges drawn per node, before reverse edges are added
  double degree_skew = 0.6;    // 0: all alike; 0.5: tail exponent 3; 0.67: 2.5
  std::uint32_t feature_dim = 128;
  std::uint32_t class_count = 32;
  double homophily = 0.6;
  std::uint32_t community_count = 0;  // 0: none but the classes themselves
  double community_share = 0.8;
  double signal = 2;
  double label_noise = 0.1;
  std::uint64_t seed = 1;
};

class PlantedGraph {
 public:
  // Throws Error(config) naming the option that cannot be.
  explicit PlantedGraph(const PlantedOptions& options);
  // What it will take. Throws as it does.
  static std::uint64_t memory_bytes(const PlantedOptions& options);

  const PlantedOptions& options() const noexcept { return options_; }
  std::uint32_t class_of(std::uint64_t node) const noexcept;  // what features and edges follow
  std::uint32_t label_of(std::uint64_t node) const noexcept;  // the class, or noise
  // Appends the partners that `node` draws; never itself, perhaps one twice.
  void draw_partners(std::uint64_t node, std::vector<std::uint32_t>& partners) const;
  // Fills row[feature_dim].
  void draw_features(std::uint64_t node, std::span<float> row) const noexcept;
  // The nearest class mean: with these features alone nobody can do better.
  std::uint32_t classify(std::span<const float> row) const noexcept;

 private:
  std::uint32_t group_of(std::uint64_t rank) const noexcept {
    return static_cast<std::uint32_t>(rank % group_count_);
  }
  std::uint64_t group_size(std::uint32_t group) const noexcept;
  std::uint32_t choose_group(std::uint32_t own, RandomStream& random) const noexcept;
  bool is_positive(std::uint32_t cls, std::uint32_t column) const noexcept {
    return (corners_[std::size_t{cls} * corner_words_ + column / 64] >> (column % 64) & 1) != 0;
  }

  PlantedOptions options_;
  std::uint32_t group_count_;
  IdShuffle shuffle_;  // rank → node id
  std::size_t corner_words_;
  std::vector<std::uint64_t> corners_;  // a bit for each class and column: the sign of its mean
  float mean_magnitude_ = 0;
};

// x^y for x in [0, 1] and y > 0 to about 1e-14, by IEEE operations alone.
double stable_power(double x, double y) noexcept;

}  // namespace gneiss
