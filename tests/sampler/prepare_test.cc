// What prepare() makes: batches that hold the source's edges, labels and rows, whatever cache and threads.
#include "sampler/prepare.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "sampler/batches.h"
#include "storage/format/drive_record.h"
#include "tests/sampler/prepare_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

namespace fs = std::filesystem;
using test::run_prepare;
using test::small_request;

// A batch as a trainer gets it, with node ids instead of local ids where order may differ.
struct ReadBatch {
  BatchEntry entry{};
  std::vector<NodeId> seeds;
  std::vector<NodeId> inputs;  // in local order
  std::vector<std::int32_t> targets;
  std::vector<std::uint8_t> label_rows;
  std::vector<std::vector<std::pair<NodeId, NodeId>>> edges;  // per hop: (source, destination), in order
  std::vector<std::vector<std::uint64_t>> edge_positions;
  std::vector<std::byte> features;  // of the inputs, through the tiers
};

ReadBatch read_batch(const Preparation& preparation, std::size_t index, std::uint64_t row_bytes) {
  ReadBatch batch;
  batch.entry = preparation.pool().entries()[index];
  const AlignedBuffer raw = preparation.pool().read_frame(batch.entry);
  BatchFrame frame;
  parse_batch_frame(raw.bytes(), "a frame", true, frame);
  batch.seeds.assign(frame.seeds.begin(), frame.seeds.end());
  batch.targets.assign(frame.targets.begin(), frame.targets.end());
  batch.label_rows.assign(frame.label_rows.begin(), frame.label_rows.end());
  batch.inputs = preparation.pool().read_input_nodes(batch.entry);
  for (std::size_t hop = 0; hop < frame.blocks.size(); ++hop) {
    const BlockFrame& block = frame.blocks[hop];
    auto& edges = batch.edges.emplace_back();
    for (std::uint32_t dst = 0; dst < block.dst_count; ++dst) {
      if (hop == 0) CHECK(batch.inputs[block.dst_in_src[dst]] == frame.hidden_nodes[dst]);
      for (std::uint32_t edge = block.indptr[dst]; edge < block.indptr[dst + 1]; ++edge) {
        const std::uint32_t source = block.indices[edge];
        edges.emplace_back(hop == 0 ? batch.inputs[source] : frame.hidden_nodes[source],
                           frame.hidden_nodes[dst]);
      }
    }
    batch.edge_positions.emplace_back(block.edge_positions.begin(), block.edge_positions.end());
  }
  const auto rows_of = [](const SectionFile* image) {
    return image == nullptr ? AlignedBuffer()
                            : image->read_section(image->require(SectionKind::feature_rows));
  };
  const AlignedBuffer on_gpu = rows_of(preparation.gpu_tier());
  const AlignedBuffer cached = rows_of(&preparation.cpu_tier());
  const SegmentEntry& segment = preparation.pack().entries()[index];
  std::vector<std::byte> rows(segment.bytes);
  preparation.pack().file().file().read_at(segment.offset, rows);
  check_segment(segment, rows, "pack.bin");
  std::size_t gpu_slot = 0;
  std::size_t slot = 0;
  std::size_t row = 0;
  for (const PlanRange& range : frame.plan) {
    CHECK(range.store == 0);
    for (std::uint32_t i = 0; i < range.count; ++i) {
      const auto bytes =
          range.tier == Tier::gpu ? on_gpu.bytes().subspan(frame.gpu_slots[gpu_slot++] * row_bytes, row_bytes)
          : range.tier == Tier::cpu ? cached.bytes().subspan(frame.cpu_slots[slot++] * row_bytes, row_bytes)
                                    : std::span<const std::byte>(rows).subspan(row++ * row_bytes, row_bytes);
      batch.features.insert(batch.features.end(), bytes.begin(), bytes.end());
    }
  }
  return batch;
}

