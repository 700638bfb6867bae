#include "storage/io/drive_benchmark.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "storage/base/random.h"
#include "storage/io/access_pattern.h"
#include "storage/io/drive_profile.h"
#include "tests/storage/io_fixture.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using namespace gneiss::test;

TEST_CASE("percentiles are within 1.6 % of the sorted samples, small and large ones") {
  LatencyHistogram histogram;
  CHECK(histogram.quantile_nanoseconds(0.5) == 0);
  std::vector<std::uint64_t> samples;
  RandomStream random(7);
  for (int i = 0; i < 20'000; ++i) samples.push_back(random.next() >> (random.below(60) + 4));
  for (const std::uint64_t sample : samples) histogram.record(sample);
  std::ranges::sort(samples);
  for (const double share : {0.001, 0.25, 0.5, 0.95, 0.99, 0.9999}) {
    const auto rank = static_cast<std::size_t>(std::ceil(share * 20'000)) - 1;
    const auto exact = static_cast<double>(samples[rank]);
    const auto found = static_cast<double>(histogram.quantile_nanoseconds(share));
    CHECK(found >= exact);
    CHECK(found <= exact * 1.016 + 1);
  }
  CHECK(histogram.quantile_nanoseconds(1) == samples.back());
  CHECK(histogram.count() == 20'000);
  histogram.record(~std::uint64_t{0});
  CHECK(histogram.max_nanoseconds() == ~std::uint64_t{0});
}

TEST_CASE("a measurement counts what was read, for every engine and pattern") {
  const TemporaryFolder folder;
  write_random_file(folder / "data", (4 << 20) + 100, 1);
  for (const char* engine : {"auto", "pread", "mmap"}) {
    for (const bool sequential : {true, false}) {
      for (const bool direct : {true, false}) {
        CAPTURE(engine);
        CAPTURE(sequential);
        const ReadMeasurement measured = measure_reads(folder / "data",
                                                       {.engine = engine,
                                                        .direct = direct,
                                                        .sequential = sequential,
                                                        .block_bytes = 16384,
                                                        .queue_depth = 4,
                                                        .seconds = 0.03},
                                                       {});
        CHECK(measured.cost.reads > 0);
        CHECK(measured.cost.bytes == measured.cost.reads * 16384);
        CHECK(measured.cost.latency.count() == measured.cost.reads);
        CHECK(measured.cost.seconds > 0);
        CHECK(measured.workload.engine != "auto");
        if (measured.workload.engine == "mmap") {
          CHECK_FALSE(measured.workload.direct);
          CHECK(measured.workload.queue_depth == 1);
        }
        const double seconds = measured.cost.seconds;
        CHECK(measured.cost.reads_per_second() == doctest::Approx(double(measured.cost.reads) / seconds));
      }
    }
  }
}

TEST_CASE("a workload that cannot be is refused with a sentence") {
  const TemporaryFolder folder;
  write_random_file(folder / "data", 8192, 1);
  const auto measure = [&](ReadWorkload workload) { measure_reads(folder / "data", workload, {}); };
  EXPECT_ERROR(measure({.block_bytes = 1000}), Kind::config, "1000 bytes");
  EXPECT_ERROR(measure({.block_bytes = 0}), Kind::config, "0 bytes");
  EXPECT_ERROR(measure({.block_bytes = 16384}), Kind::config, "less than one block");
  EXPECT_ERROR(measure({.block_bytes = 4096, .seconds = 0}), Kind::config, "0 seconds");
  EXPECT_ERROR(measure_reads(folder / "missing", {}, {}), Kind::input, "missing");
}

TEST_CASE("an interrupt ends a measurement at once and leaves no test file") {
  const TemporaryFolder folder;
  std::stop_source stop;
  {
    const BenchmarkFile file(folder.path(), 1 << 20, stop.get_token());
    const std::jthread interrupter([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      stop.request_stop();
    });
    EXPECT_ERROR(measure_reads(file.path(), {.block_bytes = 4096, .seconds = 600}, stop.get_token()),
                 Kind::cancelled, "interrupted");
  }
  EXPECT_ERROR(BenchmarkFile(folder.path(), 64 << 20, stop.get_token()), Kind::cancelled, "interrupted");
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("the test file does not compress, is whole, and vanishes even while it is open") {
  const TemporaryFolder folder;
  const BenchmarkFile file(folder.path(), (5 << 20) + 1, {});
  CHECK(std::filesystem::is_empty(folder.path()));
  CHECK(file.size() == (5 << 20) + 4096);
  const File reader = File::open_for_reading(file.path());
  std::vector<std::byte> content(file.size());
  reader.read_at(0, content);
  std::set<std::uint64_t> words;
  for (std::size_t i = 0; i < content.size(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, content.data() + i, 8);
    words.insert(word);
  }
  CHECK(words.size() == content.size() / 8);
}

TEST_CASE("a drive profile reads back as it was written, and damage is noticed") {
  const TemporaryFolder folder;
  const BenchmarkFile file(folder.path(), 4 << 20, {});
  DriveProfile profile = measure_drive(file.path(), 0.02, {});
  profile.write_bytes_per_second = 12.5;
  CHECK(profile.points.size() == 6);
  CHECK(profile.sequential_bytes_per_second() > 0);
  CHECK(profile.random_reads_per_second(4096) > 0);
  CHECK(profile.random_reads_per_second(8192) == 0);
  CHECK(drive_profile_from_json(nlohmann::json::parse(to_json(profile).dump())) == profile);

  nlohmann::json damaged = to_json(profile);
  damaged["points"][0]["bytes_per_second"] = -1;
  EXPECT_ERROR(drive_profile_from_json(damaged), Kind::corruption, "-1");
  damaged["points"][0].erase("bytes_per_second");
  EXPECT_ERROR(drive_profile_from_json(damaged), Kind::corruption, "bytes_per_second");
  EXPECT_ERROR(drive_profile_from_json({{"engine", 5}}), Kind::corruption, "measure the drive again");
}

TEST_CASE("writes are measured on a file that leaves nothing behind, and not where none may be") {
  const TemporaryFolder folder;
  CHECK(measure_writes(folder.path(), {}) > 0);
  CHECK(std::filesystem::is_empty(folder.path()));
  CHECK(measure_writes("/proc", {}) == 0);
}

TEST_CASE("the least time is what the number of reads costs or what their bytes cost") {
  const DriveProfile profile{
      .engine = "io_uring",
      .direct = true,
      .points = {{.sequential = true, .block_bytes = 1 << 20, .queue_depth = 8, .bytes_per_second = 1e9},
                 {.sequential = false, .block_bytes = 4096, .queue_depth = 64, .bytes_per_second = 4096e4}}};
  CHECK(profile.least_seconds(10'000, 4096) == doctest::Approx(1));
  CHECK(profile.least_seconds(1, 3'000'000'000) == doctest::Approx(3));
  // A piece costs 100 us, of which 4.096 are its bytes'.
  CHECK(profile.bytes_lost_by_a_read() == doctest::Approx(100'000 - 4096));
  CHECK(profile.read_seconds(10'000, 4096 * 10'000) == doctest::Approx(1));
  CHECK(profile.read_seconds(0, 3'000'000'000) == doctest::Approx(3));
}

TEST_CASE("an access pattern is read in pieces of whole 4 KiB blocks, and each batch is timed") {
  const TemporaryFolder folder;
  write_random_file(folder / "a", 100'000, 1);
  write_random_file(folder / "b", 10'000, 2);
  const AccessPattern pattern{
      .files = {folder / "a", folder / "b"},
      .reads = {{0, 0, 65'536}, {1, 5'000, 10}, {1, 4'090, 12}, {0, 99'999, 1}, {0, 0, 0}},
      .batch_ends = {1, 1, 4, 5}};
  for (const char* engine : {"auto", "pread", "mmap"}) {
    CAPTURE(engine);
    const PatternMeasurement measured =
        measure_pattern(pattern, {.engine = engine, .queue_depth = 2, .piece_bytes = 16384}, {});
    CHECK(measured.planned_bytes == 65'536 + 10 + 12 + 1);
    CHECK(measured.cost.reads == 4 + 1 + 1 + 1);
    CHECK(measured.cost.bytes == 65'536 + 4096 + 8192 + 4096);
    CHECK(measured.batch_latency.count() == 2);  // two batches read nothing
  }
}

TEST_CASE("a pattern that leaves its file, and a piece that cannot be, are refused") {
  const TemporaryFolder folder;
  write_random_file(folder / "a", 10'000, 1);
  const auto measure = [&](std::uint64_t offset, std::uint64_t bytes, std::uint64_t piece) {
    measure_pattern({.files = {folder / "a"}, .reads = {{0, offset, bytes}}, .batch_ends = {1}},
                    {.piece_bytes = piece}, {});
  };
  measure(9'000, 1'000, 4096);
  EXPECT_ERROR(measure(9'000, 1'001, 4096), Kind::corruption, "offset 9000");
  EXPECT_ERROR(measure(~std::uint64_t{0}, 2, 4096), Kind::corruption, "outside");
  EXPECT_ERROR(measure(0, 1, 100), Kind::config, "100 bytes");
}
