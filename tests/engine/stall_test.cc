// A drive that answers nothing for a while: training goes on after it, tells of it once, and can be
// interrupted.
#include <doctest/doctest.h>

#include <csignal>
#include <thread>

#include "storage/base/cancel.h"
#include "storage/base/stopwatch.h"
#include "storage/io/cores.h"
#include "tests/engine/learnable_graph.h"
#include "tests/sampler/prepare_fixture.h"
#include "tests/support/captured_log.h"
#include "tests/support/expect_error.h"
#include "tests/support/faulty_core.h"
#include "tests/support/run_command.h"

using namespace gneiss;
using namespace gneiss::test;
using std::chrono::milliseconds;

namespace {

constexpr const char* notice = "the drive has answered nothing for";

std::unique_ptr<IoEngine> stalling_engine(const std::string& name, const Faults& faults,
                                          double notice_seconds) {
  auto core = name == "io_uring" ? make_uring_core(8)
              : name == "pread"  ? make_pread_core(8)
                                 : make_mmap_core(8);
  return std::make_unique<IoEngine>(std::make_unique<FaultyCore>(std::move(core), faults),
                                    IoOptions{.queue_depth = 8, .stall_notice_seconds = notice_seconds});
}

}  // namespace

TEST_CASE("after a drive has stalled the run goes on to the same numbers, and has told of it once") {
  const LearnableGraph graph;
  const RunResult expected = graph.train(short_run());
  for (const std::string name : {"io_uring", "pread", "mmap"}) {
    for (const bool is_long : {false, true}) {
      if (is_long && name != "pread") continue;  // seconds of a test's time, once
      CAPTURE(name);
      CAPTURE(is_long);
      const CapturedLog log;
      TrainOptions options = short_run();
      // The pipeline that trains stalls; that of the test split does not.
      bool is_first = true;
      options.pipeline.make_engine = [&] {
        Faults faults{.seed = 7, .late = 0.2};
        if (std::exchange(is_first, false)) {
          faults.stalls = is_long ? 0.05 : 0.1;
          faults.stall_time = milliseconds(is_long ? 2200 : 150);
          faults.stalls_max = is_long ? 1 : 4;
        }
        return stalling_engine(name, faults, is_long ? 1 : 0.05);
      };
      const Stopwatch watch;
      CHECK(same_run(graph.train(options), expected));
      CHECK(watch.seconds() >= (is_long ? 2.2 : 0.15));
      CHECK_MESSAGE(log.count(notice) == 1, log.text());
      CHECK_MESSAGE(log.count("bytes at offset ") == 1, log.text());
      CHECK_MESSAGE(log.count("samples.zst") + log.count("pack.bin") >= 1, log.text());
    }
  }
}

TEST_CASE("a drive that is only slow is not told of") {
  const LearnableGraph graph;
  const CapturedLog log;
  TrainOptions options = short_run();
  options.pipeline.make_engine = [] {
    return stalling_engine(
        "pread", {.seed = 3, .late = 0.5, .stalls = 0.2, .stall_time = milliseconds(20), .stalls_max = 20},
        5);
  };
  graph.train(options);
  CHECK_MESSAGE(log.count(notice) == 0, log.text());
}

TEST_CASE("the first read that is tried again is told, the others are counted") {
  const LearnableGraph graph;
  const CapturedLog log;
  TrainOptions options = short_run();
  options.schedule.eval_every = 0;
  options.pipeline.make_engine = [] {
    return stalling_engine("pread", {.seed = 3, .interrupted = 0.1, .short_reads = 0.1}, 5);
  };
  graph.train(options);
  CHECK_MESSAGE(log.count("it is tried again") >= 1, log.text());
  CHECK_MESSAGE(log.count("it is tried again") <= 2, log.text());  // of training and of the test split
}

// Its own process: an interrupt is for good.
TEST_CASE("child: interrupted while the drive stalls" * doctest::skip()) {
  install_signal_handlers();
  const LearnableGraph graph;
  TrainOptions options = short_run();
  options.pipeline.make_engine = [] {
    return stalling_engine("pread",
                           {.seed = 1, .stalls = 1, .stall_time = milliseconds(1200), .stalls_max = 1}, 5);
  };
  std::jthread interrupter([] {
    std::this_thread::sleep_for(milliseconds(300));
    ::kill(::getpid(), SIGINT);
  });
  const Stopwatch watch;
  EXPECT_ERROR(graph.train(options), Kind::cancelled, "interrupted");
  // The reads on their way are waited for, and nothing else.
  CHECK(watch.seconds() > 0.25);
  CHECK(watch.seconds() < 2.5);
}

TEST_CASE("an interrupt during a stall ends the run when the drive answers again") {
  const CommandResult result = run_command(child_command("interrupted while the drive stalls", "/"));
  CHECK_MESSAGE(result.exit_code == 0, result.output);
  CHECK_MESSAGE(result.output.find("1 passed") != std::string::npos, result.output);
}
