// A CUDA backend whose memory is the host's: each operator's is carried to the device and back.
//
// Why:    the tests of operators and models are written over memory that they fill and read.
// Order:  an operator is done when it returns; of the device's own orders only those within one operator are
// left.
#pragma once

#include <memory>

#include "engine/compute/cuda/cuda_backend.h"

namespace gneiss::test {

// `device`: its memory has been reserved.
std::unique_ptr<Backend> make_mirrored_backend(std::shared_ptr<CudaBackend> device);

}  // namespace gneiss::test
