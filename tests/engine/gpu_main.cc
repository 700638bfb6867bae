// The main program of tests that need a CUDA device: where there is none, says so and passes.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "engine/compute/cuda/device.h"

int main(int argument_count, char** arguments) {
  const gneiss::DeviceProbe device = gneiss::probe_cuda_device();
  if (!device.usable) {
    // At the start of a line and complete: .ci/test looks for it, see tests/support/skip.h.
    std::printf("\nSKIPPED: gpu: %s\n", device.reason.c_str());
    return 0;
  }
  std::printf("%s\n", device.name.c_str());
  return doctest::Context(argument_count, arguments).run();
}
