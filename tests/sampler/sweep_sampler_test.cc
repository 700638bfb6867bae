// Sampling while sweeping graph.csc gives the batches of sampling in memory, bit by bit.
#include "sampler/sweep_sampler.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>

#include "sampler/sampling_memory.h"
#include "storage/base/cancel.h"
#include "tests/sampler/prepare_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/run_command.h"
#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

constexpr std::uint64_t ample = 1ULL << 30;
// Pieces of one block, so that neighbors often lie in two of them.
constexpr GraphSweepOptions small_pieces{.piece_bytes = graph_checksum_block_bytes, .pieces = 3};

bool same_batch(const SampledBatch& a, const SampledBatch& b) {
  return a.key == b.key && a.seed_count == b.seed_count && a.nodes == b.nodes &&
         std::ranges::equal(a.blocks, b.blocks, [](const auto& x, const auto& y) {
           return x.dst_count == y.dst_count && x.src_count == y.src_count && x.indptr == y.indptr &&
                  x.indices == y.indices && x.edge_positions == y.edge_positions;
         });
}

struct Swept {
  std::uint32_t waves = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t edges = 0;
  bool same = true;  // as every batch sampled in memory
};

Swept sweep(const Dataset& dataset, const BatchSchedule& schedule, const SamplerOptions& options,
            std::uint64_t memory_bytes = ample, std::size_t threads = 2,
            const GraphSweepOptions& graph = small_pieces) {
  ThreadPool pool(threads);
  MemorySampler expected(dataset, schedule, options, 1);
  SweepSampler sampler(dataset, schedule, {.sampler = options, .memory_bytes = memory_bytes, .graph = graph},
                       pool);
  Swept swept{.waves = sampler.wave_count(), .bytes_read = sampler.bytes_read()};
  SampledBatch a;
  SampledBatch b;
  for (std::size_t i = 0; i < schedule.size(); ++i) {
    expected.sample(i, 0, a);
    sampler.sample(i, 0, b);
    swept.same = swept.same && same_batch(a, b);
    for (const SampledBlock& block : b.blocks) swept.edges += block.indices.size();
  }
  return swept;
}

