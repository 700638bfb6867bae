// The contract of a read engine, over every core, with and without the page cache.
#include "storage/io/io_engine.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "storage/base/aligned_buffer.h"
#include "storage/base/random.h"
#include "tests/storage/io_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/in_child.h"
#include "tests/support/skip.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

struct Way {
  const char* engine;
  bool direct;
};
constexpr Way ways[] = {{"io_uring", true}, {"io_uring", false}, {"pread", true},
                        {"pread", false},   {"mmap", true},      {"auto", true}};

// Runs the rest of the test case once for each way; says so where io_uring is refused.
template <class Work>
void for_each_way(const Work& work) {
  for (const Way& way : ways) {
    CAPTURE(way.engine);
    CAPTURE(way.direct);
    if (std::string_view(way.engine) == "io_uring" && !has_io_uring()) {
      say_skipped("io_uring is refused on this machine");
      continue;
    }
    work(way);
  }
}

// Memory that the kernel keeps in its place for this process, whether it was freed or not.
std::uint64_t pinned_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::uint64_t kilobytes = 0;
    if (word == "VmPin:" && status >> kilobytes) return kilobytes;
  }
  return 0;
}

}  // namespace

TEST_CASE("random ranges at any depth equal what the file holds") {
  const TemporaryFolder folder;
  const std::vector<std::byte> content = write_random_file(folder / "data", (3 << 20) + 777, 1);
  for_each_way([&](const Way& way) {
    for (const std::uint32_t depth : {1U, 3U, 64U}) {
      const auto engine = make_io_engine(way.engine, {.queue_depth = depth, .direct = way.direct});
      const FileId file = engine->open(folder / "data");
      CHECK(engine->file_bytes(file) == content.size());
      read_random_ranges(*engine, file, content, {.count = 400, .seed = depth});
      CHECK(engine->counters().reads == 400);
      CHECK(engine->counters().failures == 0);
      CHECK(engine->in_flight() == 0);
    }
  });
}

TEST_CASE("registered memory receives the same bytes") {
  const TemporaryFolder folder;
  const std::vector<std::byte> content = write_random_file(folder / "data", 1 << 20, 2);
  for_each_way([&](const Way& way) {
    const auto engine = make_io_engine(way.engine, {.queue_depth = 8, .direct = way.direct});
    const FileId file = engine->open(folder / "data");
    AlignedBuffer memory(content.size());
    AlignedBuffer unregistered(content.size());
    const std::size_t half = memory.size() / 2;
    const std::array<std::span<std::byte>, 2> halves{memory.bytes().subspan(half),
                                                     memory.bytes().first(half)};
    engine->register_buffers(halves);
    // One read inside a registered buffer, one across the seam of two, one in memory of its own.
    read_blocking(*engine, file, 0, memory.bytes().first(half));
    CHECK(std::ranges::equal(memory.bytes().first(half), std::span(content).first(half)));
    read_blocking(*engine, file, 0, memory.bytes());
    CHECK(std::ranges::equal(memory.bytes(), content));
    read_blocking(*engine, file, 0, unregistered.bytes());
    CHECK(std::ranges::equal(unregistered.bytes(), content));
    const bool is_pinned = pinned_kilobytes() > 0;  // where the limit on locked memory allows it
    CHECK((!is_pinned || engine->name() == "io_uring"));
    engine->unregister_buffers();
    CHECK(pinned_kilobytes() == 0);
    read_blocking(*engine, file, 0, memory.bytes().first(half));
    CHECK(std::ranges::equal(memory.bytes().first(half), std::span(content).first(half)));
  });
}

