// What runs when: the promises of streams and events, and nothing beyond them.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "tests/emulated_cuda/device_buffer.h"
#include "tests/emulated_cuda/emulated_cuda.h"
#include "tests/emulated_cuda/sample_kernels.h"

namespace gneiss::emulated_cuda {
namespace {

constexpr std::uint64_t seeds = 40;

float peek_first(const float* device) {
  float value = 0;
  peek(&value, device, sizeof(value));
  return value;
}

// A producer fills on one stream, a consumer adds on another. How often the sum is wrong.
std::uint64_t wrong_sums(bool waits_for_event) {
  std::uint64_t wrong = 0;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    reset();
    set_seed(seed);
    Stream producer, consumer;
    Event filled;
    DeviceBuffer<float> source(100), target(100);
    CUDA_OK(launch_fill(source.get(), 100, 3, 32, producer.handle));
    CUDA_OK(cudaEventRecord(filled.handle, producer.handle));
    if (waits_for_event) CUDA_OK(cudaStreamWaitEvent(consumer.handle, filled.handle));
    CUDA_OK(launch_add(target.get(), source.get(), source.get(), 100, consumer.handle));
    CUDA_OK(cudaStreamSynchronize(consumer.handle));
    if (peek_first(target.get()) != 6) ++wrong;
  }
  return wrong;
}

// A pinned buffer is uploaded twice. How often the first upload shows what the host wrote for the second.
std::uint64_t wrong_uploads(bool waits_before_reuse) {
  std::uint64_t wrong = 0;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    reset();
    set_seed(seed);
    Stream stream;
    Event uploaded;
    PinnedBuffer<float> staging(1);
    DeviceBuffer<float> first(1), second(1);
    staging[0] = 1;
    CUDA_OK(cudaMemcpyAsync(first.get(), staging.get(), 4, cudaMemcpyHostToDevice, stream.handle));
    CUDA_OK(cudaEventRecord(uploaded.handle, stream.handle));
    if (waits_before_reuse) CUDA_OK(cudaEventSynchronize(uploaded.handle));
    staging[0] = 2;
    CUDA_OK(cudaMemcpyAsync(second.get(), staging.get(), 4, cudaMemcpyHostToDevice, stream.handle));
    CUDA_OK(cudaStreamSynchronize(stream.handle));
    if (peek_first(first.get()) != 1 || peek_first(second.get()) != 2) ++wrong;
  }
  return wrong;
}

TEST_CASE("nothing runs before someone waits, and everything at once under the eager schedule") {
  for (const Schedule schedule : {Schedule::late, Schedule::eager}) {
    reset();
    set_schedule(schedule);
    Stream stream;
    DeviceBuffer<float> buffer(10);
    CUDA_OK(launch_fill(buffer.get(), 10, 5, 32, stream.handle));
    CHECK(pending_operations() == (schedule == Schedule::late ? 1 : 0));
    CHECK((peek_first(buffer.get()) == 5) == (schedule == Schedule::eager));
    CUDA_OK(cudaStreamSynchronize(stream.handle));
    CHECK(peek_first(buffer.get()) == 5);
    CHECK(pending_operations() == 0);
  }
}

TEST_CASE("a stream keeps its order") {
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    reset();
    set_seed(seed);
    Stream stream, other;
    DeviceBuffer<float> buffer(10), noise(10);
    for (int i = 1; i <= 20; ++i) {
      CUDA_OK(launch_fill(buffer.get(), 10, static_cast<float>(i), 32, stream.handle));
      CUDA_OK(launch_fill(noise.get(), 10, 0, 32, other.handle));
    }
    CUDA_OK(cudaStreamSynchronize(stream.handle));
    CHECK(peek_first(buffer.get()) == 20);
  }
}

TEST_CASE("an event orders streams, and a missing wait for it shows under some seed") {
  CHECK(wrong_sums(true) == 0);
  CHECK(wrong_sums(false) > seeds / 8);
}

TEST_CASE("a pinned buffer that is used again too early shows") {
  CHECK(wrong_uploads(true) == 0);
  CHECK(wrong_uploads(false) > seeds / 2);
}

TEST_CASE("pageable memory may be used again at once, and what is read into it is there") {
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    reset();
    set_seed(seed);
    Stream stream;
    DeviceBuffer<float> device(1);
    float host = 1;
    CUDA_OK(cudaMemcpyAsync(device.get(), &host, 4, cudaMemcpyHostToDevice, stream.handle));
    host = 2;
    CUDA_OK(cudaMemcpyAsync(&host, device.get(), 4, cudaMemcpyDeviceToHost, stream.handle));
    CHECK(host == 1);
    CHECK(counters().pageable_bytes == 8);
  }
}

