// The backend that tests of operators and models run over: which one, is decided by what the test links.
//
// Why:    one table of cases holds for every backend: test_nn has the processor's, test_nn_emulated CUDA's on
//         an emulated device, test_gpu CUDA's on a real one.
// Memory: the host's, whatever the device: a test writes and reads a backend's memory as it likes.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <memory>

#include "engine/compute/backend.h"
#include "storage/base/parallel.h"

namespace gneiss::test {

enum class BackendKind : std::uint8_t { cpu, emulated_cuda, cuda };
BackendKind backend_kind() noexcept;
// Of a test case that is about the processor, whatever the backend: TEST_CASE("..." * of_cpu).
inline const doctest::skip of_cpu{backend_kind() != BackendKind::cpu};

// `pool`: the processor's. An emulated device takes another order with each backend, of all that may be done
// in any: what must not depend on the number of threads must not depend on this order either.
std::unique_ptr<Backend> make_backend(ThreadPool& pool, Precision precision = Precision::f32);
// Why there is no backend of this precision here; nullptr: there is.
const char* lacking_precision(Precision precision);

struct Machine {
  explicit Machine(std::size_t threads = 2, Precision precision = Precision::f32)
      : pool(threads), backend(make_backend(pool, precision)) {}
  ThreadPool pool;
  std::unique_ptr<Backend> backend;
};

// The emulated device computes in about a hundredth of the processor's pace: fewer rows where many show no
// more.
inline std::uint32_t fitting_rows(std::uint32_t count) {
  return backend_kind() == BackendKind::emulated_cuda ? (count + 7) / 8 : count;
}

}  // namespace gneiss::test