void check_batch(const ReadBatch& batch, const test::SmallDataset& source,
                 const PreparationOptions& options) {
  const std::size_t columns = source.info.label_columns;
  CHECK(batch.label_rows.size() == batch.seeds.size() * columns);
  for (std::size_t i = 0; i < batch.seeds.size(); ++i) {
    const std::size_t node = to_index(batch.seeds[i]);
    if (columns == 0) CHECK(batch.targets[i] == source.labels[node]);
    CHECK(std::ranges::equal(std::span(batch.label_rows).subspan(i * columns, columns),
                             std::span(source.entries).subspan(node * columns, columns)));
  }
  std::vector<std::byte> expected;
  for (const NodeId node : batch.inputs) {
    const auto row = source.row(node);
    expected.insert(expected.end(), row.begin(), row.end());
  }
  CHECK(batch.features == expected);
  CHECK(std::set(batch.inputs.begin(), batch.inputs.end()).size() == batch.inputs.size());
  for (std::size_t hop = 0; hop < batch.edges.size(); ++hop) {
    bool edges_exist = true;
    for (std::size_t i = 0; i < batch.edges[hop].size(); ++i) {
      const auto [from, to] = batch.edges[hop][i];
      const auto neighbors = source.neighbors(to);
      edges_exist = edges_exist && std::ranges::find(neighbors, from) != neighbors.end();
      if (!options.edge_positions) continue;
      const std::uint64_t position = batch.edge_positions[hop][i];
      edges_exist = edges_exist && source.indices[position] == from &&
                    position >= source.indptr[to_index(to)] && position < source.indptr[to_index(to) + 1];
    }
    CHECK(edges_exist);
  }
}

}  // namespace

TEST_CASE("prepared batches hold the source's seeds, labels, edges and rows, for any type of features") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    for (const bool edge_positions : {false, true}) {
      const test::TemporaryFolder folder;
      const auto source = test::write_small_dataset(folder / "d", {.dim = 7, .dtype = dtype});
      auto request = small_request();
      request.options.edge_positions = edge_positions;
      request.options.replace = edge_positions;
      run_prepare(folder / "d", request);
      const Dataset dataset = Dataset::open(folder / "d");
      const Preparation preparation = Preparation::open(dataset, "p");
      preparation.verify(nullptr);
      CHECK(preparation.info().options == request.options);
      const BatchSchedule schedule(dataset, {.batch_size = 16, .sample_epochs = 2, .seed = 3});
      REQUIRE(preparation.pool().entries().size() == schedule.size());
      CHECK(preparation.info().train_batches_per_epoch == schedule.train_batches_per_epoch());
      for (std::size_t i = 0; i < schedule.size(); ++i) {
        const ReadBatch batch = read_batch(preparation, i, source.info.row_bytes());
        CHECK(batch.entry.key == schedule.key(i));
        CHECK(std::ranges::equal(batch.seeds, schedule.seeds(i)));
        check_batch(batch, source, request.options);
      }
    }
  }
}

TEST_CASE("prepared batches hold the source's columns of labels, few and many") {
  for (const std::uint32_t columns : {1U, 112U, 4096U}) {
    CAPTURE(columns);
    const test::TemporaryFolder folder;
    const auto source = test::write_small_dataset(folder / "d", {.label_columns = columns});
    const auto request = small_request();
    run_prepare(folder / "d", request);
    const Dataset dataset = Dataset::open(folder / "d");
    const Preparation preparation = Preparation::open(dataset, "p");
    preparation.verify(nullptr);
    for (std::size_t i = 0; i < preparation.pool().entries().size(); ++i) {
      check_batch(read_batch(preparation, i, source.info.row_bytes()), source, request.options);
    }
  }
}

