// What the pipeline makes of drives that fail and files that are damaged: the batches before it count.
#include <doctest/doctest.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <numeric>

#include "engine/pipeline/pipelined_source.h"
#include "storage/base/random.h"
#include "storage/io/cores.h"
#include "storage/io/file.h"
#include "tests/engine/prepared_dataset.h"
#include "tests/support/expect_error.h"
#include "tests/support/faulty_core.h"
#include "tests/support/forbid_call.h"
#include "tests/support/run_command.h"
#include "tests/support/skip.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

PreparationOptions small_batches() {
  PreparationOptions options;
  options.fanouts = {4, 3};
  options.batch_size = 10;
  options.cpu_cache_bytes = 500;
  return options;
}

// The pool's batches as they stand in it.
BatchSchedulePlan in_pool_order(const Preparation& preparation) {
  return [count = preparation.pool().entries().size()](std::uint64_t position) -> std::optional<std::size_t> {
    if (position >= count) return std::nullopt;
    return position;
  };
}

std::unique_ptr<IoEngine> failing_engine(const Faults& faults, std::uint64_t depth) {
  return std::make_unique<IoEngine>(
      std::make_unique<FaultyCore>(make_pread_core(static_cast<std::uint32_t>(depth)), faults),
      IoOptions{.queue_depth = static_cast<std::uint32_t>(depth)});
}

// Takes batches until one fails; how many came, and the failure's sentence (empty: none failed).
struct Consumed {
  std::size_t batches = 0;
  std::string sentence;
  Kind kind = Kind::config;
};
Consumed consume(PipelinedSource& source) {
  Consumed outcome;
  try {
    while (const SourcedBatch* batch = source.next()) {
      if (batch->position != outcome.batches) return {outcome.batches, "a batch is out of order"};
      ++outcome.batches;
    }
  } catch (const Error& error) {
    outcome.sentence = error.what();
    outcome.kind = error.kind();
  }
  return outcome;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void flip_byte(const std::filesystem::path& path, std::uint64_t offset) {
  const File file = File::open_existing(path);
  std::array<std::byte, 1> byte{};
  file.read_at(offset, byte);
  byte[0] ^= std::byte{0x10};
  file.write_at(offset, byte);
}

}  // namespace

TEST_CASE("reads that are short, late and interrupted change nothing") {
  const PreparedDataset data(small_batches());
  for (const std::uint64_t seed : {1U, 2U, 3U, 4U, 5U}) {
    CAPTURE(seed);
    const Faults faults{.seed = seed, .interrupted = 0.1, .again = 0.1, .short_reads = 0.3, .late = 0.5};
    PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(), {.read_bytes = 4096},
                           in_pool_order(data.preparation()), failing_engine(faults, 8));
    const Consumed outcome = consume(source);
    CHECK_MESSAGE(outcome.sentence.empty(), outcome.sentence);
    CHECK(outcome.batches == data.preparation().pool().entries().size());
  }
}

TEST_CASE("a failed read names file and batch, and every batch before it was handed out") {
  const PreparedDataset data(small_batches());
  const auto entries = data.preparation().pool().entries();
  std::size_t failures = 0;
  std::size_t of_pool = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    const PipelineOptions options{.slot_count = static_cast<std::uint32_t>(1 + seed % 5), .read_bytes = 4096};
    PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(), options,
                           in_pool_order(data.preparation()),
                           failing_engine({.seed = seed, .errors = 0.1, .late = 0.3}, 1 + seed % 9));
    const Consumed outcome = consume(source);
    if (outcome.sentence.empty()) {
      CHECK(outcome.batches == entries.size());
      continue;
    }
    ++failures;
    of_pool += contains(outcome.sentence, pool_file_name) ? 1 : 0;
    CHECK(outcome.kind == Kind::io);
    CHECK_MESSAGE(contains(outcome.sentence, to_string(entries[outcome.batches].key)), outcome.sentence);
    CHECK_MESSAGE((contains(outcome.sentence, pool_file_name) || contains(outcome.sentence, pack_file_name)),
                  outcome.sentence);
  }
  CHECK(failures > 10);
  CHECK(of_pool > 0);
  CHECK(of_pool < failures);
}

