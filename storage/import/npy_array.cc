#include "storage/import/npy_array.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "storage/base/dtype.h"
#include "storage/base/error.h"
#include "storage/import/zip_source.h"

namespace gneiss {
namespace {

constexpr std::size_t piece_bytes = 256U << 10;

template <class T, class Source>
T convert_element(const Source value, const std::string& name) {
  if constexpr (std::is_same_v<T, std::int64_t> && std::is_same_v<Source, std::uint64_t>) {
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      fail(Kind::input, "{} holds {}, which is too large for an id or a label", name, value);
    }
  }
  return static_cast<T>(value);
}

template <class T, class Source>
void convert_piece(std::span<const std::byte> bytes, std::span<T> target, const std::string& name) {
  for (std::size_t i = 0; i < target.size(); ++i) {
    Source value;
    std::memcpy(&value, bytes.data() + i * sizeof(Source), sizeof(Source));
    target[i] = convert_element<T>(value, name);
  }
}

template <class T>
void convert_halves(std::span<const std::byte> bytes, std::span<T> target) {
  for (std::size_t i = 0; i < target.size(); ++i) {
    std::uint16_t value = 0;
    std::memcpy(&value, bytes.data() + i * sizeof(value), sizeof(value));
    target[i] = static_cast<T>(from_f16(value));
  }
}

}  // namespace

NpyStream::NpyStream(std::unique_ptr<ByteSource> source, const NpyHeader& header, std::uint64_t first_element)
    : source_(std::move(source)), type_(header.type), piece_(piece_bytes) {
  source_->skip(header.header_bytes + first_element * size_of(type_));
}

template <class T>
void NpyStream::read_converted(std::span<T> target) {
  const std::size_t element_bytes = size_of(type_);
  while (!target.empty()) {
    const std::size_t count = std::min(target.size(), piece_.size() / element_bytes);
    const auto bytes = std::span(piece_).first(count * element_bytes);
    source_->read_exactly(bytes);
    const auto part = target.first(count);
    const std::string& name = source_->name();
    switch (type_) {
      case NpyType::boolean:
      case NpyType::u8:
        convert_piece<T, std::uint8_t>(bytes, part, name);
        break;
      case NpyType::i8:
        convert_piece<T, std::int8_t>(bytes, part, name);
        break;
      case NpyType::i16:
        convert_piece<T, std::int16_t>(bytes, part, name);
        break;
      case NpyType::u16:
        convert_piece<T, std::uint16_t>(bytes, part, name);
        break;
      case NpyType::i32:
        convert_piece<T, std::int32_t>(bytes, part, name);
        break;
      case NpyType::u32:
        convert_piece<T, std::uint32_t>(bytes, part, name);
        break;
      case NpyType::i64:
        convert_piece<T, std::int64_t>(bytes, part, name);
        break;
      case NpyType::u64:
        convert_piece<T, std::uint64_t>(bytes, part, name);
        break;
      case NpyType::f16:
        if constexpr (std::is_floating_point_v<T>) convert_halves<T>(bytes, part);
        break;
      case NpyType::f32:
        if constexpr (std::is_floating_point_v<T>) convert_piece<T, float>(bytes, part, name);
        break;
      case NpyType::f64:
        if constexpr (std::is_floating_point_v<T>) convert_piece<T, double>(bytes, part, name);
        break;
    }
    target = target.subspan(count);
  }
}

void NpyStream::read(std::span<std::int64_t> target) {
  GNEISS_ASSERT(!is_floating(type_));
  read_converted(target);
}
void NpyStream::read(std::span<float> target) { read_converted(target); }
void NpyStream::read(std::span<double> target) { read_converted(target); }

NpyArray::NpyArray(OpenSource open, std::uint64_t bytes, bool can_seek)
    : open_(std::move(open)), can_seek_(can_seek) {
  const auto source = open_();
  name_ = source->name();
  header_ = read_npy_header(*source);
  const std::uint64_t held = bytes - std::min(bytes, header_.header_bytes);
  if (held < header_.data_bytes()) {
    fail(Kind::input, "{} is truncated: shape {} needs {} bytes of {}, the file holds {}; get the file again",
         name_, format_shape(header_.shape), header_.data_bytes(), gneiss::name_of(header_.type), held);
  }
  if (held > header_.data_bytes()) {
    fail(Kind::input, "{} holds {} bytes more than its shape {} of {} says; the file is damaged", name_,
         held - header_.data_bytes(), format_shape(header_.shape), gneiss::name_of(header_.type));
  }
}

NpyArray NpyArray::open_file(const std::filesystem::path& path) {
  return NpyArray([path] { return std::make_unique<FileSource>(path); }, File::open_for_reading(path).size(),
                  true);
}

NpyArray NpyArray::open_zip_entry(const std::filesystem::path& archive, const std::string& entry) {
  return NpyArray([archive, entry] { return std::make_unique<ZipSource>(archive, entry); },
                  ZipSource(archive, entry).entry_bytes(), false);
}

NpyStream NpyArray::stream(std::uint64_t first_element) const {
  GNEISS_ASSERT(first_element <= header_.element_count);
  return {open_(), header_, first_element};
}

}  // namespace gneiss
