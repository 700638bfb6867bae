#include "storage/format/npy_writer.h"

#include <fmt/ranges.h>

#include "storage/base/aligned_buffer.h"
#include "storage/base/error.h"
#include "storage/io/file.h"

namespace gneiss {
namespace {

std::string_view descriptor(Dtype dtype) {
  switch (dtype) {
    case Dtype::u8:
      return "|u1";
    case Dtype::u16:
    case Dtype::bf16:
      return "<u2";
    case Dtype::u32:
      return "<u4";
    case Dtype::u64:
      return "<u8";
    case Dtype::i32:
      return "<i4";
    case Dtype::i64:
      return "<i8";
    case Dtype::f16:
      return "<f2";
    case Dtype::f32:
      return "<f4";
    case Dtype::f64:
      return "<f8";
  }
  GNEISS_ASSERT(false);
}

}  // namespace

void write_npy(const std::filesystem::path& path, Dtype dtype, std::span<const std::uint64_t> shape,
               std::span<const std::byte> bytes) {
  std::uint64_t elements = 1;
  for (const std::uint64_t extent : shape) elements *= extent;
  GNEISS_ASSERT(elements * size_of(dtype) == bytes.size());
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({},), }}",
                                   descriptor(dtype), fmt::join(shape, ", "));
  // Magic, version and length take 10 bytes; the header is padded to 64 and ends in a newline.
  header.resize(round_up(10 + header.size() + 1, 64) - 10 - 1, ' ');
  header += '\n';
  std::string prefix("\x93NUMPY\x01\x00", 8);
  prefix += static_cast<char>(header.size() & 0xFF);
  prefix += static_cast<char>(header.size() >> 8);
  prefix += header;
  const std::filesystem::path temporary = path.string() + ".tmp";
  {
    const File file = File::create(temporary);
    file.write_at(0, std::as_bytes(std::span(prefix.data(), prefix.size())));
    file.write_at(prefix.size(), bytes);
    file.sync();
  }
  publish(temporary, path);
}

}  // namespace gneiss