// Hubs of small ids, among them one of 60,000 neighbors: four blocks and more of csc_indices.
test::EdgeList edges_with_hub() {
  test::EdgeList edges;
  RandomStream random(11);
  constexpr std::uint32_t nodes = 20'000;
  for (std::uint32_t i = 0; i < 200'000; ++i) {
    edges.emplace_back(random.below(nodes),
                       static_cast<std::uint32_t>(random.uniform() * random.uniform() * nodes));
  }
  for (std::uint32_t i = 0; i < 60'000; ++i) edges.emplace_back(random.below(nodes), 3);
  for (std::uint32_t i = 0; i < nodes; ++i) edges.emplace_back(3, i);  // every batch meets it
  return edges;
}

const test::SmallDatasetOptions hub_options{.nodes = 20'000, .dim = 1, .train = 300, .valid = 40, .test = 0};

}  // namespace

TEST_CASE("swept batches are those sampled in memory, for every way of drawing") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", hub_options, edges_with_hub());
  const Dataset dataset = Dataset::open(folder / "d");
  const BatchSchedule schedule(dataset, {.batch_size = 32, .sample_epochs = 2, .seed = 3});
  REQUIRE(schedule.size() > 20);
  const std::vector<std::vector<std::int32_t>> fanouts{{10, 10, 10}, {-1}, {3, -1}, {5, 60}, {2, 5000}};
  struct Way {
    bool replace = false;
    SamplerKind kind = SamplerKind::neighbor;
    LaborOptions labor{};
  };
  const std::vector<Way> ways{
      {},
      {.replace = true},
      {.kind = SamplerKind::labor},
      {.kind = SamplerKind::labor, .labor = {.layer_dependency = true, .batch_dependency = 4}}};
  for (const auto& fanout : fanouts) {
    for (const Way& way : ways) {
      for (const bool edge_positions : {false, true}) {
        CAPTURE(fanout);
        CAPTURE(way.replace);
        CAPTURE(edge_positions);
        const Swept swept = sweep(dataset, schedule,
                                  {.fanouts = fanout,
                                   .replace = way.replace && fanout.front() != -1 && fanout.back() != -1,
                                   .edge_positions = edge_positions,
                                   .seed = 5,
                                   .kind = way.kind,
                                   .labor = way.labor});
        CHECK(swept.same);
        CHECK(swept.waves == 1);
        CHECK(swept.edges > 5'000);
      }
    }
  }
}

TEST_CASE("a small budget makes more waves of the same batches, whatever the threads and pieces") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", hub_options, edges_with_hub());
  const Dataset dataset = Dataset::open(folder / "d");
  const BatchSchedule schedule(dataset, {.batch_size = 32, .sample_epochs = 2, .seed = 3});
  const SamplerOptions options{.fanouts = {10, 10, 10}, .edge_positions = true, .seed = 5};
  const auto one = sweep(dataset, schedule, options);
  REQUIRE(one.waves == 1);
  for (const std::size_t threads : {1, 2, 5}) {
    // 20,000 nodes take a thread 1.2 MB to number.
    for (const std::uint64_t budget : {1'000'000, 2'000'000}) {
      const Swept swept = sweep(dataset, schedule, options, budget + 1'250'000 * threads, threads);
      CHECK(swept.same);
      CHECK(swept.waves > 1);
      CHECK(swept.waves < schedule.size());
      CHECK(swept.bytes_read > one.bytes_read);
    }
    CHECK(sweep(dataset, schedule, options, ample, threads, {}).same);
  }
  EXPECT_ERROR(sweep(dataset, schedule, options, 1 << 20, 1), Kind::config, "too many neighbors in hop");
}

