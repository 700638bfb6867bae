// Copies whole rows, whatever is in them, from slots to a dense run.
//
// Why: rows of the cpu tier lie scattered in the host's memory. Read over the bus by many threads, each a
//      piece of a row, they cost one pass of the bus and none of the processor.
#pragma once

#include <cuda_runtime.h>

#include "engine/compute/tiered_rows.h"

namespace gneiss::cuda {

//   from  its slots and its base are readable by the device
void copy_rows(cudaStream_t stream, const TierRange& from, std::size_t row_bytes, std::byte* to);

}  // namespace gneiss::cuda