// Its own process, for a filter is for good; 77: there are none.
TEST_CASE("child: reads are refused" * doctest::skip()) {
  const int error = std::atoi(std::getenv("GNEISS_TEST_FOLDER"));
  const PreparedDataset data(small_batches());
  if (!forbid_call(__NR_io_uring_enter, error, Forbid::with_second_argument)) std::_Exit(77);
  PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(), {},
                         in_pool_order(data.preparation()), make_io_engine("io_uring", {}));
  const Consumed outcome = consume(source);
  CHECK(outcome.batches == 0);
  CHECK(outcome.kind == Kind::io);
  for (const std::string& part : {to_string(data.preparation().pool().entries()[0].key),
                                  std::string(std::strerror(error)), std::string("at offset")})
    CHECK_MESSAGE(contains(outcome.sentence, part), outcome.sentence);
}

TEST_CASE(
    "a system that takes no reads any more ends the run with file, batch and reason, all threads joined") {
  try {
    make_io_engine("io_uring", {});
  } catch (const Error&) {
    SKIP_TEST("io_uring is refused on this machine");
  }
  for (const int error : {ENOMEM, EAGAIN}) {
    CAPTURE(error);
    const CommandResult result = run_command(child_command("reads are refused", std::to_string(error)));
    if (result.exit_code == 77) SKIP_TEST("this system allows no seccomp filters");
    CHECK_MESSAGE(result.exit_code == 0, result.output);
  }
}

TEST_CASE(
    "pinned memory is let go of before the slots are freed, when all is read and when no more is asked for") {
  struct Pins {
    bool is_held = false;
    bool was_held = false;
    bool outlived_reading = false;
  };
  class PinningCore final : public IoCore {
   public:
    PinningCore(std::unique_ptr<IoCore> inner, Pins& pins) : inner_(std::move(inner)), pins_(pins) {}
    ~PinningCore() override { pins_.outlived_reading = pins_.is_held; }
    std::string_view name() const noexcept override { return inner_->name(); }
    void attach(FileId id, const File& file) override { inner_->attach(id, file); }
    void register_buffers(std::span<const std::span<std::byte>>) override {
      pins_.is_held = pins_.was_held = true;
    }
    void unregister_buffers() override { pins_.is_held = false; }
    void start(std::span<const Transfer> transfers) override { inner_->start(transfers); }
    std::size_t collect(std::span<Outcome> outcomes, Patience patience) override {
      return inner_->collect(outcomes, patience);
    }

   private:
    std::unique_ptr<IoCore> inner_;
    Pins& pins_;
  };
  const PreparedDataset data(small_batches());
  for (const std::size_t batches : {std::size_t{1000}, std::size_t{1}}) {
    Pins pins;
    {
      PipelinedSource source(
          data.preparation(), data.dataset().info(), data.cpu_tier(), {}, in_pool_order(data.preparation()),
          std::make_unique<IoEngine>(std::make_unique<PinningCore>(make_pread_core(4), pins),
                                     IoOptions{.queue_depth = 4}));
      for (std::size_t i = 0; i < batches && source.next() != nullptr; ++i) continue;
    }
    CHECK(pins.was_held);
    CHECK_FALSE(pins.outlived_reading);
  }
}

