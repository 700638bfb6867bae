#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __x86_64__
#include <cpuid.h>
#endif

#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

#include "storage/base/aligned_buffer.h"
#include "storage/base/bounded_queue.h"
#include "storage/base/checksum.h"
#include "storage/base/dtype.h"
#include "storage/base/memory_limit.h"
#include "storage/base/parallel.h"
#include "storage/base/random.h"
#include "storage/base/units.h"
#include "storage/io/file.h"
#include "storage/io/file_lock.h"
#include "storage/io/folders.h"
#include "tests/support/expect_error.h"
#include "tests/support/skip.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;

TEST_CASE("sizes are read as people write them") {
  CHECK(parse_bytes("512MiB", "--memory") == 512ULL << 20);
  CHECK(parse_bytes("1.5g", "--memory") == 3ULL << 29);
  CHECK(parse_bytes("10 GB", "--memory") == 10'000'000'000ULL);
  CHECK(parse_bytes("0", "--cpu-cache") == 0);
  for (const char* bad : {"", "MiB", "-1", "1 parsec", "nan", "1e30GiB", "12x"}) {
    EXPECT_ERROR(parse_bytes(bad, "--memory"), Kind::config, "--memory");
  }
}

TEST_CASE("counts and durations are written as people read them") {
  CHECK(format_count(1166243) == "1,166,243");
  CHECK(format_count(7) == "7");
  CHECK(format_bytes(1536) == "1.50 KiB");
  for (const std::uint64_t bytes : {0ULL, 1ULL, (59ULL << 20) - 1, 59ULL << 20, (59ULL << 20) + 1}) {
    CHECK(parse_bytes(format_bytes_up(bytes), "--memory") >= bytes);
  }
  CHECK(format_seconds(0.42) == "420 ms");
  CHECK(format_seconds(3725) == "1 h 02 min");
  CHECK(format_seconds(1e300) == "1e+300 s");
}

TEST_CASE("every f16 and bf16 value survives the way through f32") {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    if (std::isnan(from_f16(half))) {
      CHECK(std::isnan(from_f16(to_f16(from_f16(half)))));
    } else {
      CHECK(to_f16(from_f16(half)) == half);
    }
    if (!std::isnan(from_bf16(half))) CHECK(to_bf16(from_bf16(half)) == half);
  }
}

