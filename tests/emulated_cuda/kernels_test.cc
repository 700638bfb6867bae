// What kernels compute, and how those that are wrong are told.
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>

#include "tests/emulated_cuda/device_buffer.h"
#include "tests/emulated_cuda/emulated_cuda.h"
#include "tests/emulated_cuda/sample_kernels.h"
#include "tests/support/in_child.h"

namespace gneiss::emulated_cuda {
namespace {

std::vector<float> small_integers(std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i * 7 % 13);
  return values;
}

int outcome_of(Mistake mistake) {
  return test::run_in_child([mistake] {
    float* target = nullptr;
    if (cudaMalloc(&target, 64 * sizeof(float)) != cudaSuccess) return 1;
    if (launch_mistake(mistake, target, nullptr) != cudaSuccess) return 2;
    return cudaDeviceSynchronize() == cudaSuccess ? 0 : 3;
  });
}

TEST_CASE("sums over a block by shuffles and by a tree with barriers are those of a loop") {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    CAPTURE(seed);
    reset();
    set_seed(seed);
    const std::vector<float> values = small_integers(1000);
    DeviceBuffer<float> input(values), by_shuffles(4), by_tree(4);
    CUDA_OK(launch_block_sums(by_shuffles.get(), input.get(), 1000, nullptr));
    CUDA_OK(launch_tree_sums(by_tree.get(), input.get(), 1000, nullptr));
    std::vector<float> expected;
    for (std::size_t i = 0; i < 1000; i += 256) {
      const auto begin = values.begin() + static_cast<std::ptrdiff_t>(i);
      const auto end = values.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(i + 256, 1000));
      expected.push_back(std::accumulate(begin, end, 0.0f));
    }
    CHECK(by_shuffles.read() == expected);
    CHECK(by_tree.read() == expected);
    CHECK(launches_of("block_sums") == 1);
    CHECK(launches_of("tree_sums") == 1);
  }
}

TEST_CASE("warp functions answer as CUDA's do") {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    reset();
    set_seed(seed);
    DeviceBuffer<std::uint32_t> buffer(32 * warp_answers);
    CUDA_OK(launch_warp_answers(buffer.get(), nullptr));
    const auto answers = buffer.read();
    for (std::uint32_t lane = 0; lane < 32; ++lane) {
      CAPTURE(lane);
      const auto answer = [&](std::uint32_t i) { return answers[lane + 32 * i]; };
      CHECK(answer(0) == 70);
      CHECK(answer(1) == (lane / 8 * 8 + 3) * 10);
      CHECK(answer(2) == (lane == 0 ? 0 : lane - 1));
      CHECK(answer(3) == (lane % 16 < 14 ? lane + 2 : lane));
      CHECK(answer(4) == 0x49249249u);
      CHECK(answer(5) == (1u << 30));
      CHECK(answer(6) == (lane < 16 ? 5 : 20));
      CHECK(answer(7) == 1);
      const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(lane ^ 31));
      CHECK(answer(8) == bits + static_cast<std::uint32_t>(std::popcount(lane)) + 4 + 31);
    }
  }
}

TEST_CASE("bf16 and half round to nearest, ties to even, and keep NaN") {
  reset();
  const float nan = std::nanf("");
  const std::vector<float2> values = {{1.0f, 1.00390625f},  {1.01171875f, nan},
                                      {65519.0f, 65520.0f}, {0x1p-24f, 0x1p-25f},
                                      {0x3p-25f, -3e38f},   {1.00048828125f, 1.00146484375f}};
  DeviceBuffer<float2> input(values);
  DeviceBuffer<float> bf16(12), half(12);
  CUDA_OK(launch_round_trips(bf16.get(), half.get(), input.get(), 6, nullptr));
  const auto narrow = bf16.read(), halves = half.read();
  CHECK(narrow[0] == 1.0f);
  CHECK(narrow[1] == 1.0f);       // half way to 1 + 2^-7, and 1 is even
  CHECK(narrow[2] == 1.015625f);  // half way from 1 + 2^-7, which is odd
  CHECK(std::isnan(narrow[3]));
  CHECK(std::isnan(halves[3]));
  CHECK(halves[4] == 65504.0f);
  CHECK(std::isinf(halves[5]));
  CHECK(halves[6] == 0x1p-24f);
  CHECK(halves[7] == 0.0f);
  CHECK(halves[8] == 0x1p-23f);
  CHECK(std::isinf(halves[9]));
  CHECK(halves[10] == 1.0f);
  CHECK(halves[11] == 1.001953125f);
}

TEST_CASE("threads that wait for others in vain end the program") {
  reset();
  CHECK(outcome_of(Mistake::divergent_barrier) == 128 + SIGABRT);
  CHECK(outcome_of(Mistake::divergent_sites) == 128 + SIGABRT);
  CHECK(outcome_of(Mistake::missing_lane) == 128 + SIGABRT);
  CHECK(outcome_of(Mistake::mask_without_caller) == 128 + SIGABRT);
}

TEST_CASE("a launch of a shape that no device takes ends the program") {
  reset();
  CHECK(outcome_of(Mistake::wide_block) == 128 + SIGABRT);
  CHECK(outcome_of(Mistake::empty_grid) == 128 + SIGABRT);
  CHECK(outcome_of(Mistake::tall_grid) == 128 + SIGABRT);
}

TEST_CASE("a write past an allocation is found") {
  reset();
  CHECK(outcome_of(Mistake::write_past_end) != 0);
}

TEST_CASE("a missing barrier changes numbers") {
  reset();
  DeviceBuffer<float> target(64);
  CUDA_OK(launch_mistake(Mistake::missing_barrier, target.get(), nullptr));
  CHECK(target.read()[0] != 63.0f);
}

TEST_CASE("dynamic shared memory is refused") {
  reset();
  cudaLaunchConfig_t config{};
  config.dynamicSmemBytes = 16;
  void (*kernel)() = [] {};
  CHECK(cudaLaunchKernelEx(&config, kernel) == cudaErrorNotSupported);
  CHECK(cudaGetLastError() == cudaErrorNotSupported);
  CHECK(cudaGetLastError() == cudaSuccess);
}

}  // namespace
}  // namespace gneiss::emulated_cuda
