// Rows of the gpu tier are the source's wherever they lie, and the host never reads those of a device.
#include <doctest/doctest.h>

#include <cstring>

#include "engine/pipeline/pipelined_source.h"
#include "engine/tiers/assemble.h"
#include "engine/tiers/sweep_image.h"
#include "storage/io/file.h"
#include "tests/engine/prepared_dataset.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

constexpr std::uint32_t dim = 1024;

PreparationOptions tiered_options(Residency residency) {
  PreparationOptions options;
  options.batch_size = 20;
  options.fanouts = {4, 3};
  options.sample_epochs = 3;
  options.gpu_cache_bytes = 40 * dim * 4;
  options.cpu_cache_bytes = 30 * dim * 4;
  options.residency = residency;
  return options;
}

// The pool's epochs in order, evaluation after each.
std::vector<std::size_t> training_order(const Preparation& preparation) {
  const auto entries = preparation.pool().entries();
  std::vector<std::size_t> order;
  for (std::uint32_t epoch = 0; epoch < preparation.info().options.sample_epochs; ++epoch) {
    for (const bool is_train : {true, false}) {
      for (std::size_t i = 0; i < entries.size(); ++i) {
        const BatchKey& key = entries[i].key;
        if ((key.split == Split::train) == is_train && (!is_train || key.epoch == epoch)) order.push_back(i);
      }
    }
  }
  return order;
}

void flip(const std::filesystem::path& path, std::uint64_t offset) {
  const File file = File::open_existing(path);
  std::array<std::byte, 1> byte{};
  file.read_at(offset, byte);
  byte[0] ^= std::byte{1};
  file.write_at(offset, byte);
}

}  // namespace

TEST_CASE(
    "rows come from all tiers and are the source's: fixed and exchanged, own and shared, evaluation too") {
  for (const Residency residency : {Residency::fixed, Residency::belady}) {
    for (const bool is_shared : {false, true}) {
      const PreparationOptions options = tiered_options(residency);
      const SmallDatasetOptions graph{.nodes = 400, .dim = dim};
      const std::uint64_t own = PreparedDataset(options, graph).preparation().bytes();
      const PreparedDataset data(options, graph, is_shared ? own * 4 / 5 : 0);
      REQUIRE(data.preparation().pack().is_shared() == is_shared);
      REQUIRE(data.preparation().info().planned == residency);
      data.preparation().verify(nullptr);
      const auto order = training_order(data.preparation());
      PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(),
                             {.slot_count = 3, .gpu_tier = data.gpu_tier()}, plan_of(order));
      bool right = true;
      BatchCost trained;
      BatchCost evaluated;
      for (const std::size_t index : order) {
        const SourcedBatch* batch = source.next();
        REQUIRE(batch != nullptr);
        const BatchEntry& entry = data.preparation().pool().entries()[index];
        const auto inputs = data.preparation().pool().read_input_nodes(entry);
        const TieredRows& rows = batch->view.input;
        REQUIRE(rows.row_count() == inputs.size());
        for (std::uint32_t local = 0; local < inputs.size(); ++local) {
          const auto row = data.source().row(inputs[local]);
          right = right && std::memcmp(rows.row(local), row.data(), row.size()) == 0;
        }
        REQUIRE(rows.range_count() == 3);
        CHECK(rows.range(0).base == data.gpu_tier().rows);
        CHECK(rows.range(0).count == batch->cost.gpu_rows);
        CHECK(rows.range(1).base == data.cpu_tier().rows());
        CHECK(rows.range(1).count == batch->cost.cpu_rows);
        BatchCost& sum = entry.key.split == Split::train ? trained : evaluated;
        sum.gpu_rows += batch->cost.gpu_rows;
        sum.cpu_rows += batch->cost.cpu_rows;
        sum.disk_rows += batch->cost.disk_rows;
        CHECK(batch->cost.gpu_rows + batch->cost.cpu_rows + batch->cost.disk_rows == inputs.size());
      }
      CHECK(right);
      for (const BatchCost& sum : {trained, evaluated}) {
        CHECK(sum.gpu_rows > 0);
        CHECK(sum.disk_rows > 0);
      }
      CHECK(trained.cpu_rows > 0);
    }
  }
}