TEST_CASE("the sizes of the caches change the order of the input nodes and nothing else") {
  const test::TemporaryFolder folder;
  const auto source = test::write_small_dataset(folder / "d");
  std::vector<std::vector<ReadBatch>> prepared;
  for (const auto& [gpu_bytes, cpu_bytes] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {0, 0}, {0, 100}, {0, ~std::uint64_t{0}}, {100, 0}, {200, 300}, {~std::uint64_t{0}, 100}}) {
    auto request = small_request();
    request.name = fmt::format("p{}-{}", gpu_bytes, cpu_bytes);
    request.options.gpu_cache_bytes = gpu_bytes;
    request.options.cpu_cache_bytes = cpu_bytes;
    run_prepare(folder / "d", request);
    const Dataset dataset = Dataset::open(folder / "d");
    const Preparation preparation = Preparation::open(dataset, request.name);
    preparation.verify(nullptr);
    CHECK(preparation.info().options == request.options);
    CHECK((preparation.gpu_row_count() == 0) == (gpu_bytes == 0));
    CHECK(fs::exists(folder / "d/prepared" / request.name / gpu_tier_file_name) == (gpu_bytes > 0));
    const bool is_read_from_gpu_alone = gpu_bytes == ~std::uint64_t{0};
    CHECK((preparation.cpu_row_count() == 0) == (cpu_bytes == 0 || is_read_from_gpu_alone));
    auto& batches = prepared.emplace_back();
    for (std::size_t i = 0; i < preparation.pool().entries().size(); ++i) {
      batches.push_back(read_batch(preparation, i, source.info.row_bytes()));
      check_batch(batches.back(), source, request.options);
    }
  }
  CHECK(prepared[0].front().inputs != prepared[1].front().inputs);
  for (std::size_t i = 0; i < prepared[0].size(); ++i) {
    for (std::size_t other = 1; other < prepared.size(); ++other) {
      CHECK(prepared[other][i].seeds == prepared[0][i].seeds);
      CHECK(prepared[other][i].edges == prepared[0][i].edges);
      CHECK(std::ranges::is_permutation(prepared[other][i].inputs, prepared[0][i].inputs));
    }
  }
}

TEST_CASE("the number of threads and the memory change no byte") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", {.nodes = 2000, .edges = 20'000, .dim = 100, .train = 500});
  std::vector<std::string> files;
  for (const std::size_t threads : {1, 2, 5}) {
    auto request = small_request();
    request.name = "p" + std::to_string(threads);
    request.options.gpu_cache_bytes = 10'000;
    request.options.cpu_cache_bytes = 20'000;
    request.memory_bytes = std::uint64_t{threads} << 30;
    run_prepare(folder / "d", request, threads);
    std::string all;
    for (const char* file : {pool_file_name, pack_file_name, cpu_tier_file_name, gpu_tier_file_name})
      all += read_text_file(folder / "d/prepared" / request.name / file);
    files.push_back(std::move(all));
  }
  CHECK(files[0].size() > 1'000'000);
  CHECK(files[0] == files[1]);
  CHECK(files[0] == files[2]);
}

