// Rows of one memory are walked over in another way than rows of several: the numbers are the same to the
// bit.
#include <doctest/doctest.h>

#include <cstring>
#include <vector>

#include "engine/compute/attention.h"
#include "engine/compute/cpu/cpu_backend.h"
#include "storage/base/parallel.h"
#include "storage/base/random.h"

using namespace gneiss;

namespace {

constexpr std::uint32_t sources = 300;
constexpr std::uint32_t destinations = 40;

// Random neighborhoods, from none to more than a run of edges.
struct Graph {
  std::vector<std::uint32_t> indptr{0};
  std::vector<std::uint32_t> indices;

  Graph() {
    RandomStream draws(5);
    for (std::uint32_t d = 0; d < destinations; ++d) {
      for (std::uint32_t edge = 0; edge < d * 2; ++edge) {
        indices.push_back(static_cast<std::uint32_t>(draws.below(sources)));
      }
      indptr.push_back(static_cast<std::uint32_t>(indices.size()));
    }
  }
  BlockView view() const {
    return {.dst_count = destinations, .src_count = sources, .indptr = indptr, .indices = indices};
  }
};

// All that is computed over rows, one after the other.
std::vector<float> all_over(Backend& backend, const TieredRows& rows) {
  const Graph graph;
  const BlockView block = graph.view();
  const std::size_t columns = rows.columns();
  std::vector<float> all;
  const auto keep = [&](const std::vector<float>& values) {
    all.insert(all.end(), values.begin(), values.end());
  };
  std::vector<float> out(destinations * columns);
  const MatrixView target(out.data(), destinations, columns);
  backend.aggregate_mean(rows, block, target);
  keep(out);
  std::vector<std::uint32_t> winners(destinations * columns);
  backend.aggregate_max(rows, block, target, {winners.data(), destinations, columns});
  keep(out);
  all.insert(all.end(), winners.begin(), winners.end());
  std::vector<float> destination(destinations);
  std::vector<float> source(sources);
  std::vector<float> self(destinations, 0.5F);
  backend.symmetric_scales(block, destination, source);
  backend.aggregate_sum(rows, block, {destination, source, self}, target);
  keep(out);
  backend.aggregate_sum(rows, block, {destination, {}, self}, target);
  keep(out);
  const std::vector<std::uint32_t> ids{7, 0, 299, 7, 100, 101};
  std::vector<float> gathered(ids.size() * columns);
  backend.gather(rows, ids, {gathered.data(), ids.size(), columns});
  keep(gathered);
  const std::vector<float> weight(4 * columns, 0.25F);
  std::vector<float> products(sources * std::size_t{4});
  backend.attention().row_products(rows, {weight.data(), 4, columns}, {products.data(), sources, 4});
  keep(products);
  const std::vector<float> edges(2 * graph.indices.size(), 0.3F);
  const std::vector<float> loops(std::size_t{2} * destinations, 0.7F);
  std::vector<float> heads(destinations * 2 * columns);
  backend.attention().aggregate(rows, block,
                                {{edges.data(), graph.indices.size(), 2}, {loops.data(), destinations, 2}},
                                {heads.data(), destinations, 2 * columns});
  keep(heads);
  return all;
}

}  // namespace

TEST_CASE("rows of one memory and the same rows in two ranges, or by slots, give the same bits") {
  ThreadPool pool(2);
  const auto backend = make_cpu_backend(pool);
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    for (const std::uint32_t columns : {1U, 16U, 37U, 130U}) {
      for (const std::size_t gap : {0U, 6U}) {  // bytes between rows
        CAPTURE(name_of(dtype));
        CAPTURE(columns);
        CAPTURE(gap);
        const std::size_t row_bytes = columns * size_of(dtype) + gap;
        std::vector<std::byte> memory(sources * row_bytes + 1);
        RandomStream draws(columns);
        for (std::byte& byte : memory) byte = static_cast<std::byte>(draws.below(60));  // finite in any dtype
        const std::byte* base = memory.data() + 1;  // rows may begin at any byte
        TieredRows dense(dtype, columns, row_bytes);
        dense.append(base, sources);
        TieredRows cut(dtype, columns, row_bytes);
        cut.append(base, 100);
        cut.append(base + 100 * row_bytes, sources - 100);
        TieredRows slotted(dtype, columns, row_bytes);
        std::vector<std::uint32_t> slots(sources);
        for (std::uint32_t i = 0; i < sources; ++i) slots[i] = i;
        slotted.append(base, sources, slots.data());
        const std::vector<float> expected = all_over(*backend, dense);
        for (const TieredRows* rows : {&cut, &slotted}) {
          const std::vector<float> values = all_over(*backend, *rows);
          REQUIRE(values.size() == expected.size());
          CHECK(std::memcmp(values.data(), expected.data(), values.size() * sizeof(float)) == 0);
        }
      }
    }
  }
}

TEST_CASE("sums without factors of sources have the bits of sums with factors of one") {
  ThreadPool pool(2);
  const auto backend = make_cpu_backend(pool);
  const Graph graph;
  const std::vector<float> ones(sources, 1.0F);
  std::vector<float> destination(destinations);
  std::vector<float> self(destinations);
  RandomStream draws(6);
  for (float& value : destination) value = static_cast<float>(draws.normal());
  for (float& value : self) value = static_cast<float>(draws.normal());
  for (const std::uint32_t columns : {1U, 16U, 37U, 130U}) {
    CAPTURE(columns);
    std::vector<float> values(std::size_t{sources} * columns);
    for (float& value : values) value = static_cast<float>(draws.normal());
    const TieredRows rows = TieredRows::of({values.data(), sources, columns});
    std::vector<float> with(destinations * std::size_t{columns});
    std::vector<float> without(with.size());
    backend->aggregate_sum(rows, graph.view(), {destination, ones, self},
                           {with.data(), destinations, columns});
    backend->aggregate_sum(rows, graph.view(), {destination, {}, self},
                           {without.data(), destinations, columns});
    CHECK(std::memcmp(with.data(), without.data(), with.size() * sizeof(float)) == 0);
  }
}
