#include "engine/train/safetensors.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "storage/base/checksum.h"
#include "storage/base/error.h"
#include "storage/base/rounding.h"

namespace gneiss {
namespace {

using Json = nlohmann::ordered_json;

static_assert(std::endian::native == std::endian::little, "the format is little-endian, and so are we");

constexpr std::size_t length_bytes = 8;
// Of a hundred tensors some 10 KiB, as text and, for a moment, as what is parsed of it. The format's own
// library takes a hundred times as much.
constexpr std::uint64_t header_bytes_max = 1'000'000;

constexpr std::array<std::pair<std::string_view, Dtype>, 10> dtype_names{{{"U8", Dtype::u8},
                                                                          {"U16", Dtype::u16},
                                                                          {"U32", Dtype::u32},
                                                                          {"U64", Dtype::u64},
                                                                          {"I32", Dtype::i32},
                                                                          {"I64", Dtype::i64},
                                                                          {"F16", Dtype::f16},
                                                                          {"BF16", Dtype::bf16},
                                                                          {"F32", Dtype::f32},
                                                                          {"F64", Dtype::f64}}};

std::string_view format_name(Dtype dtype) {
  const auto* found = std::ranges::find(dtype_names, dtype, &decltype(dtype_names)::value_type::second);
  GNEISS_ASSERT(found != dtype_names.end());
  return found->first;
}

// False when the product does not fit 64 bits.
bool byte_count(std::span<const std::uint64_t> shape, Dtype dtype, std::uint64_t& bytes) {
  bytes = size_of(dtype);
  for (const std::uint64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return false;
  }
  return true;
}

std::uint64_t byte_count_of(const TensorSource& tensor) {
  std::uint64_t bytes = 0;
  GNEISS_ASSERT(byte_count(tensor.shape, tensor.dtype, bytes));
  return bytes;
}

// The header's text, padded with spaces so that the data starts at a multiple of 8.
std::string make_header(std::span<const TensorSource> tensors, const TensorMetadata& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  for (const TensorSource& tensor : tensors) {
    const std::uint64_t bytes = byte_count_of(tensor);
    GNEISS_ASSERT(tensor.name != "__metadata__" && !header.contains(tensor.name));
    header[tensor.name] = {{"dtype", format_name(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.resize(round_up(text.size(), 8), ' ');
  return text;
}

// What checksum_key says, of data that comes in pieces.
class ContentChecksum {
 public:
  explicit ContentChecksum(const TensorMetadata& metadata) {
    for (const auto& [key, value] : metadata) {
      if (key == checksum_key) continue;
      const std::string line = fmt::format("{}={}\n", key, value);
      sum_.update(std::as_bytes(std::span(line)));
    }
  }
  void begin(const std::string& name) { sum_.update(std::as_bytes(std::span(name))); }
  void update(std::span<const std::byte> piece) { sum_.update(piece); }
  std::string text() const { return fmt::format("{:016x}", sum_.value()); }

 private:
  StreamChecksum sum_;
};

// Writes the data from `offset` on; what was written is in `sum`.
void write_data(const File& file, std::uint64_t offset, std::span<const TensorSource> tensors,
                ContentChecksum& sum) {
  std::vector<std::byte> piece;
  for (const TensorSource& tensor : tensors) {
    const std::uint64_t bytes = byte_count_of(tensor);
    sum.begin(tensor.name);
    for (std::uint64_t first = 0; first < bytes; first += tensor_piece_bytes) {
      piece.resize(std::min<std::uint64_t>(tensor_piece_bytes, bytes - first));
      tensor.copy(first, piece);
      sum.update(piece);
      file.write_at(offset + first, piece);
    }
    offset += bytes;
  }
}

void write(const std::filesystem::path& path, std::span<const TensorSource> tensors, TensorMetadata metadata,
           bool has_checksum) {
  // The header stands before what its checksum is of, and is as long with any: it is written last.
  if (has_checksum) metadata[checksum_key] = std::string(16, '0');
  std::string header = make_header(tensors, metadata);
  const std::uint64_t header_bytes = header.size();
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  try {
    const File file = File::create(temporary);
    ContentChecksum sum(metadata);
    write_data(file, length_bytes + header_bytes, tensors, sum);
    if (has_checksum) {
      metadata[checksum_key] = sum.text();
      header = make_header(tensors, metadata);
      GNEISS_ASSERT(header.size() == header_bytes);
    }
    file.write_at(0, std::as_bytes(std::span(&header_bytes, 1)));
    file.write_at(length_bytes, std::as_bytes(std::span(header)));
    file.sync();
  } catch (const Error&) {
    std::error_code ignored;  // the first failure is the one to tell
    std::filesystem::remove(temporary, ignored);
    throw;
  }
  publish_or_remove(temporary, path);
}

// The header as JSON; a name that stands twice would hide a tensor, so it is refused.
Json parse_header(const std::string& path, std::string_view text) {
  std::set<std::string> names;
  bool has_duplicate = false;
  const auto note_names = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth == 1 && event == Json::parse_event_t::key) {
      has_duplicate |= !names.insert(parsed.get<std::string>()).second;
    }
    return true;
  };
  Json header = Json::parse(text, note_names, false);
  // The parser takes a null character for the end, and would read no further.
  if (!header.is_object() || has_duplicate || text.find('\0') != std::string_view::npos) {
    fail(Kind::corruption, "{}: its header is not a JSON object of distinct names; take another checkpoint",
         path);
  }
  return header;
}

// `data_begin`, `data_bytes`: where the data lies in the file.
StoredTensor parse_tensor(const std::string& path, const std::string& name, const Json& entry,
                          std::uint64_t data_begin, std::uint64_t data_bytes) {
  const auto refuse = [&](std::string_view what) {
    fail(Kind::corruption, "{}: tensor '{}' {}; take another checkpoint", path, name, what);
  };
  const auto is_count = [](const Json& value) { return value.is_number_unsigned(); };
  const auto is_counts = [&](const char* key) {
    return entry.contains(key) && entry[key].is_array() && std::ranges::all_of(entry[key], is_count);
  };
  if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() || !is_counts("shape") ||
      !is_counts("data_offsets") || entry["data_offsets"].size() != 2) {
    refuse("has no well-formed dtype, shape and data_offsets");
  }
  StoredTensor tensor;
  tensor.name = name;
  const auto dtype = entry["dtype"].get<std::string>();
  const auto* known = std::ranges::find(dtype_names, dtype, &decltype(dtype_names)::value_type::first);
  if (known == dtype_names.end()) refuse(fmt::format("has a dtype '{}' that is not read here", dtype));
  tensor.dtype = known->second;
  tensor.shape = entry["shape"].get<std::vector<std::uint64_t>>();
  const auto begin = entry["data_offsets"][0].get<std::uint64_t>();
  const auto end = entry["data_offsets"][1].get<std::uint64_t>();
  if (begin > end || end > data_bytes) {
    refuse(fmt::format("lies at bytes {} to {} of {} bytes of data", begin, end, data_bytes));
  }
  if (!byte_count(tensor.shape, tensor.dtype, tensor.bytes) || tensor.bytes != end - begin) {
    refuse(fmt::format("has a shape that does not fill its {} bytes", end - begin));
  }
  tensor.offset = data_begin + begin;
  return tensor;
}

}  // namespace

TensorSource tensor_of(std::string name, Dtype dtype, std::vector<std::uint64_t> shape,
                       std::span<const std::byte> bytes) {
  TensorSource tensor{.name = std::move(name), .dtype = dtype, .shape = std::move(shape), .copy = {}};
  GNEISS_ASSERT(byte_count_of(tensor) == bytes.size());
  tensor.copy = [bytes](std::uint64_t first_byte, std::span<std::byte> piece) {
    std::ranges::copy(bytes.subspan(first_byte, piece.size()), piece.begin());
  };
  return tensor;
}

void write_safetensors(const std::filesystem::path& path, std::span<const TensorSource> tensors,
                       const TensorMetadata& metadata) {
  write(path, tensors, metadata, /*has_checksum=*/false);
}

void write_checked_safetensors(const std::filesystem::path& path, std::span<const TensorSource> tensors,
                               const TensorMetadata& metadata) {
  write(path, tensors, metadata, /*has_checksum=*/true);
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile result;
  result.file_ = File::open_for_reading(path);
  const File& file = result.file_;
  const std::uint64_t size = file.size();
  std::uint64_t header_bytes = 0;
  if (size >= length_bytes) file.read_at(0, std::as_writable_bytes(std::span(&header_bytes, 1)));
  if (size >= length_bytes && header_bytes <= size - length_bytes && header_bytes > header_bytes_max) {
    fail(Kind::corruption,
         "{}: its header of {} bytes is larger than the {} that are read here; it is damaged, or not a file "
         "of Gneiss's",
         file.path(), header_bytes, header_bytes_max);
  }
  if (size < length_bytes || header_bytes > size - length_bytes) {
    fail(Kind::corruption, "{}: {} bytes cannot hold a header of {}; this is no whole safetensors file",
         file.path(), size, header_bytes);
  }
  std::string text(header_bytes, '\0');
  file.read_at(length_bytes, std::as_writable_bytes(std::span(text)));
  const std::uint64_t data_begin = length_bytes + header_bytes;

  const Json header = parse_header(file.path(), text);
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") {
      result.tensors_.push_back(parse_tensor(file.path(), name, entry, data_begin, size - data_begin));
      continue;
    }
    const auto is_text = [](const Json& value) { return value.is_string(); };
    if (!entry.is_object() || !std::ranges::all_of(entry, is_text)) {
      fail(Kind::corruption, "{}: its __metadata__ is not a map of strings; take another checkpoint",
           file.path());
    }
    result.metadata_ = entry.get<TensorMetadata>();
  }
  // Dense and without overlap: by place, each tensor starts where the one before it ends.
  std::ranges::stable_sort(result.tensors_, [](const StoredTensor& a, const StoredTensor& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
  });
  std::uint64_t expected = data_begin;
  for (const StoredTensor& tensor : result.tensors_) {
    if (tensor.offset != expected) {
      fail(Kind::corruption, "{}: the data of tensor '{}' leaves a gap or overlaps; take another checkpoint",
           file.path(), tensor.name);
    }
    expected += tensor.bytes;
  }
  if (expected != size) {
    fail(Kind::corruption, "{}: {} bytes at the end belong to no tensor; take another checkpoint",
         file.path(), size - expected);
  }
  return result;
}

