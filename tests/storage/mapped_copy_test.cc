// Mapped files that are cut short, or that the drive does not give, under a copy: an error, and the process
// lives.
#include "storage/io/mapped_copy.h"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/mount.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <thread>
#include <vector>

#include "tests/storage/io_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/in_child.h"
#include "tests/support/run_command.h"
#include "tests/support/skip.h"
#include "tests/support/temporary_folder.h"

namespace gneiss::test {
namespace {

constexpr std::size_t page = 4096;

class Map {
 public:
  Map(const File& file, std::size_t bytes)
      : bytes_(bytes), data_(::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.descriptor(), 0)) {
    REQUIRE(data_ != MAP_FAILED);
  }
  ~Map() { ::munmap(data_, bytes_); }
  Map(const Map&) = delete;
  Map& operator=(const Map&) = delete;
  const std::byte* data() const { return static_cast<const std::byte*>(data_); }

 private:
  std::size_t bytes_;
  void* data_;
};

}  // namespace

TEST_CASE("a copy tells which pages the file has no more, in every thread, again and again") {
  const TemporaryFolder folder;
  const std::vector<std::byte> content = write_random_file(folder / "data", 4 * page, 1);
  const File file = File::open_existing(folder / "data");
  const Map map(file, 4 * page);
  file.resize(page + 1);
  const auto copy_all = [&] {
    for (int round = 0; round < 20; ++round) {
      std::vector<std::byte> target(2 * page);
      CHECK(copy_mapped(map.data(), std::span(target).first(2 * page)));
      CHECK(std::ranges::equal(std::span(target).first(page + 1), std::span(content).first(page + 1)));
      CHECK_FALSE(copy_mapped(map.data() + page, target));  // begins in the file
      CHECK_FALSE(copy_mapped(map.data() + 3 * page, std::span(target).first(1)));
      CHECK(copy_mapped(map.data() + 3 * page, {}));
    }
  };
  copy_all();
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(copy_all);
}

TEST_CASE("a file that is cut while it is read by mmap is one that was cut short") {
  const TemporaryFolder folder;
  constexpr std::uint64_t bytes = 64 * page;
  const std::vector<std::byte> content = write_random_file(folder / "data", bytes, 2);
  const auto engine = make_io_engine("mmap", {.queue_depth = 1, .direct = false});
  const FileId id = engine->open(folder / "data");
  std::jthread cutter([&](const std::stop_token& stop) {
    const File file = File::open_existing(folder / "data");
    while (!stop.stop_requested()) {
      file.resize(page);
      file.write_at(0, content);
    }
  });
  std::uint64_t whole = 0;
  std::uint64_t cut = 0;
  std::vector<std::byte> memory(bytes);
  while (whole + cut < 20'000 && (whole < 50 || cut < 50)) {
    engine->submit({.file = id, .offset = 0, .target = memory, .tag = 0});
    std::array<ReadCompletion, 1> done;
    REQUIRE(engine->reap(done, 1) == 1);
    if (done[0].error == 0) {
      ++whole;
      CHECK(std::ranges::equal(std::span(memory).first(page), std::span(content).first(page)));
    } else {
      ++cut;
      // A file that has grown again by then looks like one whose drive fails.
      CHECK((done[0].error == ENODATA || done[0].error == EIO));
    }
  }
  CHECK(cut > 0);
}

TEST_CASE("a file that was cut during a read by mmap ends where it was cut") {
  const TemporaryFolder folder;
  constexpr std::uint64_t bytes = std::uint64_t{64} << 20;
  std::uint64_t cut_during_a_read = 0;
  for (int round = 0; round < 200 && cut_during_a_read < 5; ++round) {
    const File file = File::create(folder / "data");
    file.resize(bytes);
    const auto engine = make_io_engine("mmap", {.queue_depth = 1, .direct = false});
    const FileId id = engine->open(folder / "data");
    std::vector<std::byte> memory(bytes);
    std::atomic<bool> is_reading = false;
    const std::jthread cutter([&] {
      is_reading.wait(false);
      file.resize(page);
    });
    is_reading = true;
    is_reading.notify_one();
    engine->submit({.file = id, .offset = 0, .target = memory, .tag = 0});
    std::array<ReadCompletion, 1> done;
    REQUIRE(engine->reap(done, 1) == 1);
    if (done[0].error == 0) continue;  // that time the read was quicker
    ++cut_during_a_read;
    CHECK(done[0].error == ENODATA);
  }
  CHECK(cut_during_a_read > 0);
}

// In a process of its own, where no copy came before: the first one looks who handles the signal.
TEST_CASE("child: copies beside a handler of bus errors" * doctest::skip()) {
  const TemporaryFolder folder;
  write_random_file(folder / "data", page, 6);
  const File file = File::open_existing(folder / "data");
  const Map map(file, page);
  file.resize(0);
  static volatile int told = 0;
  std::signal(SIGBUS, [](int) { told = told + 1; });
  for (int round = 1; round <= 3; ++round) {
    std::byte target{};
    CHECK_FALSE(copy_mapped(map.data(), std::span(&target, 1)));
    ::raise(SIGBUS);
    CHECK(told == round);
  }
}

TEST_CASE("whoever handled bus errors before still does, and copies go on being safe") {
  const CommandResult result = run_command(child_command("copies beside a handler of bus errors"));
  CHECK_MESSAGE(result.exit_code == 0, result.output);
}

TEST_CASE("a page that the drive does not give is an error of the read by mmap") {
  const TemporaryFolder folder;
  if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=64k") != 0)
    SKIP_TEST("may not mount a tmpfs");
  struct Unmount {
    std::filesystem::path path;
    ~Unmount() { ::umount2(path.c_str(), MNT_DETACH); }
  } const unmount{folder.path()};
  const std::vector<std::byte> content = write_random_file(folder / "data", page, 3);
  File::open_existing(folder / "data").resize(8 * page);  // of which no page is there
  write_random_file(folder / "other", free_bytes(folder.path()), 4);
  const auto engine = make_io_engine("mmap", {.queue_depth = 1, .direct = false});
  const FileId id = engine->open(folder / "data");
  std::vector<std::byte> memory(2 * page);
  read_blocking(*engine, id, 0, std::span(memory).first(page));
  CHECK(std::ranges::equal(std::span(memory).first(page), content));
  EXPECT_ERROR(read_blocking(*engine, id, 0, memory), Kind::io, (folder / "data").string());
}

TEST_CASE("a bus error of anything else ends the process as before") {
  const TemporaryFolder folder;
  write_random_file(folder / "data", page, 5);
  const File file = File::open_existing(folder / "data");
  const Map map(file, page);
  file.resize(0);
  for (const bool is_sent : {false, true}) {
    CAPTURE(is_sent);
    constexpr int lived = 42;
    const int code = run_in_child([&] {
      std::byte target{};
      if (copy_mapped(map.data(), std::span(&target, 1))) return lived;
      if (is_sent) {
        ::raise(SIGBUS);
      } else {
        target = *static_cast<const volatile std::byte*>(map.data());
      }
      return lived;
    });
    CHECK(code != lived);
#ifndef GNEISS_SANITIZED  // which ends it with a code of its own
    CHECK(code == 128 + SIGBUS);
#endif
  }
}

}  // namespace gneiss::test
