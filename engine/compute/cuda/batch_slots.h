// Batches in the device's memory, copied there on a stream of their own.
//
// Why:     a slot mirrors the host's: four pieces of memory, copied as they are, so that what pointed into
//          the host's points to the same place in the device's. Nothing is unpacked on the way.
// Rows:    [gpu | cpu | page | disk]: those of the gpu tier are there already; shared ones and the segment
//          come as they were read; the cpu tier's are gathered behind the segment, densely.
// Memory:  given; a pinned buffer of the host where rows are staged.
#pragma once

#include <cuda_runtime.h>

#include <memory>
#include <span>

#include "engine/compute/cuda/cuda_backend.h"

namespace gneiss::cuda {

//   compute_stream  where operators run
//   memory          sizes.bytes() of the device's
std::unique_ptr<BatchUploader> make_batch_slots(cudaStream_t compute_stream, std::span<std::byte> memory,
                                                const UploadSizes& sizes, CpuRowPath path);

}  // namespace gneiss::cuda