TEST_CASE("a damaged segment is corruption that names the batch; those before it come whole") {
  const PreparedDataset data(small_batches());
  const auto segments = data.preparation().pack().entries();
  const std::size_t damaged = 3;
  REQUIRE(segments[damaged].bytes > 0);
  flip_byte(data.file(pack_file_name), segments[damaged].offset + 17);
  // By the assembler, and by all threads of a pool that takes every core.
  ThreadPool pool(available_cores());
  std::vector<std::string> sentences;
  for (ThreadPool* sharing : {static_cast<ThreadPool*>(nullptr), &pool}) {
    for (const char* engine : {"io_uring", "pread", "mmap"}) {
      PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(),
                             {.io_engine = engine, .pool = sharing}, in_pool_order(data.preparation()));
      const Consumed outcome = consume(source);
      CHECK(outcome.batches == damaged);
      CHECK(outcome.kind == Kind::corruption);
      CHECK_MESSAGE(contains(outcome.sentence, to_string(segments[damaged].key)), outcome.sentence);
      CHECK_MESSAGE(contains(outcome.sentence, pack_file_name), outcome.sentence);
      sentences.push_back(outcome.sentence);
    }
  }
  CHECK(std::ranges::count(sentences, sentences.front()) == std::ssize(sentences));
  // Without the checksums the same bytes pass: it was they that found it.
  PipelinedSource unchecked(data.preparation(), data.dataset().info(), data.cpu_tier(),
                            {.assembly = {.verify_segments = false}, .pool = &pool},
                            in_pool_order(data.preparation()));
  CHECK(consume(unchecked).batches == segments.size());
}

TEST_CASE("a damaged frame is corruption that names the batch, wherever the damage is") {
  const PreparedDataset data(small_batches());
  const auto entries = data.preparation().pool().entries();
  RandomStream random(77);
  for (std::size_t index = 0; index < entries.size(); ++index) {
    const std::uint64_t offset = entries[index].frame_offset + random.below(entries[index].frame_bytes);
    CAPTURE(index);
    CAPTURE(offset);
    flip_byte(data.file(pool_file_name), offset);
    PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(), {},
                           in_pool_order(data.preparation()));
    const Consumed outcome = consume(source);
    CHECK(outcome.batches == index);
    CHECK(outcome.kind == Kind::corruption);
    CHECK_MESSAGE(contains(outcome.sentence, to_string(entries[index].key)), outcome.sentence);
    flip_byte(data.file(pool_file_name), offset);
  }
}

TEST_CASE("a file cut short after it was opened is corruption that names file and batch, never a crash") {
  for (const char* engine : {"io_uring", "pread", "mmap"}) {
    for (const char* name : {pack_file_name, pool_file_name}) {
      CAPTURE(engine);
      CAPTURE(name);
      const PreparedDataset data(small_batches());
      const auto entries = data.preparation().pool().entries();
      const std::size_t last_whole = 2;
      const std::uint64_t end = name == pack_file_name
                                    ? data.preparation().pack().entries()[last_whole + 1].offset
                                    : entries[last_whole + 1].frame_offset;
      std::filesystem::resize_file(data.file(name), end);
      PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(),
                             {.io_engine = engine}, in_pool_order(data.preparation()));
      const Consumed outcome = consume(source);
      CHECK(outcome.batches == last_whole + 1);
      CHECK(outcome.kind == Kind::corruption);
      CHECK_MESSAGE(contains(outcome.sentence, name), outcome.sentence);
      CHECK_MESSAGE(contains(outcome.sentence, to_string(entries[last_whole + 1].key)), outcome.sentence);
    }
  }
}

TEST_CASE("a schedule that throws is reported at its place, once the batches before it came") {
  const PreparedDataset data(small_batches());
  PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(), {},
                         [](std::uint64_t position) -> std::optional<std::size_t> {
                           if (position == 3) fail(Kind::input, "the schedule broke");
                           return position;
                         });
  const Consumed outcome = consume(source);
  CHECK(outcome.kind == Kind::input);
  CHECK(outcome.sentence == "the schedule broke");
  CHECK(outcome.batches == 3);
}

TEST_CASE("after a failed batch the source stays failed") {
  const PreparedDataset data(small_batches());
  flip_byte(data.file(pack_file_name), data.preparation().pack().entries()[1].offset);
  PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(), {},
                         in_pool_order(data.preparation()));
  REQUIRE(source.next() != nullptr);
  for (int again = 0; again < 3; ++again)
    EXPECT_ERROR(source.next(), Kind::corruption, to_string(data.preparation().pack().entries()[1].key));
}
