#include "storage/import/planted_graph.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "storage/base/error.h"
#include "storage/base/ids.h"
#include "storage/base/random.h"

namespace gneiss {
namespace {

// What a draw is for; part of its key, so that no two purposes share numbers.
enum class Purpose : std::uint64_t { shuffle = 1, edges = 2, features = 3, means = 4, labels = 5 };

std::uint64_t key_for(std::uint64_t seed, Purpose purpose, std::uint64_t item = 0) noexcept {
  return mix_key(seed, static_cast<std::uint64_t>(purpose), item);
}

// The sum of four 16-bit uniforms (Irwin-Hall): mean 0, and within 1 % of the normal's distribution function.
std::int32_t centered_sum(std::uint64_t bits) noexcept {
  constexpr std::int32_t mean = 2 * 65535;
  return static_cast<std::int32_t>((bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) +
                                   (bits >> 48)) -
         mean;
}
constexpr float one_over_deviation = 1.0F / 37837.2F;  // 65536 / sqrt(3)

void expect_share(double value, const char* option) {
  if (!(value >= 0 && value <= 1)) fail(Kind::config, "{} is {}; use a share from 0 to 1", option, value);
}

void check(const PlantedOptions& options) {
  if (options.node_count < 1 || options.node_count > max_node_count) {
    fail(Kind::config, "--nodes is {}; use 1 to {}, for ids are 32 bits", options.node_count, max_node_count);
  }
  if (!(options.average_degree >= 0 && options.average_degree <= 1e6)) {
    fail(Kind::config, "--avg-degree is {}; use 0 to 1,000,000", options.average_degree);
  }
  if (!(options.degree_skew >= 0 && options.degree_skew <= 0.95)) {
    fail(Kind::config, "--degree-skew is {}; use 0 (all degrees alike) to 0.95", options.degree_skew);
  }
  if (options.feature_dim < 1 || options.feature_dim > (1U << 24)) {
    fail(Kind::config, "--features is {}; use a dimension from 1 to {}", options.feature_dim, 1U << 24);
  }
  if (options.class_count < 1 || options.class_count > (1U << 20)) {
    fail(Kind::config, "--classes is {}; use 1 to {}", options.class_count, 1U << 20);
  }
  if (options.community_count != 0 && options.community_count < options.class_count) {
    fail(Kind::config, "--communities is {}, fewer than the {} classes; each class holds at least one",
         options.community_count, options.class_count);
  }
  const std::uint64_t groups = std::max(options.community_count, options.class_count);
  if (groups > options.node_count) {
    fail(Kind::config, "{} classes or communities need as many nodes at least; --nodes is {}", groups,
         options.node_count);
  }
  expect_share(options.homophily, "--homophily");
  expect_share(options.community_share, "--community-share");
  expect_share(options.label_noise, "--label-noise");
  if (!(options.signal >= 0 && options.signal <= 1e3)) {
    fail(Kind::config, "--signal is {}; use 0 to 1000", options.signal);
  }
}

}  // namespace

double stable_power(double x, double y) noexcept {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  // x = m 2^e with m in [0.71, 1.42); log m = 2 atanh(t) by its series: t^2 < 0.03, eleven terms.
  auto bits = std::bit_cast<std::uint64_t>(x);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  double mantissa = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFFULL) | 0x3FF0000000000000ULL);
  if (mantissa > 1.4142135623730951) {
    mantissa *= 0.5;
    ++exponent;
  }
  const double t = (mantissa - 1) / (mantissa + 1);
  const double t2 = t * t;
  double series = 1.0 / 21;
  for (int odd = 19; odd >= 1; odd -= 2) series = series * t2 + 1.0 / odd;
  const double log2_x = exponent + 2 * t * series * 1.4426950408889634;

  // 2^p = 2^k exp(f log 2) with f in [-0.5, 0.5]; thirteen terms of the exponential's series.
  const double p = y * log2_x;
  if (p < -1000) return 0;
  const double k = std::floor(p + 0.5);
  const double f = (p - k) * 0.6931471805599453;
  double exponential = 1;
  for (int n = 13; n >= 1; --n) exponential = 1 + exponential * f / n;
  const auto scale =
      std::bit_cast<double>(static_cast<std::uint64_t>(static_cast<std::int64_t>(k) + 1023) << 52);
  return exponential * scale;
}

std::uint64_t PlantedGraph::memory_bytes(const PlantedOptions& options) {
  check(options);
  return std::uint64_t{options.class_count} * ((options.feature_dim + 63) / 64) * sizeof(std::uint64_t);
}

