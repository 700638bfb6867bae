// CUDA's qualifiers as a C++ compiler reads them.
//
// Why:     kernels are ordinary functions here, called once for each thread of a launch.
// Memory:  __shared__ is static storage: the emulator runs one block at a time, under its lock. What a block
//          left there the next one finds, as on a device. Dynamic shared memory (extern __shared__) is not
//          emulated and does not compile.
#pragma once

#define GNEISS_EMULATED_CUDA 1

#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __grid_constant__

#define CUDART_VERSION 13000
#define CUDART_CB