TEST_CASE("blocks that hold no neighbor of the frontier are passed over") {
  const test::TemporaryFolder folder;
  const auto source = test::write_small_dataset(
      folder / "d", {.nodes = 400'000, .edges = 2'000'000, .dim = 1, .train = 4, .valid = 0, .test = 0});
  const Dataset dataset = Dataset::open(folder / "d");
  const BatchSchedule schedule(dataset, {.batch_size = 4});
  const Swept swept = sweep(dataset, schedule, {.fanouts = {2}, .seed = 1});
  CHECK(swept.same);
  // Of each of four nodes at most two blocks of either section, of 122 and 49.
  CHECK(swept.bytes_read <= 16 * graph_checksum_block_bytes);
  CHECK(swept.bytes_read > 0);
}

TEST_CASE("small and odd graphs are swept too") {
  const test::TemporaryFolder folder;
  const auto expect_same = [&](const test::SmallDatasetOptions& options, test::EdgeList edges) {
    std::filesystem::remove_all(folder / "d");
    test::write_small_dataset(folder / "d", options, std::move(edges));
    const Dataset dataset = Dataset::open(folder / "d");
    const BatchSchedule schedule(dataset, {.batch_size = 2});
    for (const SamplerKind kind : {SamplerKind::neighbor, SamplerKind::labor}) {
      CHECK(sweep(dataset, schedule, {.fanouts = {3, -1, 2}, .edge_positions = true, .kind = kind}).same);
    }
  };
  expect_same({.nodes = 1, .train = 1}, {});
  expect_same({.nodes = 1, .train = 1}, {{0, 0}, {0, 0}});
  expect_same({.nodes = 5, .train = 3, .valid = 1, .test = 1}, {{1, 0}, {1, 0}, {2, 2}});
  // One offset more than a block holds: the last node's end stands alone in the second.
  expect_same({.nodes = 8192, .train = 100}, {{1, 8191}, {8191, 8191}, {8191, 0}});
}

namespace {

// The same graph with sections written as `checksum_block_bytes` says.
void write_graph_again(const test::SmallDataset& source, const std::filesystem::path& folder,
                       std::uint32_t checksum_block_bytes, std::span<const NodeId> indices,
                       std::span<const std::uint64_t> indptr) {
  DatasetWriter writer(folder, false);
  std::filesystem::copy(source.folder / features_file_name, writer.folder() / features_file_name);
  std::filesystem::copy(source.folder / labels_file_name, writer.folder() / labels_file_name);
  SectionWriter graph(writer.folder() / graph_file_name, graph_magic);
  graph.write<NodeId>(
      {.kind = SectionKind::csc_indices, .dtype = Dtype::u32, .checksum_block_bytes = checksum_block_bytes},
      indices);
  graph.write<std::uint64_t>(
      {.kind = SectionKind::csc_indptr, .dtype = Dtype::u64, .checksum_block_bytes = checksum_block_bytes},
      indptr);
  graph.finish();
  writer.seal(source.info, source.splits, {{"nodes", source.info.node_count}});
}

void damage(const std::filesystem::path& file, std::uint64_t offset) {
  File::open_existing(file).write_at(offset, std::as_bytes(std::span("damage", 6)));
}

}  // namespace

TEST_CASE("a graph.csc of before, with one checksum for all, is checked once and swept") {
  const test::TemporaryFolder folder;
  const auto source = test::write_small_dataset(folder / "d", hub_options, edges_with_hub());
  write_graph_again(source, folder / "old", 0, source.indices, source.indptr);
  const Dataset dataset = Dataset::open(folder / "old");
  const BatchSchedule schedule(dataset, {.batch_size = 32});
  const Swept swept = sweep(dataset, schedule, {.fanouts = {10, 10}, .seed = 5});
  CHECK(swept.same);
  CHECK(swept.bytes_read > 4 * source.info.edge_count + 8 * source.info.node_count);
  damage(folder / "old/graph.csc", 600'000);
  ThreadPool pool(1);
  EXPECT_ERROR(SweepSampler(dataset, schedule, {.sampler = {.fanouts = {10}}, .memory_bytes = ample}, pool),
               Kind::corruption, "does not match its checksum");
  write_graph_again(source, folder / "odd", 4096, source.indices, source.indptr);
  EXPECT_ERROR(SweepSampler(Dataset::open(folder / "odd"), schedule,
                            {.sampler = {.fanouts = {10}}, .memory_bytes = ample}, pool),
               Kind::corruption, "a checksum per 4096 bytes, expected one per 65536");
}

TEST_CASE("damage to graph.csc is found: its blocks, its offsets, its sources, its end") {
  const test::TemporaryFolder folder;
  const auto source = test::write_small_dataset(folder / "d", hub_options, edges_with_hub());
  ThreadPool pool(2);
  const auto sweep_folder = [&](const std::filesystem::path& of) {
    const Dataset dataset = Dataset::open(of);
    const BatchSchedule schedule(dataset, {.batch_size = 32});
    const SweepSampler sampler(
        dataset, schedule, {.sampler = {.fanouts = {10, 10}}, .memory_bytes = ample, .graph = small_pieces},
        pool);
    CHECK(sampler.wave_count() == 1);
  };
  sweep_folder(folder / "d");
  auto wrong_sources = source.indices;
  for (std::size_t i = 3; i < wrong_sources.size(); i += 4) wrong_sources[i] = static_cast<NodeId>(20'000);
  write_graph_again(source, folder / "sources", graph_checksum_block_bytes, wrong_sources, source.indptr);
  EXPECT_ERROR(sweep_folder(folder / "sources"), Kind::corruption, "an edge comes from node 20000");
  for (const std::uint64_t wrong : {std::uint64_t{0}, source.info.edge_count + 1, ~std::uint64_t{0}}) {
    auto wrong_offsets = source.indptr;
    for (std::size_t i = 100; i < wrong_offsets.size(); i += 2) wrong_offsets[i] = wrong;
    const auto target = folder / ("offsets" + std::to_string(wrong));
    write_graph_again(source, target, graph_checksum_block_bytes, source.indices, wrong_offsets);
    EXPECT_ERROR(sweep_folder(target), Kind::corruption, "do not ascend within 0 to 280000");
  }
  damage(folder / "d/graph.csc", 600'000);
  EXPECT_ERROR(sweep_folder(folder / "d"), Kind::corruption, "do not match their checksum");
  const Dataset dataset = Dataset::open(folder / "sources");
  const BatchSchedule schedule(dataset, {.batch_size = 32});
  std::filesystem::resize_file(folder / "sources/graph.csc", 500'000);
  EXPECT_ERROR(SweepSampler(dataset, schedule, {.sampler = {.fanouts = {10}}, .memory_bytes = ample}, pool),
               Kind::corruption, "graph.csc");
}

TEST_CASE("child: interrupted while it sweeps" * doctest::skip()) {
  install_signal_handlers();
  const Dataset dataset = Dataset::open(std::getenv("GNEISS_TEST_FOLDER"));
  const BatchSchedule schedule(dataset, {.batch_size = 32});
  ThreadPool pool(2);
  ::kill(::getpid(), SIGINT);
  while (!interrupt_token().stop_requested()) std::this_thread::yield();
  try {
    const SweepSampler sampler(dataset, schedule, {.sampler = {.fanouts = {10}}, .memory_bytes = ample},
                               pool);
  } catch (const Error& error) {
    std::puts(error.what());
    std::fflush(stdout);
    ::_exit(exit_code(error.kind()));
  }
}

TEST_CASE("a sweep can be interrupted") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  const auto result = test::run_command(test::child_command("interrupted while it sweeps", folder / "d"));
  CHECK_MESSAGE(result.exit_code == 130, result.output);
}

TEST_CASE("sampling ahead leaves room for what is held meanwhile: seeds, and counts of all nodes") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", {.nodes = 400'000, .edges = 4'000'000, .dim = 4, .train = 2000});
  const Dataset dataset = Dataset::open(folder / "d");
  auto request = test::small_request();
  request.memory_bytes = 62U << 20;
  const ThreadPool pool(2);
  const SamplingMemory memory = plan_memory(dataset, request, pool);
  REQUIRE_FALSE(memory.in_memory);
  const std::uint64_t program_bytes = 32U << 20;
  CHECK(memory.sweep_bytes + program_bytes + 4 * 2000 * request.options.sample_epochs + 4 * 400'000 <=
        request.memory_bytes);
}

TEST_CASE("a preparation is the same, byte by byte, where the topology does not fit the budget") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", {.nodes = 400'000, .edges = 4'000'000, .dim = 4, .train = 2000});
  std::vector<std::string> files;
  // 18 MiB of topology; without it 32 for the program, 16 for two threads, 5 for the nodes.
  for (const std::uint64_t mib : {std::uint64_t{1024}, std::uint64_t{62}}) {
    auto request = test::small_request();
    request.name = "p" + std::to_string(mib);
    request.options.fanouts = {5, 5};
    request.options.batch_size = 100;
    request.options.cpu_cache_bytes = 20'000;
    request.memory_bytes = mib << 20;
    const PrepareResult result = test::run_prepare(folder / "d", request);
    CHECK((result.sweep_waves > 0) == (mib == 62));
    std::string all;
    for (const char* file : {pool_file_name, pack_file_name, cpu_tier_file_name})
      all += read_text_file(folder / "d/prepared" / request.name / file);
    files.push_back(std::move(all));
  }
  CHECK(files[0].size() > 1'000'000);
  CHECK((files[0] == files[1]));
  auto request = test::small_request();
  request.force = true;
  request.memory_bytes = 20U << 20;
  EXPECT_ERROR(test::run_prepare(folder / "d", request), Kind::config, "MiB would do");
}

}  // namespace gneiss
