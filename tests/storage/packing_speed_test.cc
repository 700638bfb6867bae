// Packing is foretold by what bounds it: the drive, the thread that reads, or the cores.
#include "storage/pack/packing_speed.h"

#include <doctest/doctest.h>

#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

constexpr double ns = 1e-9;

DriveProfile drive_of(double read_bytes_per_second, double write_bytes_per_second) {
  return {.engine = "pread",
          .direct = true,
          .points = {{.sequential = true, .block_bytes = 1 << 20, .bytes_per_second = read_bytes_per_second}},
          .write_bytes_per_second = write_bytes_per_second};
}

constexpr PackingSpeed speed{.read_seconds_a_byte = 0.5 * ns,
                             .read_cpu_a_byte = 0.4 * ns,
                             .copy_cpu_a_byte = 0.3 * ns,
                             .checksum_cpu_a_byte = 0.1 * ns,
                             .write_cpu_a_byte = 0.2 * ns,
                             .fill_cpu_a_byte = 0.1 * ns,
                             .sync_seconds = 0.01,
                             .cores = 2};
constexpr PackingWork own{.feature_bytes = 1'000'000'000,
                          .row_count = 20'000'000,
                          .row_bytes = 100,
                          .written_bytes = 2'000'000'000};

}  // namespace

TEST_CASE("packing takes as long as what is slower: the drive, the reading thread or the cores") {
  const double syncs = packing_seconds(speed, drive_of(1e9, 1e9), {});
  CHECK(syncs > 0.01);
  CHECK(syncs < 0.2);
  CHECK(packing_seconds(speed, drive_of(1e8, 1e8), own) == doctest::Approx(30 + syncs));
  // 0.4 + 2 * 0.3 to read and copy, 2 * (0.1 + 0.2) to check and write, on two cores.
  CHECK(packing_seconds(speed, drive_of(1e12, 1e12), own) == doctest::Approx(0.8 + syncs));
  PackingWork few_rows = own;
  few_rows.row_count = few_rows.written_bytes = 0;
  CHECK(packing_seconds(speed, drive_of(1e12, 1e12), few_rows) == doctest::Approx(0.5 + syncs));
}

TEST_CASE("regions filled in memory are written after the scan, dealt ones are moved once more") {
  const DriveProfile drive = drive_of(1e8, 1e8);
  PackingWork work = own;
  work.is_filled_in_memory = true;
  const double in_memory = packing_seconds(speed, drive, work);
  CHECK(in_memory == doctest::Approx(packing_seconds(speed, drive, own)));  // the drive's time is the same
  const DriveProfile fast_reads = drive_of(1e12, 1e8);
  CHECK(packing_seconds(speed, fast_reads, work) > packing_seconds(speed, fast_reads, own));
  work.is_filled_in_memory = false;
  work.reordered_bytes = 2'000'000'000;
  CHECK(packing_seconds(speed, drive, work) == doctest::Approx(in_memory + 40));
}

TEST_CASE("what is measured is a speed, whatever the size of the rows and of the features") {
  for (const std::uint32_t dim : {1U, 100U, 3000U}) {
    CAPTURE(dim);
    const test::TemporaryFolder folder;
    const test::SmallDataset source = test::write_small_dataset(folder / "d", {.nodes = 2000, .dim = dim});
    const Dataset dataset = Dataset::open(source.folder);
    const PackingSpeed measured = measure_packing_speed(dataset, 2, 64U << 20);
    for (const double each : {measured.read_seconds_a_byte, measured.copy_cpu_a_byte,
                              measured.checksum_cpu_a_byte, measured.fill_cpu_a_byte}) {
      CHECK(each > 0);
      CHECK(each < 1e-3);
    }
    CHECK(measured.read_cpu_a_byte >= 0);
    CHECK(measured.write_cpu_a_byte >= 0);
    CHECK(measured.sync_seconds >= 0);
    CHECK(measured.cores >= 1);
    CHECK(measured.cores <= 2);
  }
}

}  // namespace gneiss
