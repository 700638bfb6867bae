#include "tests/storage/import_fixtures.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <zlib.h>

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace gneiss::test {
namespace {

template <class T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

std::string deflate_bytes(std::string_view text, int window_bits) {
  z_stream stream{};
  if (deflateInit2(&stream, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::runtime_error("zlib");
  }
  std::string result(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(result.data());
  stream.avail_out = static_cast<uInt>(result.size());
  const int status = deflate(&stream, Z_FINISH);
  result.resize(stream.total_out);
  deflateEnd(&stream);
  if (status != Z_STREAM_END) throw std::runtime_error("zlib");
  return result;
}

}  // namespace

std::string npy_file(std::string_view code, std::span<const std::uint64_t> shape, std::string_view data,
                     NpyStyle style) {
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': {}, 'shape': ({}{}), }}", code,
                                   style.fortran_order ? "True" : "False", fmt::join(shape, ", "),
                                   shape.size() == 1 ? "," : "");
  const std::size_t start = style.version == 1 ? 10 : 12;
  while ((start + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  std::string bytes("\x93NUMPY", 6);
  bytes += static_cast<char>(style.version);
  bytes += '\0';
  if (style.version == 1) {
    put(bytes, static_cast<std::uint16_t>(header.size()));
  } else {
    put(bytes, static_cast<std::uint32_t>(header.size()));
  }
  return bytes + header + std::string(data);
}

std::string gzip(std::string_view text) { return deflate_bytes(text, 15 + 16); }

std::string zip_file(const std::vector<std::pair<std::string, std::string>>& entries, ZipStyle style) {
  std::string bytes;
  std::string directory;
  const auto version = static_cast<std::uint16_t>(style.zip64 ? 45 : 20);
  for (const auto& [name, content] : entries) {
    const std::string stored = style.deflated ? deflate_bytes(content, -15) : content;
    const auto crc = static_cast<std::uint32_t>(
        crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size())));
    const std::uint64_t offset = bytes.size();
    std::string common;  // of the local header and the directory's
    put(common, version);
    put<std::uint16_t>(common, 0);
    put<std::uint16_t>(common, style.deflated ? 8 : 0);
    put<std::uint32_t>(common, 0x00210000);  // 1 January 1980
    put(common, crc);
    put(common, style.zip64 ? 0xFFFFFFFFU : static_cast<std::uint32_t>(stored.size()));
    put(common, style.zip64 ? 0xFFFFFFFFU : static_cast<std::uint32_t>(content.size()));
    put(common, static_cast<std::uint16_t>(name.size()));
    std::string sizes;
    put<std::uint64_t>(sizes, content.size());
    put<std::uint64_t>(sizes, stored.size());

    bytes += std::string("PK\x03\x04", 4) + common;
    put<std::uint16_t>(bytes, style.zip64 ? 20 : 0);
    bytes += name;
    if (style.zip64) {
      put<std::uint16_t>(bytes, 1);
      put<std::uint16_t>(bytes, 16);
      bytes += sizes;
    }
    bytes += stored;

    directory += std::string("PK\x01\x02", 4);
    put(directory, version);
    directory += common;
    put<std::uint16_t>(directory, style.zip64 ? 28 : 0);
    put<std::uint16_t>(directory, 0);
    put<std::uint16_t>(directory, 0);
    put<std::uint16_t>(directory, 0);
    put<std::uint32_t>(directory, 0);
    put(directory, style.zip64 ? 0xFFFFFFFFU : static_cast<std::uint32_t>(offset));
    directory += name;
    if (style.zip64) {
      put<std::uint16_t>(directory, 1);
      put<std::uint16_t>(directory, 24);
      directory += sizes;
      put(directory, offset);
    }
  }
  const std::uint64_t directory_offset = bytes.size();
  const std::uint64_t count = entries.size();
  bytes += directory;
  if (style.zip64) {
    const std::uint64_t end_offset = bytes.size();
    bytes += std::string("PK\x06\x06", 4);
    put<std::uint64_t>(bytes, 44);
    put(bytes, version);
    put(bytes, version);
    put<std::uint32_t>(bytes, 0);
    put<std::uint32_t>(bytes, 0);
    put(bytes, count);
    put(bytes, count);
    put<std::uint64_t>(bytes, directory.size());
    put(bytes, directory_offset);
    bytes += std::string("PK\x06\x07", 4);
    put<std::uint32_t>(bytes, 0);
    put(bytes, end_offset);
    put<std::uint32_t>(bytes, 1);
  }
  bytes += std::string("PK\x05\x06", 4);
  put<std::uint32_t>(bytes, 0);
  put(bytes, static_cast<std::uint16_t>(style.zip64 ? 0xFFFF : count));
  put(bytes, static_cast<std::uint16_t>(style.zip64 ? 0xFFFF : count));
  put(bytes, style.zip64 ? 0xFFFFFFFFU : static_cast<std::uint32_t>(directory.size()));
  put(bytes, style.zip64 ? 0xFFFFFFFFU : static_cast<std::uint32_t>(directory_offset));
  put<std::uint16_t>(bytes, 0);
  return bytes;
}

void write_file(const std::filesystem::path& path, std::string_view bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string read_file(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

}  // namespace gneiss::test