TEST_CASE("the last block may reach past the end of the file, no further") {
  const TemporaryFolder folder;
  const std::vector<std::byte> content = write_random_file(folder / "data", 4096 + 100, 3);
  write_random_file(folder / "empty", 0, 3);
  for_each_way([&](const Way& way) {
    const auto engine = make_io_engine(way.engine, {.queue_depth = 4, .direct = way.direct});
    const FileId file = engine->open(folder / "data");
    const FileId empty = engine->open(folder / "empty");
    AlignedBuffer memory(16384);
    const auto read = [&](FileId from, std::uint64_t offset, std::size_t bytes) {
      engine->submit({.file = from, .offset = offset, .target = memory.bytes().first(bytes), .tag = 7});
      ReadCompletion completion;
      REQUIRE(engine->reap(std::span(&completion, 1), 1) == 1);
      CHECK(completion.tag == 7);
      return completion.error;
    };
    CHECK(read(file, 0, 8192) == 0);
    CHECK(std::memcmp(memory.data(), content.data(), content.size()) == 0);
    CHECK(read(file, 4096, 4096) == 0);
    CHECK(std::memcmp(memory.data(), content.data() + 4096, 100) == 0);
    CHECK(read(file, 4096, 8192) == ENODATA);
    CHECK(read(file, 8192, 4096) == ENODATA);
    CHECK(read(file, std::uint64_t{1} << 63, 4096) == ENODATA);
    CHECK(read(file, ~std::uint64_t{4095}, 8192) == ENODATA);
    CHECK(read(empty, 0, 4096) == ENODATA);
    CHECK(read(file, 0, 0) == 0);
    CHECK(engine->counters().bytes == 4196 + 100);
  });
}

TEST_CASE("a file cut short after it was opened is reported, not fatal") {
  const TemporaryFolder folder;
  for_each_way([&](const Way& way) {
    write_random_file(folder / "data", 1 << 20, 4);
    const auto engine = make_io_engine(way.engine, {.queue_depth = 4, .direct = way.direct});
    const FileId file = engine->open(folder / "data");
    File::open_existing(folder / "data").resize(8192);
    AlignedBuffer memory(1 << 20);
    read_blocking(*engine, file, 0, memory.bytes().first(8192));
    EXPECT_ERROR(read_blocking(*engine, file, 0, memory.bytes()), Kind::corruption, "cut short");
    EXPECT_ERROR(read_blocking(*engine, file, 65536, memory.bytes().first(4096)), Kind::corruption,
                 (folder / "data").string());
    CHECK(engine->in_flight() == 0);
    // In the middle of a block: a direct read comes back short however often it is tried.
    for (const std::uint64_t bytes : {8191U, 5000U, 4097U, 100U}) {
      CAPTURE(bytes);
      File::open_existing(folder / "data").resize(bytes);
      EXPECT_ERROR(read_blocking(*engine, file, 0, memory.bytes()), Kind::corruption, "cut short");
    }
  });
}

TEST_CASE("what cannot be opened is named") {
  const TemporaryFolder folder;
  for_each_way([&](const Way& way) {
    const auto engine = make_io_engine(way.engine, {.queue_depth = 4, .direct = way.direct});
    EXPECT_ERROR(engine->open(folder / "missing"), Kind::input, "missing");
    EXPECT_ERROR(engine->open(folder.path()), Kind::input, "folder");
    // What has no path of its own is called by what it holds.
    EXPECT_ERROR(engine->open("/proc/self/fd/99999", "the layer's rows"), Kind::input, "the layer's rows");
  });
}