TEST_CASE("rows that lie on a device are pointed to and never read") {
  // With rows that come and go batches are copied from, too.
  const PreparedDataset data(tiered_options(Residency::belady), {.nodes = 400, .dim = dim});
  const TierBase device{.rows = reinterpret_cast<const std::byte*>(std::uintptr_t{0x1000}),
                        .row_count = data.gpu_tier().row_count};
  const auto order = training_order(data.preparation());
  PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(), {.gpu_tier = device},
                         plan_of(order));
  for (std::size_t i = 0; i < order.size(); ++i) {
    const SourcedBatch* batch = source.next();
    REQUIRE(batch != nullptr);
    CHECK(batch->view.input.range(0).base == device.rows);
  }
  CHECK(source.next() == nullptr);
}

TEST_CASE("a sweep hands on the image's bytes in order, for memory that the host cannot write") {
  PreparationOptions options = tiered_options(Residency::fixed);
  options.gpu_cache_bytes = std::uint64_t{1} << 30;
  // 12 MiB: more than a piece.
  const PreparedDataset data(options, {.nodes = 4000, .edges = 40'000, .dim = 2000, .train = 2000});
  REQUIRE(data.preparation().gpu_row_count() * 8000 > 9 << 20);
  std::vector<std::byte> bytes;
  sweep_image(*data.preparation().gpu_tier(), [&](std::uint64_t offset, std::span<const std::byte> piece) {
    CHECK(offset == bytes.size());
    bytes.insert(bytes.end(), piece.begin(), piece.end());
  });
  REQUIRE(bytes.size() == data.gpu_tier().row_count * image_row_bytes(*data.preparation().gpu_tier()));
  const bool is_same = std::memcmp(bytes.data(), data.gpu_tier().rows, bytes.size()) == 0;
  CHECK(is_same);
}

TEST_CASE("slots beyond the gpu tier are refused, whatever else the plan says") {
  const PreparedDataset data(tiered_options(Residency::fixed), {.nodes = 400, .dim = dim});
  const BatchEntry& entry = data.preparation().pool().entries()[0];
  const AlignedBuffer raw = data.preparation().pool().read_frame(entry);
  BatchFrame frame;
  parse_batch_frame(raw.bytes(), "a frame", true, frame);
  const SegmentEntry& segment = data.preparation().pack().entries()[0];
  const AlignedBuffer rows(segment.bytes);
  const auto assemble = [&](TierBase gpu_tier) {
    return assemble_rows(frame, gpu_tier, data.cpu_tier(), rows.bytes(), {}, Dtype::f32, dim, "a batch");
  };
  CHECK(assemble(data.gpu_tier()).row_count() == entry.input_count);
  std::vector<std::uint32_t> slots(frame.gpu_slots.begin(), frame.gpu_slots.end());
  REQUIRE(slots.size() > 1);
  frame.gpu_slots = slots;
  for (const std::uint32_t slot : {40U, 0x3FFFFFFFU, 0xFFFFFFFFU}) {
    slots.back() = slot;
    EXPECT_ERROR(assemble(data.gpu_tier()), Kind::corruption, "of the gpu tier, which has 40");
  }
  slots.back() = 39;
  CHECK(assemble(data.gpu_tier()).row_count() == entry.input_count);
  EXPECT_ERROR(assemble({}), Kind::corruption, "of the gpu tier, which has 0");
}

TEST_CASE("a damaged gpu image is not loaded, nor opened where it is another's or missing") {
  const PreparedDataset data(tiered_options(Residency::fixed), {.nodes = 400, .dim = dim});
  const auto path = data.file(gpu_tier_file_name);
  const std::uint64_t offset = data.preparation().gpu_tier()->require(SectionKind::feature_rows).offset;
  flip(path, offset + 1234);
  EXPECT_ERROR(HostGpuTier(data.preparation()), Kind::corruption, gpu_tier_file_name);
  EXPECT_ERROR(data.preparation().verify(nullptr), Kind::corruption, gpu_tier_file_name);
  flip(path, offset + 1234);
  CHECK(HostGpuTier(data.preparation()).bytes() == 40 * dim * 4);
  flip(path, 100);
  EXPECT_ERROR(Preparation::open(data.dataset(), "p"), Kind::corruption, gpu_tier_file_name);
  std::filesystem::remove(path);
  EXPECT_ERROR(Preparation::open(data.dataset(), "p"), Kind::corruption, gpu_tier_file_name);
}
