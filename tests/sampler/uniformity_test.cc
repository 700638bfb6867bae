// Is each neighbor drawn equally often? The same check passes the sampler and fails biased ones.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "sampler/neighbor_sampler.h"
#include "storage/base/random.h"
#include "tests/support/chi_square.h"

namespace gneiss {
namespace {

constexpr double p_least = 1e-4;

// Draws positions below `degree`, for the i-th of many independent draws.
using Draw = std::function<std::vector<std::uint64_t>(std::uint32_t i)>;

struct Drawing {
  std::uint64_t degree;
  std::int32_t fanout;
  bool replace = false;
};

// Of a node with `degree` in-neighbors, by the real sampler; the batch number varies the draw.
Draw real_sampler(const Drawing& drawing, std::uint64_t seed) {
  struct State {
    std::vector<std::uint64_t> indptr;
    std::vector<NodeId> indices;
    SampledBatch batch;
  };
  const auto state = std::make_shared<State>();
  state->indptr.assign(drawing.degree + 2, drawing.degree);
  state->indptr.front() = 0;
  for (std::uint32_t i = 1; i <= drawing.degree; ++i) state->indices.push_back(static_cast<NodeId>(i));
  const auto sampler = std::make_shared<NeighborSampler>(
      Topology{state->indptr, state->indices},
      SamplerOptions{
          .fanouts = {drawing.fanout}, .replace = drawing.replace, .edge_positions = true, .seed = seed});
  return [state, sampler](std::uint32_t i) {
    sampler->sample({.batch = i}, std::array{NodeId{0}}, state->batch);
    return state->batch.blocks[0].edge_positions;
  };
}

double frequency_p(const Draw& draw, const Drawing& drawing, std::uint32_t draws) {
  std::vector<std::uint64_t> counts(drawing.degree);
  for (std::uint32_t i = 0; i < draws; ++i) {
    for (const std::uint64_t position : draw(i)) ++counts[position];
  }
  // With replacement each of the draws' entries is an independent draw of one.
  return drawing.replace ? test::equal_frequency_p(counts, draws * static_cast<double>(drawing.fanout), 1)
                         : test::equal_frequency_p(counts, draws, drawing.fanout);
}

// Every subset equally often, not only every neighbor: a sampler of runs of neighbors fails here.
double subset_p(const Draw& draw, std::size_t subsets, std::uint32_t draws) {
  std::map<std::vector<std::uint64_t>, std::uint64_t> seen;
  for (std::uint32_t i = 0; i < draws; ++i) {
    auto positions = draw(i);
    std::ranges::sort(positions);
    ++seen[positions];
  }
  std::vector<std::uint64_t> counts;
  for (const auto& [positions, count] : seen) counts.push_back(count);
  counts.resize(subsets);
  return test::equal_frequency_p(counts, draws, 1);
}

}  // namespace

TEST_CASE("the chi-square tail agrees with tables") {
  CHECK(test::chi_square_tail(3.841459, 1) == doctest::Approx(0.05).epsilon(1e-5));
  CHECK(test::chi_square_tail(18.307038, 10) == doctest::Approx(0.05).epsilon(1e-5));
  CHECK(test::chi_square_tail(149.449253, 100) == doctest::Approx(0.001).epsilon(1e-5));
  CHECK(test::chi_square_tail(77.929465, 100) == doctest::Approx(0.95).epsilon(1e-5));
}

TEST_CASE("each neighbor is drawn equally often") {
  const std::array<Drawing, 10> drawings{{{2, 1},
                                          {3, 2},
                                          {11, 10},
                                          {15, 10},
                                          {200, 1},
                                          {200, 48},  // Floyd's algorithm up to here
                                          {50, 49},   // selection from here on
                                          {200, 100},
                                          {7, 10, true},
                                          {100, 3, true}}};
  for (const Drawing& drawing : drawings) {
    for (const std::uint64_t seed : {1, 2}) {
      const double p = frequency_p(real_sampler(drawing, seed), drawing, 20'000);
      CHECK_MESSAGE(p > p_least, "degree ", drawing.degree, " fanout ", drawing.fanout, " seed ", seed);
    }
  }
}

TEST_CASE("each set of neighbors is drawn equally often") {
  CHECK(subset_p(real_sampler({5, 2}, 1), 10, 20'000) > p_least);
  CHECK(subset_p(real_sampler({8, 4}, 2), 70, 50'000) > p_least);
  CHECK(subset_p(real_sampler({50, 49}, 3), 50, 50'000) > p_least);  // by selection
}

TEST_CASE("the draws of consecutive batches do not go together") {
  const Draw draw = real_sampler({5, 1}, 1);
  const Draw pairs = [&](std::uint32_t i) {
    const std::uint64_t first = draw(2 * i).front();
    return std::vector<std::uint64_t>{5 * first + draw(2 * i + 1).front()};
  };
  CHECK(frequency_p(pairs, {25, 1}, 20'000) > p_least);
}

TEST_CASE("biased samplers fail the same check") {
  // Floyd's algorithm, off by one: the last neighbor of each range is never drawn itself.
  const Draw floyd_off_by_one = [](std::uint32_t i) {
    RandomStream random(mix_key(1, i));
    std::vector<std::uint64_t> positions;
    for (std::uint64_t last = 5; last < 15; ++last) {
      const std::uint64_t drawn = random.below(last);
      positions.push_back(std::ranges::find(positions, drawn) == positions.end() ? drawn : last);
    }
    return positions;
  };
  CHECK(frequency_p(floyd_off_by_one, {15, 10}, 20'000) < p_least);

  // Remainders of a number that is too small: the first neighbors come 12 % more often.
  const Draw remainder = [](std::uint32_t i) {
    return std::vector<std::uint64_t>{(RandomStream(mix_key(2, i)).next() & 127U) % 15};
  };
  CHECK(frequency_p(remainder, {15, 1}, 20'000) < p_least);

  // A run of neighbors from a random first one: each equally often, but few of the sets.
  const Draw runs = [](std::uint32_t i) {
    const std::uint64_t first = RandomStream(mix_key(3, i)).below(8);
    return std::vector<std::uint64_t>{first, (first + 1) % 8, (first + 2) % 8, (first + 3) % 8};
  };
  CHECK(frequency_p(runs, {8, 4}, 20'000) > p_least);
  CHECK(subset_p(runs, 70, 20'000) < p_least);
}

}  // namespace gneiss
