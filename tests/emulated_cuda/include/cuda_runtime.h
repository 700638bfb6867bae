// CUDA's main header, emulated on the CPU: what a .cu source needs, for its host and its device half.
#pragma once

#include "tests/emulated_cuda/include/arithmetic_functions.h"
#include "tests/emulated_cuda/include/atomic_functions.h"
#include "tests/emulated_cuda/include/block_functions.h"
#include "tests/emulated_cuda/include/cuda_runtime_api.h"
#include "tests/emulated_cuda/include/driver_types.h"
#include "tests/emulated_cuda/include/host_defines.h"
#include "tests/emulated_cuda/include/launch_functions.h"
#include "tests/emulated_cuda/include/library_types.h"
#include "tests/emulated_cuda/include/vector_types.h"
