// __half and __half2: conversions, arithmetic and the two-wide forms.
#pragma once

#include "tests/emulated_cuda/include/host_defines.h"
#include "tests/emulated_cuda/include/small_floats.h"
#include "tests/emulated_cuda/include/vector_types.h"

// NOLINTBEGIN: the names are CUDA's.
using __half = gneiss::emulated_cuda::SmallFloat<gneiss::emulated_cuda::HalfFormat>;
using __half2 = gneiss::emulated_cuda::SmallFloat2<gneiss::emulated_cuda::HalfFormat>;
using half = __half;
using half2 = __half2;
static_assert(sizeof(__half) == 2 && sizeof(__half2) == 4 && alignof(__half2) == 4);

inline float __half2float(__half a) { return a; }
inline __half __float2half(float a) { return a; }
inline __half __float2half_rn(float a) { return a; }
inline __half2 __float2half2_rn(float a) { return {a, a}; }
inline __half2 __floats2half2_rn(float a, float b) { return {a, b}; }
inline __half2 __float22half2_rn(float2 a) { return {a.x, a.y}; }
inline float2 __half22float2(__half2 a) { return {a.x, a.y}; }
inline __half2 __half2half2(__half a) { return {a, a}; }
inline __half2 __halves2half2(__half a, __half b) { return {a, b}; }
inline __half2 make_half2(__half a, __half b) { return {a, b}; }
inline __half __low2half(__half2 a) { return a.x; }
inline __half __high2half(__half2 a) { return a.y; }
inline unsigned short __half_as_ushort(__half a) { return a.bits(); }
inline __half __ushort_as_half(unsigned short bits) { return __half::from_bits(bits); }
// NOLINTEND