TEST_CASE("conversion to f16 and bf16 rounds to nearest even and saturates to infinity") {
  CHECK(to_f16(1.0F + 0x1p-11F) == to_f16(1.0F));  // a tie goes to the even mantissa
  CHECK(to_f16(1.0F + 3 * 0x1p-11F) == to_f16(1.0F + 0x1p-9F));
  CHECK(to_f16(65519.0F) == 0x7BFF);
  CHECK(to_f16(65520.0F) == 0x7C00);
  CHECK(to_f16(0x1p-25F) == 0);
  CHECK(to_f16(0x1.8p-25F) == 1);
  CHECK(to_f16(-std::numeric_limits<float>::infinity()) == 0xFC00);
  CHECK(std::isnan(from_bf16(to_bf16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST_CASE("features are taken from any floating type, and from no other") {
  const std::array<double, 3> values{1.5, -0.25, 1e300};
  const auto* source = reinterpret_cast<const std::byte*>(values.data());
  std::array<float, 3> floats{};
  convert(Dtype::f64, source, Dtype::f32, reinterpret_cast<std::byte*>(floats.data()), 3);
  CHECK(floats == std::array{1.5F, -0.25F, std::numeric_limits<float>::infinity()});
  std::array<std::uint16_t, 3> halves{};
  for (const Dtype half : {Dtype::f16, Dtype::bf16}) {
    convert(Dtype::f64, source, half, reinterpret_cast<std::byte*>(halves.data()), 3);
    convert(half, reinterpret_cast<const std::byte*>(halves.data()), Dtype::f32,
            reinterpret_cast<std::byte*>(floats.data()), 3);
    CHECK(floats == std::array{1.5F, -0.25F, std::numeric_limits<float>::infinity()});
  }
  EXPECT_ERROR(convert(Dtype::i64, source, Dtype::f32, reinterpret_cast<std::byte*>(floats.data()), 3),
               Kind::config, "i64 are not supported");
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16})
    CHECK(parse_feature_dtype(name_of(dtype)) == dtype);
  EXPECT_ERROR(parse_feature_dtype("f8"), Kind::config, "use f32, f16 or bf16");
  // What a header of another version may name.
  CHECK(size_of(static_cast<Dtype>(11)) == 0);
  CHECK(name_of(static_cast<Dtype>(11)) == "unknown");
}

TEST_CASE("a stream of random draws is uniform and depends on its key alone") {
  RandomStream a(mix_key(1, 2, 3));
  RandomStream b(mix_key(1, 2, 3));
  RandomStream c(mix_key(1, 3, 2));
  CHECK(a.next() == b.next());
  CHECK(a.next() != c.next());
  std::vector<int> counts(10);
  for (int i = 0; i < 100'000; ++i) ++counts[a.below(10)];
  double chi_square = 0;
  for (const int count : counts) chi_square += (count - 10'000.0) * (count - 10'000.0) / 10'000.0;
  CHECK(chi_square < 33.7);  // 9 degrees of freedom, p = 1e-4
}

TEST_CASE("normal draws have mean 0 and variance 1") {
  RandomStream stream(7);
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < 100'000; ++i) {
    const double x = stream.normal();
    sum += x;
    squares += x * x;
  }
  CHECK(std::abs(sum / 100'000) < 0.02);
  CHECK(std::abs(squares / 100'000 - 1) < 0.03);
}

#ifdef __x86_64__
// Else all that the thread does in narrow registers waits for the upper halves.
TEST_CASE("a checksum leaves no wide vector registers in use") {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  constexpr unsigned tells_what_is_in_use = 1U << 2;
  if (__builtin_cpu_supports("avx") == 0 || __get_cpuid_count(0xD, 1, &eax, &ebx, &ecx, &edx) == 0 ||
      (eax & tells_what_is_in_use) == 0) {
    SKIP_TEST("this processor does not tell which registers are in use");
  }
  const auto upper_halves_in_use = [] {
    unsigned low = 0;
    unsigned high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
    return (low & (1U << 2)) != 0;
  };
  const std::vector<std::byte> bytes(100'000);
  for (const std::size_t size : {100UL, 1000UL, 100'000UL}) {
    StreamChecksum pieces;
    asm volatile("vzeroupper");
    const bool in_use_before = upper_halves_in_use();
    const std::uint64_t whole = checksum(std::span(bytes).first(size));
    const bool in_use_after = upper_halves_in_use();
    pieces.update(std::span(bytes).first(size));
    const bool in_use_after_pieces = upper_halves_in_use();
    if (in_use_before) SKIP_TEST("this processor does not tell which registers are in use");
    CHECK(pieces.value() == whole);
    CHECK_FALSE(in_use_after);
    CHECK_FALSE(in_use_after_pieces);
  }
}
#endif

TEST_CASE("a checksum in pieces equals the checksum of the whole") {
  std::vector<std::byte> bytes(100'003);
  RandomStream stream(3);
  for (auto& byte : bytes) byte = static_cast<std::byte>(stream.next());
  StreamChecksum pieces;
  for (std::size_t at = 0; at < bytes.size(); at += 777) {
    pieces.update(std::span(bytes).subspan(at, std::min<std::size_t>(777, bytes.size() - at)));
  }
  CHECK(pieces.value() == checksum(bytes));
  bytes[5000] ^= std::byte{1};
  CHECK(pieces.value() != checksum(bytes));
}

TEST_CASE("a thread pool does every piece once, for any number of threads") {
  for (const std::size_t threads : {1U, 2U, 5U}) {
    ThreadPool pool(threads);
    for (const std::size_t pieces : {0U, 1U, 2U, 1000U}) {
      std::vector<std::atomic<int>> done(pieces);
      pool.parallel_for(pieces, [&](std::size_t piece, std::size_t worker) {
        CHECK(worker < threads);
        ++done[piece];
      });
      for (const auto& count : done) CHECK(count == 1);
    }
  }
}

TEST_CASE("a thread pool reports the lowest piece that failed and goes on working") {
  ThreadPool pool(3);
  EXPECT_ERROR(pool.parallel_for(100,
                                 [](std::size_t piece, std::size_t) {
                                   if (piece % 10 == 7) fail(Kind::input, "piece {}", piece);
                                 }),
               Kind::input, "piece 7");
  std::atomic<int> done{0};
  pool.parallel_for(10, [&](std::size_t, std::size_t) { ++done; });
  CHECK(done == 10);
}

TEST_CASE("a bounded queue keeps order, closes and stops") {
  BoundedQueue<int> queue(2);
  std::stop_source stop;
  std::jthread producer([&] {
    for (int i = 0; i < 100; ++i) CHECK(queue.push(i, stop.get_token()));
    queue.close();
  });
  for (int i = 0; i < 100; ++i) CHECK(queue.pop(stop.get_token()) == i);
  CHECK_FALSE(queue.pop(stop.get_token()).has_value());

  BoundedQueue<int> full(1);
  CHECK(full.push(1, stop.get_token()));
  std::jthread stopper([&] { stop.request_stop(); });
  CHECK_FALSE(full.push(2, stop.get_token()));
}

TEST_CASE("the default memory budget is above nothing and below the machine") {
  CHECK(default_memory_budget() > 0);
  CHECK(default_memory_budget() <= control_group_limit());
  CHECK(peak_resident_bytes() > 0);
}

TEST_CASE("a file gives back what was written and says where it ends") {
  const test::TemporaryFolder folder;
  const File file = File::create(folder / "a");
  const std::vector<std::byte> bytes(10'000, std::byte{42});
  file.write_at(0, bytes);
  file.sync();
  CHECK(file.size() == bytes.size());
  std::vector<std::byte> back(bytes.size());
  file.read_at(0, back);
  CHECK(back == bytes);
  EXPECT_ERROR(file.read_at(1, back), Kind::corruption, "cut short");
  EXPECT_ERROR(File::open_for_reading(folder / "missing"), Kind::input, "does not exist");
  EXPECT_ERROR(File::open_for_reading(folder.path()), Kind::input, "is a folder");
}

TEST_CASE("a folder gives all that lies in it, and one that cannot be listed is named") {
  const test::TemporaryFolder folder;
  CHECK(entries_of(folder.path()).empty());
  write_text_file(folder / "a", "text");
  std::filesystem::create_directories(folder / "b" / "c");
  std::set<std::string> names;
  for (const auto& entry : entries_of(folder.path())) names.insert(entry.filename());
  CHECK(names == std::set<std::string>{"a", "b"});
  // Once, a folder that could not be opened left a preparation as the standard library's exception.
  EXPECT_ERROR(entries_of(folder / "a"), Kind::io, (folder / "a").string() + ": cannot list the folder");
}

TEST_CASE("a file that cannot take its name leaves no temporary one") {
  const test::TemporaryFolder folder;
  std::filesystem::create_directories(folder / "taken" / "by a folder");
  EXPECT_ERROR(replace_file(folder / "taken", "text"), Kind::io, "rename into place");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  // But for what the same command goes on with.
  File::create(folder / "kept").sync();
  EXPECT_ERROR(publish(folder / "kept", folder / "taken"), Kind::io, "rename into place");
  CHECK(std::filesystem::exists(folder / "kept"));
}

TEST_CASE("a pipe in the place of a file is waited for neither by readers nor by locks") {
  const test::TemporaryFolder folder;
  const std::string pipe = folder / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  EXPECT_ERROR(File::open_for_reading(pipe), Kind::input, "is a pipe");
  EXPECT_ERROR(File::open_for_reading("/dev/zero"), Kind::input, "a device");
  CHECK(FileLock::try_take(pipe, FileLock::Mode::shared));
}

TEST_CASE("a text in shared memory is replaced, like any other") {
  const std::filesystem::path memory = "/dev/shm";
  if (!std::filesystem::is_directory(memory)) SKIP_TEST("there is no /dev/shm");
  const auto path = memory / ("gneiss-test-" + std::to_string(::getpid()));
  // Once, all that lies below /dev was taken for a device, and written to its end.
  for (const char* text : {"first", "second"}) {
    write_text_file(path, text);
    CHECK(read_text_file(path) == text);
  }
  std::filesystem::remove(path);
}

TEST_CASE("publishing a file replaces the old one whole") {
  const test::TemporaryFolder folder;
  write_text_file(folder / "a", "old");
  write_text_file(folder / "a", "new text");
  CHECK(read_text_file(folder / "a") == "new text");
  CHECK_FALSE(std::filesystem::exists(folder / "a.tmp"));
}

TEST_CASE("a lock that cannot be taken for want of open files is not taken for granted") {
  const test::TemporaryFolder folder;
  CHECK(FileLock::try_take(folder / "missing", FileLock::Mode::exclusive).has_value());
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit none{0, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  std::string failure;
  try {
    static_cast<void>(FileLock::try_take(folder.path(), FileLock::Mode::exclusive));
  } catch (const Error& error) {
    failure = error.what();
  }
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(failure.find("open for locking") != std::string::npos);
}
