// What a read engine makes of a system that interrupts, refuses and fails.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "storage/base/aligned_buffer.h"
#include "storage/base/stopwatch.h"
#include "storage/io/cores.h"
#include "storage/io/io_engine.h"
#include "tests/storage/io_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/faulty_core.h"
#include "tests/support/forbid_call.h"
#include "tests/support/in_child.h"
#include "tests/support/skip.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

std::unique_ptr<IoEngine> make_faulty_engine(std::string_view name, IoOptions options, Faults faults) {
  std::unique_ptr<IoCore> core = name == "io_uring" ? make_uring_core(options.queue_depth)
                                 : name == "pread"  ? make_pread_core(options.queue_depth)
                                                    : make_mmap_core(options.queue_depth);
  return std::make_unique<IoEngine>(std::make_unique<FaultyCore>(std::move(core), faults), options);
}

}  // namespace

TEST_CASE("interruptions, short reads and disorder change nothing but the count of retries") {
  const TemporaryFolder folder;
  const std::vector<std::byte> content = write_random_file(folder / "data", (1 << 20) + 5, 1);
  for (const std::string_view name : {"io_uring", "pread", "mmap"}) {
    if (name == "io_uring" && !has_io_uring()) {
      say_skipped("io_uring is refused on this machine");
      continue;
    }
    for (const bool direct : {true, false}) {
      for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        CAPTURE(name);
        CAPTURE(direct);
        CAPTURE(seed);
        const auto engine = make_faulty_engine(
            name, {.queue_depth = 16, .direct = direct},
            {.seed = seed, .interrupted = 0.1, .again = 0.1, .short_reads = 0.3, .late = 0.5});
        const FileId file = engine->open(folder / "data");
        CHECK(read_random_ranges(*engine, file, content, {.count = 200, .seed = seed}) == 0);
        CHECK(engine->counters().reads == 200);
        CHECK(engine->counters().retries > 40);
      }
    }
  }
}

TEST_CASE("a read that fails is a completion with its error; the others are not touched") {
  const TemporaryFolder folder;
  const std::vector<std::byte> content = write_random_file(folder / "data", 1 << 20, 2);
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    const auto engine =
        make_faulty_engine("pread", {.queue_depth = 16}, {.seed = seed, .errors = 0.1, .late = 0.3});
    const FileId file = engine->open(folder / "data");
    const std::size_t failed = read_random_ranges(*engine, file, content, {.count = 300, .seed = seed});
    CHECK(failed > 0);
    CHECK(failed < 100);
    CHECK(engine->counters().failures == failed);
    CHECK(engine->counters().retries == 0);
  }
}

TEST_CASE("a ring's wait ends with the caller's patience, and the read is still on its way") {
  if (!has_io_uring()) SKIP_TEST("io_uring is refused on this machine");
  const TemporaryFolder folder;
  // What a pipe has not been given, no drive could answer more slowly.
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  const File pipe = File::open_existing(folder / "pipe");
  const auto core = make_uring_core(2);
  core->attach(FileId{0}, pipe);
  std::array<std::byte, 4> target{};
  const Transfer transfer{.slot = 1, .file = FileId{0}, .offset = 0, .target = target};
  core->start(std::span(&transfer, 1));
  std::array<Outcome, 2> outcomes;
  CHECK(core->collect(outcomes, no_wait) == 0);
  const Stopwatch watch;
  CHECK(core->collect(outcomes, Patience{60}) == 0);
  CHECK(watch.seconds() > 0.05);
  CHECK(watch.seconds() < 5);
  REQUIRE(::write(pipe.descriptor(), "rock", 4) == 4);
  REQUIRE(core->collect(outcomes, without_end) == 1);
  CHECK(outcomes[0].slot == 1);
  CHECK(outcomes[0].result == 4);
  CHECK(std::memcmp(target.data(), "rock", 4) == 0);
}

