#include "engine/compute/cuda/device.h"

#include <doctest/doctest.h>

#include "tests/support/expect_error.h"

namespace gneiss {
namespace {

TEST_CASE("a device that cannot be used has a reason, and one that can has a name and memory") {
  const DeviceProbe probe = probe_cuda_device();
  MESSAGE("CUDA device: " << (probe.usable ? probe.name : probe.reason));
  CHECK(probe.usable == probe.reason.empty());
  CHECK(probe.usable == !probe.name.empty());
  CHECK(probe.usable == (probe.memory_bytes > 0));
  CHECK(probe.usable == (probe.capability >= 50));
  // It becomes the middle of a sentence.
  if (!probe.usable) CHECK(probe.reason.find_first_of("\n.;") == std::string::npos);
  CHECK(probe_cuda_device().reason == probe.reason);
}

TEST_CASE("--device takes what there is on auto, and refuses what there is not") {
  DeviceProbe absent;
  absent.reason = "no CUDA device is visible";
  DeviceProbe present;
  present.usable = true;
  present.index = 0;

  CHECK(choose_device("auto", absent).type == Device::Type::cpu);
  CHECK(choose_device("auto", present).type == Device::Type::cuda);
  CHECK(choose_device("cpu", present).type == Device::Type::cpu);
  CHECK(choose_device("cuda", present).type == Device::Type::cuda);
  EXPECT_ERROR(choose_device("cuda", absent), Kind::config, "no CUDA device is visible; use --device cpu");
  EXPECT_ERROR(choose_device("gpu", present), Kind::config, "--device is 'gpu'; use auto, cpu or cuda");
  CHECK(choose_device("cpu").type == Device::Type::cpu);
}

}  // namespace
}  // namespace gneiss
