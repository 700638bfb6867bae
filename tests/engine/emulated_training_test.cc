// What only an emulated device can be asked: how often it was waited for, and what happens when it fails.
#include <doctest/doctest.h>

#include "storage/base/units.h"
#include "tests/emulated_cuda/emulated_cuda.h"
#include "tests/engine/device_run.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using namespace gneiss::test;

TEST_CASE("a device with too little memory is refused with what would do, and that does, taken at once") {
  const LearnableGraph graph;
  const TrainOptions options = short_run();
  const std::uint64_t enough = DeviceRun(graph, options, "tiny", {}).plan().total_bytes();
  EXPECT_ERROR(DeviceRun(graph, options, "tiny", {.budget = enough - 1}), Kind::config,
               format_bytes_up(enough).c_str());
  DeviceRun run(graph, options, "tiny", {.budget = enough});
  const std::uint64_t before = emulated_cuda::counters().allocations;
  run.train();
  run.train();  // its memory is free again for the next run
  CHECK(emulated_cuda::counters().allocations == before);
}

TEST_CASE("what is sized by the largest batch is enough for every smaller one") {
  emulated_cuda::reset();
  const auto backend = make_cuda_backend(0, Precision::f32);
  for (const std::size_t in_columns : {1U, 7U, 300U}) {
    std::size_t before = 0;
    for (std::size_t rows = 0; rows < 140'000; rows += rows < 70'000 ? 1 : 13) {
      const std::size_t scratch = backend->weight_gradient_scratch(rows, 5, in_columns);
      if (scratch < before) FAIL("fewer elements for " << rows << " rows");
      before = scratch;
    }
  }
}

TEST_CASE("the computing thread waits for one event a step, the uploading one for two") {
  const LearnableGraph graph;
  TrainOptions options = short_run();
  options.schedule.eval_every = 0;
  std::size_t steps = 0;
  const auto waits = [&](std::uint32_t epochs) {
    options.schedule.epochs = epochs;
    DeviceRun run(graph, options, "all", {});
    const std::uint64_t before = emulated_cuda::counters().synchronizations;
    steps = run.train().step_losses.size();
    return emulated_cuda::counters().synchronizations - before;
  };
  const std::uint64_t short_waits = waits(2);
  const std::size_t short_steps = steps;
  const std::uint64_t long_waits = waits(6);
  CHECK(long_waits - short_waits <= 3 * (steps - short_steps));
}

TEST_CASE("a device that fails at any call ends the run with its words, all threads joined") {
  const LearnableGraph graph;
  TrainOptions options = short_run();
  options.schedule.epochs = 1;
  for (const char* call : {"cudaMemcpyAsync", "cudaLaunchKernelEx", "cudaEventSynchronize", "cudaEventRecord",
                           "cudaStreamSynchronize", "cudaMemcpy2DAsync", "cublasGemmEx"}) {
    for (const std::uint64_t nth : {1U, 2U, 5U, 17U}) {
      CAPTURE(call);
      CAPTURE(nth);
      DeviceRun run(graph, options, "tiny", {});
      emulated_cuda::fail_call(call, nth, cudaErrorLaunchFailure);
      try {
        run.train();
        CHECK(emulated_cuda::pending_faults() > 0);
      } catch (const Error& error) {
        CHECK(error.kind() == Kind::io);
        CHECK(emulated_cuda::pending_faults() == 0);
      }
    }
  }
}

TEST_CASE("where memory cannot be pinned, batches come all the same") {
  const LearnableGraph graph;
  const RunResult expected = train_on_device(graph, short_run(), "tiny");
  DeviceRun run(graph, short_run(), "tiny", {});
  for (std::uint64_t nth = 1; nth <= 12; ++nth) {
    emulated_cuda::fail_call("cudaHostRegister", nth, cudaErrorNotSupported);
  }
  CHECK(same_run(run.train(), expected));
}