TEST_CASE("reads from hundreds of files do not mix") {
  constexpr std::size_t file_count = 200;  // more than any table of registered files
  const TemporaryFolder folder;
  std::vector<std::vector<std::byte>> contents;
  for (std::size_t i = 0; i < file_count; ++i) {
    contents.push_back(write_random_file(folder / std::to_string(i), 4096, 100 + i));
  }
  for_each_way([&](const Way& way) {
    const auto engine = make_io_engine(way.engine, {.queue_depth = 256, .direct = way.direct});
    AlignedBuffer memory(file_count * 4096);
    std::vector<ReadRequest> requests;
    for (std::size_t i = 0; i < file_count; ++i) {
      const FileId file = engine->open(folder / std::to_string(i));
      CHECK(engine->path(file) == (folder / std::to_string(i)).string());
      requests.push_back(
          {.file = file, .offset = 0, .target = memory.bytes().subspan(i * 4096, 4096), .tag = i});
    }
    engine->submit(requests);
    CHECK(engine->in_flight() == file_count);
    std::vector<ReadCompletion> completions(file_count);
    REQUIRE(engine->reap(completions, file_count) == file_count);
    std::ranges::sort(completions, {}, &ReadCompletion::tag);
    for (std::size_t i = 0; i < file_count; ++i) {
      CHECK(completions[i].tag == i);
      CHECK(completions[i].error == 0);
      CHECK(std::memcmp(memory.data() + i * 4096, contents[i].data(), 4096) == 0);
    }
  });
}

TEST_CASE("an idle engine reaps nothing, and a small span reaps in parts") {
  const TemporaryFolder folder;
  write_random_file(folder / "data", 65536, 5);
  for_each_way([&](const Way& way) {
    const auto engine = make_io_engine(way.engine, {.queue_depth = 8, .direct = way.direct});
    const FileId file = engine->open(folder / "data");
    std::array<ReadCompletion, 3> completions;
    CHECK(engine->reap({}, 0) == 0);
    CHECK(engine->reap(completions, 0) == 0);
    CHECK(engine->reap(completions, 3) == 0);
    AlignedBuffer memory(65536);
    for (std::uint64_t i = 0; i < 8; ++i) {
      engine->submit(
          {.file = file, .offset = i * 4096, .target = memory.bytes().subspan(i * 4096, 4096), .tag = i});
    }
    CHECK(engine->reap({}, 0) == 0);
    CHECK(engine->in_flight() == 8);
    std::vector<std::uint64_t> tags;
    while (engine->in_flight() > 0) {
      const std::size_t count = engine->reap(completions, 2);
      CHECK(count >= std::min<std::size_t>(2, 8 - tags.size()));
      for (std::size_t i = 0; i < count; ++i) tags.push_back(completions[i].tag);
    }
    std::ranges::sort(tags);
    CHECK(tags == std::vector<std::uint64_t>{0, 1, 2, 3, 4, 5, 6, 7});
  });
}

TEST_CASE("a caller that breaks the contract is stopped") {
  const TemporaryFolder folder;
  write_random_file(folder / "data", 65536, 6);
  const auto run = [&](std::size_t count, std::uint64_t offset, std::size_t shift, std::size_t least) {
    return run_in_child([&] {
      const auto engine = make_io_engine("pread", {.queue_depth = 2, .direct = true});
      const FileId file = engine->open(folder / "data");
      AlignedBuffer memory(4 * 4096);
      std::vector<ReadRequest> requests;
      for (std::size_t i = 0; i < count; ++i) {
        requests.push_back(
            {.file = file, .offset = offset, .target = memory.bytes().subspan(shift + i * 4096, 4096)});
      }
      engine->submit(requests);
      std::array<ReadCompletion, 4> completions;
      while (engine->in_flight() > 0) engine->reap(std::span(completions).first(2), least);
      return 0;
    });
  };
  CHECK(run(2, 4096, 0, 2) == 0);
  CHECK(run(3, 4096, 0, 1) == 128 + SIGABRT);  // more than the queue holds
  CHECK(run(1, 4096, 0, 3) == 128 + SIGABRT);  // waits for more than it can take
  const auto engine = make_io_engine("pread", {.queue_depth = 2});
  if (!engine->is_direct(engine->open(folder / "data")))
    SKIP_TEST("no direct access in the temporary folder");
  CHECK(run(1, 100, 0, 1) == 128 + SIGABRT);  // offset and memory must be aligned
  CHECK(run(1, 4096, 8, 1) == 128 + SIGABRT);
}

