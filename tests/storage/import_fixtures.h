// Small files in other programs' formats, written by hand: what the importers read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gneiss::test {

template <class T>
constexpr const char* npy_code() {
  if constexpr (std::is_same_v<T, bool>) return "|b1";
  if constexpr (std::is_same_v<T, std::int8_t>) return "|i1";
  if constexpr (std::is_same_v<T, std::int16_t>) return "<i2";
  if constexpr (std::is_same_v<T, std::int32_t>) return "<i4";
  if constexpr (std::is_same_v<T, std::int64_t>) return "<i8";
  if constexpr (std::is_same_v<T, std::uint8_t>) return "|u1";
  if constexpr (std::is_same_v<T, std::uint16_t>) return "<u2";
  if constexpr (std::is_same_v<T, std::uint32_t>) return "<u4";
  if constexpr (std::is_same_v<T, std::uint64_t>) return "<u8";
  if constexpr (std::is_same_v<T, float>) return "<f4";
  if constexpr (std::is_same_v<T, double>) return "<f8";
}

struct NpyStyle {
  bool fortran_order = false;
  int version = 1;
};

// The bytes of a .npy file: a header as NumPy writes it, then `data`.
std::string npy_file(std::string_view code, std::span<const std::uint64_t> shape, std::string_view data,
                     NpyStyle style = {});

// `values` in the order in which they are stored.
template <class T>
std::string npy(const std::vector<std::uint64_t>& shape, const std::vector<T>& values, NpyStyle style = {}) {
  const std::string_view data(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  return npy_file(npy_code<T>(), shape, data, style);
}

std::string gzip(std::string_view text);

struct ZipStyle {
  bool deflated = false;
  bool zip64 = false;  // sizes and offsets in 64-bit extra fields, as numpy.savez writes them
};
std::string zip_file(const std::vector<std::pair<std::string, std::string>>& entries, ZipStyle style = {});

void write_file(const std::filesystem::path& path, std::string_view bytes);
std::string read_file(const std::filesystem::path& path);

}  // namespace gneiss::test
