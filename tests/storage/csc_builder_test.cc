#include "storage/import/csc_builder.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <set>

#include "storage/base/random.h"
#include "storage/import/radix_sort.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

using Edges = std::vector<std::pair<std::uint32_t, std::uint32_t>>;  // source, destination

struct Csc {
  std::vector<std::uint64_t> indptr;
  std::vector<std::uint32_t> indices;
  bool operator==(const Csc&) const = default;
};

Csc build(const Edges& edges, CscOptions options, std::size_t threads) {
  const test::TemporaryFolder folder;
  options.scratch_folder = folder.path();
  ThreadPool pool(threads);
  CscBuilder builder(options, pool);
  constexpr std::size_t piece = 100;
  pool.parallel_for((edges.size() + piece - 1) / piece, [&](std::size_t i, std::size_t worker) {
    for (std::size_t e = i * piece; e < std::min(edges.size(), (i + 1) * piece); ++e) {
      builder.add(worker, edges[e].first, edges[e].second);
    }
  });
  Csc csc;
  const std::uint64_t count = builder.finish({
      .indptr = [&](auto values) { csc.indptr.insert(csc.indptr.end(), values.begin(), values.end()); },
      .indices = [&](auto values) { csc.indices.insert(csc.indices.end(), values.begin(), values.end()); },
  });
  CHECK(count == csc.indices.size());
  CHECK(std::filesystem::is_empty(folder.path()));
  return csc;
}

Csc build_plainly(Edges edges, const CscOptions& options) {
  if (options.self_loops) std::erase_if(edges, [](const auto& edge) { return edge.first == edge.second; });
  if (options.add_reverse) {
    const std::size_t count = edges.size();
    for (std::size_t i = 0; i < count; ++i) edges.emplace_back(edges[i].second, edges[i].first);
  }
  if (options.self_loops) {
    for (std::uint32_t node = 0; node < options.node_count; ++node) edges.emplace_back(node, node);
  }
  std::ranges::sort(edges, {}, [](const auto& edge) { return std::pair(edge.second, edge.first); });
  if (options.deduplicate) edges.erase(std::ranges::unique(edges).begin(), edges.end());
  Csc csc;
  csc.indptr.assign(options.node_count + 1, 0);
  for (const auto& [source, destination] : edges) {
    ++csc.indptr[destination + 1];
    csc.indices.push_back(source);
  }
  for (std::size_t i = 0; i < options.node_count; ++i) csc.indptr[i + 1] += csc.indptr[i];
  return csc;
}

Edges random_edges(std::uint64_t nodes, std::size_t count, std::uint64_t seed) {
  Edges edges;
  RandomStream random(seed);
  for (std::size_t i = 0; i < count; ++i) {
    edges.emplace_back(random.below(nodes), random.below(nodes));
  }
  return edges;
}

}  // namespace

TEST_CASE("keys are sorted by their low bits") {
  RandomStream random(5);
  for (const std::size_t count : {0, 1, 100, 5000, 70'000}) {
    for (const int bits : {1, 11, 12, 30, 63}) {
      std::vector<std::uint64_t> keys(count);
      const std::uint64_t prefix = bits < 60 ? 5ULL << bits : 0;
      for (auto& key : keys) key = prefix | (random.next() & ((1ULL << bits) - 1));
      auto expected = keys;
      std::ranges::sort(expected);
      std::vector<std::uint64_t> spare(count);
      CHECK(std::ranges::equal(radix_sort(keys, spare, bits), expected));
    }
  }
}

TEST_CASE("edges become the CSC that plain sorting gives, whatever the memory, threads and options") {
  const Edges edges = random_edges(700, 60'000, 1);
  for (const bool reverse : {false, true}) {
    for (const bool unique : {false, true}) {
      for (const bool loops : {false, true}) {
        CscOptions options{.node_count = 700,
                           .expected_edges = edges.size(),
                           .add_reverse = reverse,
                           .deduplicate = unique,
                           .self_loops = loops};
        const Csc expected = build_plainly(edges, options);
        for (const std::uint64_t memory : {64ULL << 10, 1ULL << 20, 1ULL << 30}) {
          for (const std::size_t threads : {1, 3}) {
            options.memory_bytes = memory;
            CHECK(build(edges, options, threads) == expected);
          }
        }
      }
    }
  }
}

TEST_CASE("a hub with most of the edges, or one edge repeated, fits in a budget it is larger than") {
  Edges edges = random_edges(5000, 20'000, 2);
  for (std::uint32_t i = 0; i < 50'000; ++i) edges.emplace_back(i % 4999, 4321);
  for (int i = 0; i < 30'000; ++i) edges.emplace_back(17, 18);
  for (const bool unique : {false, true}) {
    const CscOptions options{
        .node_count = 5000, .expected_edges = 10, .deduplicate = unique, .memory_bytes = 32 << 10};
    CHECK(build(edges, options, 2) == build_plainly(edges, options));
  }
}

TEST_CASE("graphs at the edges of what there is: one node, no edges, ids of 31 bits") {
  CHECK(build({}, {.node_count = 1}, 1) == Csc{{0, 0}, {}});
  CHECK(build({{0, 0}}, {.node_count = 1}, 1) == Csc{{0, 1}, {0}});
  CHECK(build({}, {.node_count = 3, .self_loops = true}, 2) == Csc{{0, 1, 2, 3}, {0, 1, 2}});
  CHECK(build({{0, 1}, {1, 0}}, {.node_count = 2, .add_reverse = true, .deduplicate = true}, 2) ==
        Csc{{0, 1, 2}, {1, 0}});

  const test::TemporaryFolder folder;
  ThreadPool pool(1);
  CscBuilder builder({.node_count = max_node_count, .expected_edges = 2, .scratch_folder = folder.path()},
                     pool);
  // Too many offsets to hold; the highest ids need keys of all 64 bits.
  builder.add(0, 0xFFFFFFFFU, 0);
  builder.add(0, 7, 0);
  std::vector<std::uint32_t> sources;
  struct Enough {};
  try {
    builder.finish({.indptr = [](auto) { throw Enough{}; },
                    .indices = [&](auto values) { sources.assign(values.begin(), values.end()); }});
  } catch (const Enough&) {
  }
  CHECK(sources == std::vector<std::uint32_t>{7, 0xFFFFFFFFU});
}

TEST_CASE("a scratch file that cannot grow is an error, though other workers go on for a while") {
  // It once was a write past a buffer: the failed flush left it full, and the next piece pushed on.
  const Edges edges = random_edges(1000, 400'000, 3);
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 256 << 10, .rlim_max = before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  EXPECT_ERROR(build(edges, {.node_count = 1000, .expected_edges = edges.size(), .memory_bytes = 1 << 20}, 2),
               Kind::io, "temporary file");
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
}

}  // namespace gneiss
