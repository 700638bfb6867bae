// EdgeScales as a kernel reads them, an element at a time.
#pragma once

#include "engine/compute/cuda/views.cuh"

namespace gneiss::cuda {

struct Scales {
  const float* destinations = nullptr;  // nullptr: ones
  const float* sources = nullptr;
  const float* selves = nullptr;

  explicit Scales(const EdgeScales& scales)
      : destinations(data_or_null(scales.destination)),
        sources(data_or_null(scales.source)),
        selves(data_or_null(scales.self)) {}
  __device__ float destination(std::uint32_t dst) const {
    return destinations == nullptr ? 1.0F : destinations[dst];
  }
  __device__ float source(std::uint32_t src, float destination_scale) const {
    if (sources == nullptr) return 1.0F;
    const float scale = sources[src];
    return scale == 0.0F ? destination_scale : scale;
  }
  __device__ float self(std::uint32_t dst) const { return selves == nullptr ? 1.0F : selves[dst]; }
};

}  // namespace gneiss::cuda