TEST_CASE("an idle engine may go on in another thread") {
  const TemporaryFolder folder;
  const std::vector<std::byte> content = write_random_file(folder / "data", 1 << 20, 7);
  for_each_way([&](const Way& way) {
    const auto engine = make_io_engine(way.engine, {.queue_depth = 16, .direct = way.direct});
    const FileId file = engine->open(folder / "data");
    AlignedBuffer memory(1 << 20);
    const std::span<std::byte> registered = memory.bytes();
    engine->register_buffers(std::span(&registered, 1));
    for (int round = 0; round < 3; ++round) {
      std::ranges::fill(memory.bytes(), std::byte{0});
      std::thread([&] { read_blocking(*engine, file, 0, memory.bytes()); }).join();
      CHECK(std::ranges::equal(memory.bytes(), content));
    }
  });
}

TEST_CASE("an engine that goes away waits for its reads") {
  const TemporaryFolder folder;
  const std::vector<std::byte> content = write_random_file(folder / "data", 4 << 20, 8);
  for_each_way([&](const Way& way) {
    AlignedBuffer memory(4 << 20);
    {
      const auto engine = make_io_engine(way.engine, {.queue_depth = 64, .direct = way.direct});
      const FileId file = engine->open(folder / "data");
      for (std::size_t i = 0; i < 64; ++i) {
        engine->submit(
            {.file = file, .offset = i << 16, .target = memory.bytes().subspan(i << 16, 1 << 16), .tag = i});
      }
    }
    std::ranges::fill(memory.bytes(), std::byte{0x5A});
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK(std::ranges::all_of(memory.bytes(), [](std::byte b) { return b == std::byte{0x5A}; }));
  });
}

TEST_CASE("a file system without direct access is read through the cache") {
  if (::access("/dev/shm", W_OK) != 0) SKIP_TEST("no tmpfs at /dev/shm");
  const std::filesystem::path path = "/dev/shm/gneiss-test-" + std::to_string(::getpid());
  const std::vector<std::byte> content = write_random_file(path, 10000, 9);
  for_each_way([&](const Way& way) {
    const auto engine = make_io_engine(way.engine, {.queue_depth = 4, .direct = way.direct});
    const FileId file = engine->open(path);
    std::vector<std::byte> memory(9999);
    if (!engine->is_direct(file)) {  // newer kernels emulate direct access on tmpfs
      CHECK(engine->alignment(file) == 1);
      read_blocking(*engine, file, 1, memory);
      CHECK(std::memcmp(memory.data(), content.data() + 1, memory.size()) == 0);
    } else {
      CHECK(engine->alignment(file) <= direct_io_alignment);
    }
  });
  std::filesystem::remove(path);
}

TEST_CASE("without direct access any range will do") {
  const TemporaryFolder folder;
  const std::vector<std::byte> content = write_random_file(folder / "data", 100'003, 10);
  for (const char* name : {"auto", "pread", "mmap"}) {
    const auto engine = make_io_engine(name, {.queue_depth = 4, .direct = false});
    const FileId file = engine->open(folder / "data");
    CHECK(engine->alignment(file) == 1);
    CHECK_FALSE(engine->is_direct(file));
    std::vector<std::byte> memory(50'001);
    read_blocking(*engine, file, 33, memory);
    CHECK(std::memcmp(memory.data(), content.data() + 33, memory.size()) == 0);
  }
}

TEST_CASE("an engine that does not exist, or a depth that makes no sense, is refused with a sentence") {
  EXPECT_ERROR(make_io_engine("libaio", {}), Kind::config, "'libaio'");
  EXPECT_ERROR(make_io_engine("pread", {.queue_depth = 0}), Kind::config, "queue depth is 0");
  EXPECT_ERROR(make_io_engine("auto", {.queue_depth = 1 << 20}), Kind::config, "1048576");
}