TEST_CASE("retries end") {
  const TemporaryFolder folder;
  write_random_file(folder / "data", 1 << 20, 3);
  AlignedBuffer memory(1 << 20);
  for (const Faults& faults : {Faults{.interrupted = 1}, Faults{.again = 1}}) {
    const auto engine = make_faulty_engine("pread", {.queue_depth = 1, .retries_max = 5}, faults);
    const FileId file = engine->open(folder / "data");
    EXPECT_ERROR(read_blocking(*engine, file, 4096, memory.bytes().first(4096)), Kind::io, "offset 4096");
    CHECK(engine->counters().retries == 5);
    CHECK(engine->counters().failures == 1);
  }
}

TEST_CASE("a failing drive is reported with file and offset, and leaves nothing in flight") {
  const TemporaryFolder folder;
  write_random_file(folder / "data", 8 << 20, 4);
  AlignedBuffer memory(8 << 20);
  const auto engine =
      make_faulty_engine("pread", {.queue_depth = 3}, {.seed = 9, .errors = 0.5, .late = 0.5});
  const FileId file = engine->open(folder / "data");
  EXPECT_ERROR(read_blocking(*engine, file, 0, memory.bytes()), Kind::io, (folder / "data").string());
  CHECK(engine->in_flight() == 0);
}

TEST_CASE("where io_uring is forbidden, auto reads with pread and a wish by name is refused") {
  const TemporaryFolder folder;
  const std::vector<std::byte> content = write_random_file(folder / "data", 65536, 5);
  for (const int error : {EPERM, ENOSYS, ENOMEM}) {
    CAPTURE(error);
    const int code = run_in_child([&] {
      if (!forbid_call(__NR_io_uring_setup, error)) return 77;
      const auto engine = make_io_engine("auto", {.queue_depth = 4});
      if (engine->name() != "pread") return 1;
      AlignedBuffer memory(65536);
      read_blocking(*engine, engine->open(folder / "data"), 0, memory.bytes());
      if (!std::ranges::equal(memory.bytes(), content)) return 2;
      try {
        make_io_engine("io_uring", {});
      } catch (const Error& refusal) {
        return refusal.kind() == Kind::io && std::string(refusal.what()).find("refused") != std::string::npos
                   ? 0
                   : 3;
      }
      return 4;
    });
    if (code == 77) SKIP_TEST("this system allows no seccomp filters");
    CHECK(code == 0);
  }
}

TEST_CASE("GNEISS_IO_URING=off refuses io_uring as a container would") {
  CHECK(run_in_child([] {
          ::setenv("GNEISS_IO_URING", "off", 1);
          return make_io_engine("auto", {})->name() == "pread" ? 0 : 1;
        }) == 0);
}

TEST_CASE("buffers that the limit on locked memory forbids stay unregistered, and reads go on") {
  if (!has_io_uring()) SKIP_TEST("io_uring is refused on this machine");
  const TemporaryFolder folder;
  const std::vector<std::byte> content = write_random_file(folder / "data", 1 << 20, 6);
  CHECK(run_in_child([&] {
          const auto engine = make_io_engine("io_uring", {.queue_depth = 4});
          const FileId file = engine->open(folder / "data");
          constexpr rlimit none{.rlim_cur = 0, .rlim_max = 0};
          // Root is exempt from the limit.
          if (::setrlimit(RLIMIT_MEMLOCK, &none) != 0) return 1;
          if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) return 2;
          AlignedBuffer memory(1 << 20);
          const std::span<std::byte> registered = memory.bytes();
          engine->register_buffers(std::span(&registered, 1));
          read_blocking(*engine, file, 0, memory.bytes());
          return std::ranges::equal(memory.bytes(), content) ? 0 : 3;
        }) == 0);
}