void SafetensorsFile::read(const StoredTensor& tensor, std::span<std::byte> target) const {
  GNEISS_ASSERT(target.size() == tensor.bytes);
  file_.read_at(tensor.offset, target);
}

std::string SafetensorsFile::stream(const Take& take) const {
  ContentChecksum sum(metadata_);
  std::vector<std::byte> piece;
  for (const StoredTensor& tensor : tensors_) {
    sum.begin(tensor.name);
    for (std::uint64_t first = 0; first < tensor.bytes; first += tensor_piece_bytes) {
      piece.resize(std::min<std::uint64_t>(tensor_piece_bytes, tensor.bytes - first));
      file_.read_at(tensor.offset + first, piece);
      sum.update(piece);
      if (take) take(tensor, first, piece);
    }
  }
  return sum.text();
}

const StoredTensor* SafetensorsFile::find(std::string_view name) const noexcept {
  const auto found = std::ranges::find(tensors_, name, &StoredTensor::name);
  return found == tensors_.end() ? nullptr : &*found;
}

const StoredTensor& SafetensorsFile::require(std::string_view name, Dtype dtype,
                                             std::span<const std::uint64_t> shape) const {
  const StoredTensor* tensor = find(name);
  if (tensor == nullptr) fail(Kind::corruption, "{}: there is no tensor '{}'", file_.path(), name);
  if (tensor->dtype != dtype || !std::ranges::equal(tensor->shape, shape)) {
    fail(Kind::corruption,
         "{}: tensor '{}' is {} [{}], but {} [{}] is needed; use the options it was made with", file_.path(),
         name, name_of(tensor->dtype), fmt::join(tensor->shape, ", "), name_of(dtype),
         fmt::join(shape, ", "));
  }
  return *tensor;
}

}  // namespace gneiss