TEST_CASE("the plan's numbers are what is then written") {
  const test::TemporaryFolder folder;
  const auto source = test::write_small_dataset(folder / "d");
  for (const bool edge_positions : {false, true}) {
    auto request = small_request();
    request.force = true;
    request.options.edge_positions = edge_positions;
    request.options.gpu_cache_bytes = edge_positions ? 200 : 0;
    const PrepareResult result = run_prepare(folder / "d", request);
    const Dataset dataset = Dataset::open(folder / "d");
    const Preparation preparation = Preparation::open(dataset, "p");
    double inputs = 0;
    double gpu = 0;
    double cpu = 0;
    double edges = 0;
    std::uint64_t segments = 0;
    double train_segments = 0;
    std::uint64_t largest = 0;
    std::set<NodeId> accessed;
    for (std::size_t i = 0; i < preparation.pool().entries().size(); ++i) {
      const BatchEntry& entry = preparation.pool().entries()[i];
      const std::uint64_t bytes = preparation.pack().entries()[i].bytes;
      segments += bytes;
      largest = std::max(largest, bytes);
      if (entry.key.split != Split::train) continue;
      inputs += entry.input_count;
      gpu += entry.gpu_rows();
      cpu += entry.cpu_rows;
      edges += entry.edge_count;
      train_segments += static_cast<double>(bytes);
      for (const NodeId node : preparation.pool().read_input_nodes(entry)) accessed.insert(node);
    }
    const PreparationCost& cost = result.cost;
    CHECK(cost.train_batches == 4);
    CHECK(cost.evaluation_batches == 4);
    CHECK(cost.input_rows == doctest::Approx(inputs / 2));
    CHECK(cost.cpu_rows == doctest::Approx(cpu / 2));
    CHECK(cost.gpu_rows == doctest::Approx(gpu / 2));
    CHECK(cost.disk_rows == doctest::Approx((inputs - gpu - cpu) / 2));
    CHECK(cost.sampled_edges == doctest::Approx(edges / 2));
    CHECK(cost.disk_bytes == doctest::Approx(train_segments / 2));
    CHECK(cost.segment_bytes == segments);
    CHECK(cost.largest_segment_bytes == largest);
    CHECK(cost.accessed_rows == accessed.size());
    CHECK(cost.cached_rows == 400 / source.info.row_bytes());
    CHECK(cost.cached_rows == preparation.cpu_row_count());
    CHECK(cost.gpu_cached_rows == request.options.gpu_cache_bytes / source.info.row_bytes());
    CHECK(cost.gpu_cached_rows == preparation.gpu_row_count());
    CHECK(result.packed_bytes <= cost.disk_space_bytes());
    CHECK(result.samples_bytes <= cost.samples_bytes_at_most);
    CHECK(result.packed_bytes == preparation.bytes());
    CHECK(result.scans == cost.packing_scans);
    CHECK(result.bytes_read == cost.packing_read_bytes());
    CHECK(cost.sampling_seconds > 0);
    // What sizes a training's memory: counts are exact, bytes of frames the most they can be.
    const PoolMaxima pool = maxima_of(preparation.pool().entries());
    CHECK(cost.largest.seed_count == pool.seed_count);
    CHECK(cost.largest.hidden_count == pool.hidden_count);
    CHECK(cost.largest.input_count == pool.input_count);
    CHECK(cost.largest.edge_count == pool.edge_count);
    CHECK(cost.largest.inner_edge_count == pool.inner_edge_count);
    CHECK(cost.largest.frame_raw_bytes >= pool.frame_raw_bytes);
    CHECK(cost.largest.frame_raw_bytes < 2 * pool.frame_raw_bytes + 4096);
    CHECK(cost.largest.frame_bytes >= pool.frame_bytes);
  }
}

TEST_CASE("a disk budget is kept: batches share rows, and the plan's numbers are what is then written") {
  const test::TemporaryFolder folder;
  const auto source = test::write_small_dataset(folder / "d", {.nodes = 400, .dim = 700, .train = 200});
  auto request = small_request();
  request.options.gpu_cache_bytes = 10 * source.info.row_bytes();
  request.options.cpu_cache_bytes = 20 * source.info.row_bytes();
  std::uint64_t last_space = ~std::uint64_t{0};
  double last_read = 0;
  // All that it takes, two thirds of it, and half.
  const std::uint64_t whole = run_prepare(folder / "d", request).cost.disk_space_bytes();
  for (const std::uint64_t budget : {std::uint64_t{0}, whole * 2 / 3, whole / 2}) {
    CAPTURE(budget);
    request.force = true;
    request.disk_budget_bytes = budget;
    const PrepareResult result = run_prepare(folder / "d", request);
    const PreparationCost& cost = result.cost;
    CHECK((cost.group_count > 0) == (budget > 0));
    CHECK(cost.disk_space_bytes() < last_space);
    CHECK(cost.disk_bytes >= last_read);
    if (budget > 0) CHECK(result.packed_bytes <= budget);
    last_space = cost.disk_space_bytes();
    last_read = cost.disk_bytes;
    const Dataset dataset = Dataset::open(folder / "d");
    const Preparation preparation = Preparation::open(dataset, "p");
    preparation.verify(nullptr);
    double read = 0;
    double pieces = 0;
    for (std::size_t i = 0; i < preparation.pool().entries().size(); ++i) {
      const BatchEntry& entry = preparation.pool().entries()[i];
      CHECK((budget > 0 ? entry.disk_rows : entry.page_rows) == 0);
      if (entry.key.split != Split::train) continue;
      pieces += static_cast<double>(preparation.pack().extents(i).size());
      for (const Extent& extent : preparation.pack().extents(i)) read += static_cast<double>(extent.bytes);
    }
    CHECK(cost.disk_bytes == doctest::Approx(read / 2));
    CHECK(cost.disk_pieces == doctest::Approx(pieces / 2));
    CHECK(cost.packing_scans == result.scans);
    CHECK(cost.largest.page_rows == maxima_of(preparation.pool().entries()).page_rows);
  }
  request.disk_budget_bytes = whole / 100;
  EXPECT_ERROR(run_prepare(folder / "d", request), Kind::config, "--disk-budget");
}