// Of a system that gives no memory for a while, or a filter that comes late.
TEST_CASE("a ring that takes no reads any more fails each of them, and what is on its way ends") {
  if (!has_io_uring()) SKIP_TEST("io_uring is refused on this machine");
  const TemporaryFolder folder;
  const std::vector<std::byte> content = write_random_file(folder / "data", 1 << 20, 7);
  for (const int error : {ENOMEM, EPERM, EAGAIN, EBUSY}) {
    CAPTURE(error);
    const int code = run_in_child([&] {
      const auto engine = make_io_engine("io_uring", {.queue_depth = 8});
      const FileId file = engine->open(folder / "data");
      AlignedBuffer memory(1 << 20);
      engine->submit({.file = file, .offset = 0, .target = memory.bytes().first(4096), .tag = 1});
      if (!forbid_call(__NR_io_uring_enter, error, Forbid::with_second_argument)) return 77;
      for (std::uint64_t tag = 2; tag < 5; ++tag) {
        engine->submit({.file = file,
                        .offset = tag * 4096,
                        .target = memory.bytes().subspan(tag * 4096, 4096),
                        .tag = tag});
      }
      std::array<ReadCompletion, 8> completions;
      std::size_t seen = 0;
      while (engine->in_flight() > 0) {
        const std::size_t count = engine->reap(completions, 1);
        for (const ReadCompletion& completion : std::span(completions).first(count)) {
          if (completion.error != (completion.tag == 1 ? 0 : error)) return 1;
          ++seen;
        }
      }
      if (seen != 4) return 2;
      return std::ranges::equal(memory.bytes().first(4096), std::span(content).first(4096)) ? 0 : 3;
    });
    if (code == 77) SKIP_TEST("this system allows no seccomp filters");
    CHECK(code == 0);
  }
}

TEST_CASE("a thread that gets no ring of its own has its reads fail, and the engine ends well") {
  if (!has_io_uring()) SKIP_TEST("io_uring is refused on this machine");
  const TemporaryFolder folder;
  write_random_file(folder / "data", 1 << 20, 8);
  const int code = run_in_child([&] {
    const auto engine = make_io_engine("io_uring", {.queue_depth = 4});
    AlignedBuffer memory(1 << 20);
    const std::span<std::byte> registered = memory.bytes();
    engine->register_buffers(std::span(&registered, 1));
    const FileId file = engine->open(folder / "data");
    read_blocking(*engine, file, 0, memory.bytes());
    int result = 1;
    std::thread([&] {
      if (!forbid_call(__NR_io_uring_setup, ENOMEM)) {
        result = 77;
        return;
      }
      try {
        read_blocking(*engine, file, 0, memory.bytes());
      } catch (const Error& error) {
        result = error.kind() == Kind::io ? 0 : 2;
      }
      engine->unregister_buffers();
    }).join();
    return result;
  });
  if (code == 77) SKIP_TEST("this system allows no seccomp filters");
  CHECK(code == 0);
}

TEST_CASE("a ring that cannot be asked any more ends the program with the system's exit code") {
  if (!has_io_uring()) SKIP_TEST("io_uring is refused on this machine");
  const TemporaryFolder folder;
  write_random_file(folder / "data", 1 << 20, 7);
  const int code = run_in_child([&] {
    const auto engine = make_io_engine("io_uring", {.queue_depth = 8});
    const FileId file = engine->open(folder / "data");
    AlignedBuffer memory(1 << 20);
    if (!forbid_call(__NR_io_uring_enter, ENOMEM)) return 77;
    engine->submit({.file = file, .offset = 0, .target = memory.bytes(), .tag = 1});  // is refused at once
    ReadCompletion completion;
    return engine->reap(std::span(&completion, 1), 1) == 1 && completion.error == ENOMEM ? 0 : 1;
  });
  if (code == 77) SKIP_TEST("this system allows no seccomp filters");
  CHECK(code == 0);
  // With a read on its way its memory may not be given back, and there is no way to wait for it.
  CHECK(run_in_child([&] {
          REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
          const File pipe = File::open_existing(folder / "pipe");
          const auto core = make_uring_core(2);
          core->attach(FileId{0}, pipe);
          std::array<std::byte, 4> target{};
          const Transfer transfer{.slot = 1, .file = FileId{0}, .offset = 0, .target = target};
          core->start(std::span(&transfer, 1));
          forbid_call(__NR_io_uring_enter, ENOMEM);
          return 0;
        }) == exit_code(Kind::io));
}
