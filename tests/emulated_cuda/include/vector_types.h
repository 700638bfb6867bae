// Vector types with CUDA's sizes and alignments, and make_*: a load of one is one load on the device.
#pragma once

// NOLINTBEGIN: the names are CUDA's.
#define GNEISS_VECTORS(name, type, align2, align4)                               \
  struct name##1 { type x; };                                                    \
  struct alignas(align2) name##2 { type x, y; };                                 \
  struct name##3 { type x, y, z; };                                              \
  struct alignas(align4) name##4 { type x, y, z, w; };                           \
  constexpr name##1 make_##name##1(type x) { return {x}; }                       \
  constexpr name##2 make_##name##2(type x, type y) { return {x, y}; }            \
  constexpr name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; } \
  constexpr name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

GNEISS_VECTORS(char, signed char, 2, 4)
GNEISS_VECTORS(uchar, unsigned char, 2, 4)
GNEISS_VECTORS(short, short, 4, 8)
GNEISS_VECTORS(ushort, unsigned short, 4, 8)
GNEISS_VECTORS(int, int, 8, 16)
GNEISS_VECTORS(uint, unsigned int, 8, 16)
GNEISS_VECTORS(long, long, 16, 16)
GNEISS_VECTORS(ulong, unsigned long, 16, 16)
GNEISS_VECTORS(longlong, long long, 16, 16)
GNEISS_VECTORS(ulonglong, unsigned long long, 16, 16)
GNEISS_VECTORS(float, float, 8, 16)
GNEISS_VECTORS(double, double, 16, 16)
#undef GNEISS_VECTORS

struct dim3 {
  unsigned int x, y, z;
  constexpr dim3(unsigned int x_in = 1, unsigned int y_in = 1, unsigned int z_in = 1)
      : x(x_in), y(y_in), z(z_in) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};
// NOLINTEND
