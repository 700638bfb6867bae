// What prepare() puts into the gpu tier, and that without one a preparation is what it was.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "storage/pack/tier_planner.h"
#include "tests/sampler/prepare_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

using test::run_prepare;
using test::small_request;

}  // namespace

TEST_CASE("input nodes of the gpu tier come first, and are those that training reads most") {
  const test::TemporaryFolder folder;
  const auto source = test::write_small_dataset(folder / "d");
  const std::uint64_t row_bytes = source.info.row_bytes();
  for (const Residency residency : {Residency::fixed, Residency::belady}) {
    auto request = small_request();
    request.force = true;
    request.options.residency = residency;
    request.options.gpu_cache_bytes = 12 * row_bytes + 1;
    request.options.cpu_cache_bytes = 15 * row_bytes;
    const PreparationCost cost = run_prepare(folder / "d", request).cost;
    const Dataset dataset = Dataset::open(folder / "d");
    const Preparation preparation = Preparation::open(dataset, "p");
    CHECK(preparation.info().planned == residency);
    CHECK(cost.gpu_cached_rows == 12);
    CHECK(cost.gpu_tier_bytes == 12 * row_bytes);
    std::vector<std::uint32_t> counts(source.info.node_count);
    double from_gpu = 0;
    std::vector<NodeId> on_gpu;
    const SectionFile& image = *preparation.gpu_tier();
    const AlignedBuffer nodes = image.read_section(image.require(SectionKind::tier_nodes));
    on_gpu.assign(nodes.as<NodeId>().begin(), nodes.as<NodeId>().end());
    for (const BatchEntry& entry : preparation.pool().entries()) {
      const auto inputs = preparation.pool().read_input_nodes(entry);
      const auto is_on_gpu = [&](NodeId node) { return std::ranges::binary_search(on_gpu, node); };
      CHECK(std::ranges::all_of(std::span(inputs).first(entry.gpu_rows()), is_on_gpu));
      CHECK(std::ranges::none_of(std::span(inputs).subspan(entry.gpu_rows()), is_on_gpu));
      if (entry.key.split != Split::train) continue;
      from_gpu += entry.gpu_rows();
      for (const NodeId node : inputs) ++counts[to_index(node)];
    }
    CHECK(cost.gpu_rows == doctest::Approx(from_gpu / 2));
    CHECK(cost.gpu_rows > 0);
    CHECK(on_gpu == plan_static_tiers(counts, {.gpu_rows = 12}).gpu_nodes);
  }
}

TEST_CASE("a preparation of before there was a gpu cache is one without, and stays as it is") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  auto request = small_request();
  run_prepare(folder / "d", request);
  const auto entry = preparation_entry(Dataset::open(folder / "d"), "p");
  REQUIRE(entry);
  CHECK_FALSE(entry->at("options").contains("gpu_cache_bytes"));
  CHECK(entry->at("files").size() == 3);
  CHECK(run_prepare(folder / "d", request).already_done);
  // Smaller than a row: nothing is held, and yet it is another request.
  request.options.gpu_cache_bytes = 1;
  EXPECT_ERROR(run_prepare(folder / "d", request), Kind::config, "exists with other options");
  request.force = true;
  run_prepare(folder / "d", request);
  const Dataset dataset = Dataset::open(folder / "d");
  CHECK(Preparation::open(dataset, "p").gpu_tier() == nullptr);
  CHECK(Preparation::open(dataset, "p").info().options == request.options);
}

}  // namespace gneiss