PlantedGraph::PlantedGraph(const PlantedOptions& options)
    : options_((check(options), options)),
      group_count_(std::max(options.community_count, options.class_count)),
      shuffle_(options.node_count, key_for(options.seed, Purpose::shuffle)),
      corner_words_((options.feature_dim + 63) / 64),
      corners_(std::size_t{options.class_count} * corner_words_) {
  for (std::size_t i = 0; i < corners_.size(); ++i) corners_[i] = key_for(options.seed, Purpose::means, i);
  mean_magnitude_ = static_cast<float>(options.signal / std::sqrt(static_cast<double>(options.feature_dim)));
}

std::uint64_t PlantedGraph::group_size(std::uint32_t group) const noexcept {
  return options_.node_count / group_count_ + (group < options_.node_count % group_count_ ? 1 : 0);
}

std::uint32_t PlantedGraph::class_of(std::uint64_t node) const noexcept {
  return group_of(shuffle_.backward(node)) % options_.class_count;
}

std::uint32_t PlantedGraph::label_of(std::uint64_t node) const noexcept {
  RandomStream random(key_for(options_.seed, Purpose::labels, node));
  if (random.uniform() >= options_.label_noise) return class_of(node);
  return static_cast<std::uint32_t>(random.below(options_.class_count));
}

std::uint32_t PlantedGraph::choose_group(std::uint32_t own, RandomStream& random) const noexcept {
  const std::uint32_t classes = options_.class_count;
  std::uint32_t cls = own % classes;
  if (classes > 1 && random.uniform() >= options_.homophily) {
    const auto other = static_cast<std::uint32_t>(random.below(classes - 1));
    cls = other + (other >= cls ? 1 : 0);
  } else if (group_count_ == classes || random.uniform() < options_.community_share) {
    return own;
  }
  // Groups of a class: cls, cls + classes, cls + 2 classes, ...
  const std::uint32_t groups = group_count_ / classes + (cls < group_count_ % classes ? 1 : 0);
  return cls + classes * static_cast<std::uint32_t>(random.below(groups));
}

void PlantedGraph::draw_partners(std::uint64_t node, std::vector<std::uint32_t>& partners) const {
  const std::uint64_t rank = shuffle_.backward(node);
  const std::uint32_t own = group_of(rank);
  const std::uint64_t member = rank / group_count_;
  const auto place = static_cast<double>(member);
  const auto members = static_cast<double>(group_size(own));
  // The weights' integral up to a share x of a group is x^(1 - skew): its difference over one place is the
  // node's share of the group's edges, its inverse turns a uniform number into a place.
  const double rest = 1 - options_.degree_skew;
  const double share = stable_power((place + 1) / members, rest) - stable_power(place / members, rest);
  RandomStream random(key_for(options_.seed, Purpose::edges, node));
  const auto draws = static_cast<std::uint64_t>(share * members * options_.average_degree + random.uniform());
  const double power = 1 / rest;
  for (std::uint64_t i = 0; i < draws; ++i) {
    const std::uint32_t group = choose_group(own, random);
    const std::uint64_t size = group_size(group);
    const double uniform = random.uniform();
    const double chosen = options_.degree_skew == 0 ? uniform : stable_power(uniform, power);
    const auto partner_place =
        std::min(static_cast<std::uint64_t>(chosen * static_cast<double>(size)), size - 1);
    const std::uint64_t partner = partner_place * group_count_ + group;
    if (partner != rank) partners.push_back(static_cast<std::uint32_t>(shuffle_.forward(partner)));
  }
}

void PlantedGraph::draw_features(std::uint64_t node, std::span<float> row) const noexcept {
  const std::uint32_t cls = class_of(node);
  RandomStream random(key_for(options_.seed, Purpose::features, node));
  for (std::uint32_t column = 0; column < row.size(); ++column) {
    const float noise = static_cast<float>(centered_sum(random.next())) * one_over_deviation;
    row[column] = noise + (is_positive(cls, column) ? mean_magnitude_ : -mean_magnitude_);
  }
}

std::uint32_t PlantedGraph::classify(std::span<const float> row) const noexcept {
  std::uint32_t best = 0;
  double best_score = 0;
  for (std::uint32_t cls = 0; cls < options_.class_count; ++cls) {
    // All means are equally far from the origin: the nearest one has the largest product with the row.
    double score = 0;
    for (std::uint32_t column = 0; column < row.size(); ++column) {
      score += is_positive(cls, column) ? row[column] : -row[column];
    }
    if (cls == 0 || score > best_score) {
      best = cls;
      best_score = score;
    }
  }
  return best;
}

}  // namespace gneiss