TEST_CASE("a result in pinned memory that is read too early is the old one") {
  reset();
  set_schedule(Schedule::late);
  Stream stream;
  DeviceBuffer<float> device(1);
  PinnedBuffer<float> result(1);
  result[0] = -1;
  CUDA_OK(launch_fill(device.get(), 1, 4, 32, stream.handle));
  CUDA_OK(cudaMemcpyAsync(result.get(), device.get(), 4, cudaMemcpyDeviceToHost, stream.handle));
  CHECK(result[0] == -1);
  CUDA_OK(cudaStreamSynchronize(stream.handle));
  CHECK(result[0] == 4);
}

TEST_CASE("a stream waits for the record before the call, not for one to come") {
  reset();
  set_schedule(Schedule::late);
  Stream producer, consumer;
  Event event;
  DeviceBuffer<float> buffer(1);
  CUDA_OK(cudaStreamWaitEvent(consumer.handle, event.handle));
  CUDA_OK(launch_fill(buffer.get(), 1, 1, 32, producer.handle));
  CUDA_OK(cudaEventRecord(event.handle, producer.handle));
  CUDA_OK(cudaStreamSynchronize(consumer.handle));
  CHECK(pending_operations() == 2);
}

TEST_CASE("the null stream waits for blocking streams, and they for it") {
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    reset();
    set_seed(seed);
    cudaStream_t blocking = nullptr;
    CUDA_OK(cudaStreamCreateWithFlags(&blocking, cudaStreamDefault));
    DeviceBuffer<float> a(1), b(1);
    CUDA_OK(launch_fill(a.get(), 1, 1, 32, blocking));
    CUDA_OK(launch_add(b.get(), a.get(), a.get(), 1, nullptr));
    CUDA_OK(launch_add(a.get(), b.get(), b.get(), 1, blocking));
    CUDA_OK(cudaStreamSynchronize(blocking));
    CHECK(peek_first(a.get()) == 4);
    CUDA_OK(cudaStreamDestroy(blocking));
  }
}

TEST_CASE("a loop of queries ends, whatever the schedule") {
  for (const Schedule schedule : {Schedule::adversarial, Schedule::late, Schedule::eager}) {
    reset();
    set_schedule(schedule);
    Stream stream;
    Event done;
    DeviceBuffer<float> buffer(1);
    CUDA_OK(launch_fill(buffer.get(), 1, 1, 32, stream.handle));
    CUDA_OK(cudaEventRecord(done.handle, stream.handle));
    while (cudaEventQuery(done.handle) == cudaErrorNotReady) {
    }
    CHECK(cudaStreamQuery(stream.handle) == cudaSuccess);
    CHECK(peek_first(buffer.get()) == 1);
  }
}

TEST_CASE("host functions run in their stream's order, may wait for other threads and may not call CUDA") {
  reset();
  Stream stream;
  DeviceBuffer<float> buffer(1);
  struct Seen {
    std::atomic<bool> go{false};
    cudaError_t error = cudaSuccess;
  } seen;
  CUDA_OK(cudaLaunchHostFunc(
      stream.handle,
      [](void* data) {
        auto& state = *static_cast<Seen*>(data);
        while (!state.go) std::this_thread::yield();
        state.error = cudaDeviceSynchronize();
      },
      &seen));
  CUDA_OK(launch_fill(buffer.get(), 1, 9, 32, stream.handle));
  std::thread other([&] {
    int count = 0;
    cudaGetDeviceCount(&count);
    seen.go = true;
  });
  CUDA_OK(cudaStreamSynchronize(stream.handle));
  other.join();
  CHECK(seen.error == cudaErrorNotPermitted);
  CHECK(peek_first(buffer.get()) == 9);
}

TEST_CASE("several host threads use their own streams") {
  reset();
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&right, t] {
      const Stream stream;
      DeviceBuffer<float> buffer(300);
      PinnedBuffer<float> result(300);
      for (int turn = 0; turn < 20; ++turn) {
        launch_fill(buffer.get(), 300, static_cast<float>(t * 100 + turn), 64, stream.handle);
        cudaMemcpyAsync(result.get(), buffer.get(), result.bytes(), cudaMemcpyDeviceToHost, stream.handle);
        cudaStreamSynchronize(stream.handle);
        if (result[299] == static_cast<float>(t * 100 + turn)) ++right;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(right == 80);
}

TEST_CASE("elapsed time is that of the work between two events") {
  reset();
  Stream stream;
  Event begin, end;
  DeviceBuffer<float> buffer(1);
  CUDA_OK(cudaEventRecord(begin.handle, stream.handle));
  CUDA_OK(launch_fill(buffer.get(), 1, 9, 32, stream.handle));
  CUDA_OK(cudaEventRecord(end.handle, stream.handle));
  CUDA_OK(cudaEventSynchronize(end.handle));
  float milliseconds = 0;
  CUDA_OK(cudaEventElapsedTime(&milliseconds, begin.handle, end.handle));
  CHECK(milliseconds > 0);
}

}  // namespace
}  // namespace gneiss::emulated_cuda
