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

std::uint64_t array_bytes(Dtype dtype, std::span<const std::uint64_t> shape) {
  std::uint64_t bytes = size_of(dtype);
  for (const std::uint64_t extent : shape) bytes *= extent;
  return bytes;
}

// All that comes before the data.
std::string file_prefix(Dtype dtype, std::span<const std::uint64_t> shape) {
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({},), }}",
                                   descriptor(dtype), fmt::join(shape, ", "));
  // Magic, version and length take 10 bytes; the header is padded to 64 and ends in a newline.
  header.resize(round_up(10 + header.size() + 1, 64) - 10 - 1, ' ');
  header += '\n';
  std::string prefix("\x93NUMPY\x01\x00", 8);
  prefix += static_cast<char>(header.size() & 0xFF);
  prefix += static_cast<char>(header.size() >> 8);
  prefix += header;
  return prefix;
}

constexpr std::size_t piece_bytes = 1U << 20;
constexpr std::size_t writes_on_their_way = 4;

}  // namespace

void write_npy(const std::filesystem::path& path, Dtype dtype, std::span<const std::uint64_t> shape,
               std::span<const std::byte> bytes) {
  GNEISS_ASSERT(array_bytes(dtype, shape) == bytes.size());
  NpyWriter out(path, dtype, shape);
  out.append(bytes);
  out.finish();
}

NpyWriter::NpyWriter(std::filesystem::path path, Dtype dtype, std::span<const std::uint64_t> shape)
    : path_(std::move(path)), file_(File::create_nameable(path_.parent_path())) {
  const std::string prefix = file_prefix(dtype, shape);
  file_bytes_ = prefix.size() + array_bytes(dtype, shape);
  const bool is_nameless = static_cast<bool>(file_);
  if (!is_nameless) {
    temporary_ = path_.string() + ".tmp";
    file_ = File::create(temporary_);
  }
  try {
    file_.reserve(file_bytes_);
    direct_ = file_.reopen_direct(/*writable=*/true);
    behind_ = std::make_unique<WriteBehind>(direct_ ? direct_ : file_, piece_bytes, writes_on_their_way);
    writer_ = std::make_unique<SequentialWriter>(*behind_, 0, piece_bytes);
    append(std::as_bytes(std::span(prefix.data(), prefix.size())));
  } catch (...) {
    remove_temporary();
    throw;
  }
}

NpyWriter::~NpyWriter() { remove_temporary(); }

void NpyWriter::remove_temporary() noexcept {
  std::error_code ignored;
  if (!temporary_.empty()) std::filesystem::remove(temporary_, ignored);
}

std::uint64_t NpyWriter::memory_bytes() noexcept { return (writes_on_their_way + 1) * piece_bytes; }

void NpyWriter::append(std::span<const std::byte> bytes) {
  writer_->append(bytes);
  appended_ += bytes.size();
}

void NpyWriter::finish() {
  GNEISS_ASSERT(appended_ == file_bytes_);
  writer_->finish();
  behind_->finish();
  file_.resize(file_bytes_);  // the last piece was filled up
  file_.sync();
  if (temporary_.empty()) {
    file_.publish_as(path_);
  } else {
    publish(temporary_, path_);
    temporary_.clear();
  }
}

}  // namespace gneiss