TEST_CASE("shared rows are read over gaps as the drive's profile has it, unless the request says how far") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", {.nodes = 400, .dim = 700, .train = 200});
  auto request = small_request();
  request.options.cpu_cache_bytes = 0;
  request.dry_run = true;
  request.disk_budget_bytes = run_prepare(folder / "d", request).cost.disk_space_bytes() / 2;
  const auto pieces = [&](std::uint64_t read_gap_bytes) {
    request.read_gap_bytes = read_gap_bytes;
    const PreparationCost cost = run_prepare(folder / "d", request).cost;
    REQUIRE(cost.group_batches > 1);
    return cost.disk_pieces;
  };
  const double usual = pieces(0);
  CHECK(pieces(usual_read_gap_bytes) == usual);
  CHECK(pieces(65'536) < usual);
  {
    Dataset dataset = Dataset::open(folder / "d", Catalog::Access::write);
    store_drive_profile(dataset,
                        {.engine = "pread",
                         .direct = true,
                         .points = {{.sequential = true, .block_bytes = 1 << 20, .bytes_per_second = 1e9},
                                    {.sequential = false, .block_bytes = 4096, .bytes_per_second = 6e7}}});
  }
  CHECK(pieces(0) == pieces(65'536));  // a read of 4 KiB takes as long as 68 KB in sequence
  CHECK(pieces(usual_read_gap_bytes) == usual);
}

TEST_CASE("budgets between one group and two, and below a group of 64 batches, are used") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", {.nodes = 400, .dim = 700, .train = 200});
  auto request = small_request();
  request.options.cpu_cache_bytes = 0;
  request.options.batch_size = 4;
  request.options.evaluation = false;
  request.force = true;
  request.disk_budget_bytes = 1;
  request.dry_run = true;
  const auto plan_with = [&](std::uint64_t budget) {
    PreparationCost cost;
    request.disk_budget_bytes = budget;
    Dataset dataset = Dataset::open(folder / "d");
    ThreadPool pool(2);
    try {
      prepare(dataset, request, pool, [&](const PreparationCost& planned) { cost = planned; });
    } catch (const Error& error) {
      CHECK(error.kind() == Kind::config);
    }
    return cost;
  };
  // All 100 batches in one group: what the least budget is.
  const PreparationCost one = plan_with(1);
  CHECK(one.group_batches == 100);
  CHECK(one.group_count == 1);
  double last_read = one.disk_bytes;
  std::uint64_t last_size = 100;
  // Each larger budget makes the largest group smaller, and nothing else is read for it.
  for (const double share : {1.15, 1.4, 1.9, 3.0}) {
    CAPTURE(share);
    const auto budget = static_cast<std::uint64_t>(share * static_cast<double>(one.disk_space_bytes()));
    const PreparationCost cost = plan_with(budget);
    CHECK(cost.disk_space_bytes() <= budget);
    CHECK(cost.group_batches < last_size);
    CHECK(cost.disk_bytes <= last_read);
    last_size = cost.group_batches;
    last_read = cost.disk_bytes;
    if (share < 1.2) CHECK((cost.group_batches > 50 && cost.group_count == 2));
  }
  request.dry_run = false;
  request.disk_budget_bytes = one.disk_space_bytes();
  run_prepare(folder / "d", request);
  const Dataset dataset = Dataset::open(folder / "d");
  const Preparation preparation = Preparation::open(dataset, "p");
  preparation.verify(nullptr);
  CHECK(preparation.bytes() <= request.disk_budget_bytes);
}

TEST_CASE("where nothing can be exchanged, belady keeps rows as static does, and asks for no order") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  auto request = small_request();
  request.force = true;
  for (const std::uint64_t cache : {std::uint64_t{0}, std::uint64_t{400}, std::uint64_t{1} << 30}) {
    CAPTURE(cache);
    request.options.cpu_cache_bytes = cache;
    std::vector<std::string> packs;
    for (const Residency residency : {Residency::fixed, Residency::belady}) {
      request.options.residency = residency;
      run_prepare(folder / "d", request);
      packs.push_back(read_text_file(folder / "d/prepared/p" / pack_file_name));
    }
    const Dataset dataset = Dataset::open(folder / "d");
    const bool can_exchange = cache == 400;
    CHECK((Preparation::open(dataset, "p").info().planned == Residency::belady) == can_exchange);
    CHECK((packs[0] == packs[1]) == !can_exchange);
  }
}

TEST_CASE("a dry run says what other budgets would give, as they then turn out") {
  const test::TemporaryFolder folder;
  const auto source = test::write_small_dataset(folder / "d", {.nodes = 400, .dim = 700, .train = 200});
  auto request = small_request();
  request.options.residency = Residency::automatic;
  request.dry_run = true;
  std::vector<BudgetChoice> choices;
  request.explore_budgets = [&](const BudgetChoice& choice) { choices.push_back(choice); };
  run_prepare(folder / "d", request);
  REQUIRE(choices.size() == budget_cache_shares.size() * budget_disk_shares.size());
  CHECK(choices.front().cpu_cache_bytes == 0);
  request.dry_run = false;
  request.force = true;
  bool shares = false;
  for (const std::size_t i : {std::size_t{1}, choices.size() / 2, choices.size() - 3}) {
    if (!choices[i].fits) continue;
    request.options.cpu_cache_bytes = choices[i].cpu_cache_bytes;
    request.disk_budget_bytes = choices[i].disk_budget_bytes;
    const PreparationCost cost = run_prepare(folder / "d", request).cost;
    CHECK(cost.disk_bytes == choices[i].cost.disk_bytes);
    CHECK(cost.disk_space_bytes() == choices[i].cost.disk_space_bytes());
    CHECK(cost.residency == choices[i].cost.residency);
    shares = shares || cost.group_batches > 1;
  }
  CHECK(shares);
}

TEST_CASE("small and odd graphs are prepared too") {
  const test::TemporaryFolder folder;
  const auto expect_prepared = [&](const test::SmallDatasetOptions& options, test::EdgeList edges) {
    fs::remove_all(folder / "d");
    const auto source = test::write_small_dataset(folder / "d", options, std::move(edges));
    auto request = small_request();
    request.options.fanouts = {3, -1, 60};
    run_prepare(folder / "d", request);
    const Dataset dataset = Dataset::open(folder / "d");
    const Preparation preparation = Preparation::open(dataset, "p");
    preparation.verify(nullptr);
    for (std::size_t i = 0; i < preparation.pool().entries().size(); ++i)
      check_batch(read_batch(preparation, i, source.info.row_bytes()), source, request.options);
  };
  expect_prepared({.nodes = 1, .train = 1}, {});
  expect_prepared({.nodes = 1, .train = 1}, {{0, 0}, {0, 0}});
  expect_prepared({.nodes = 5, .train = 3, .valid = 1, .test = 1}, {{1, 0}, {1, 0}, {2, 2}});
  test::EdgeList star;
  for (std::uint32_t i = 0; i < 3000; ++i) star.emplace_back(i, 7);
  expect_prepared({.nodes = 3000, .train = 3000, .valid = 0, .test = 0}, std::move(star));
}

}  // namespace gneiss
