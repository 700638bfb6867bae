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
#include "storage/io/file.h"

namespace gneiss {
namespace {

using Json = nlohmann::ordered_json;

static_assert(std::endian::native == std::endian::little, "the format is little-endian, and so are we");

constexpr std::size_t length_bytes = 8;
constexpr std::uint64_t header_bytes_max = 100'000'000;  // the limit of the format's own library

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

// The header's text, padded with spaces so that the data starts at a multiple of 8.
std::string make_header(std::span<const NamedTensor> tensors,
                        const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  for (const NamedTensor& tensor : tensors) {
    std::uint64_t bytes = 0;
    GNEISS_ASSERT(byte_count(tensor.shape, tensor.dtype, bytes) && bytes == tensor.bytes.size());
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

NamedTensor parse_tensor(const std::string& path, const std::string& name, const Json& entry,
                         std::span<const std::byte> data) {
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
  NamedTensor tensor;
  tensor.name = name;
  const auto dtype = entry["dtype"].get<std::string>();
  const auto* known = std::ranges::find(dtype_names, dtype, &decltype(dtype_names)::value_type::first);
  if (known == dtype_names.end()) refuse(fmt::format("has a dtype '{}' that is not read here", dtype));
  tensor.dtype = known->second;
  tensor.shape = entry["shape"].get<std::vector<std::uint64_t>>();
  const auto begin = entry["data_offsets"][0].get<std::uint64_t>();
  const auto end = entry["data_offsets"][1].get<std::uint64_t>();
  if (begin > end || end > data.size()) {
    refuse(fmt::format("lies at bytes {} to {} of {} bytes of data", begin, end, data.size()));
  }
  std::uint64_t bytes = 0;
  if (!byte_count(tensor.shape, tensor.dtype, bytes) || bytes != end - begin) {
    refuse(fmt::format("has a shape that does not fill its {} bytes", end - begin));
  }
  tensor.bytes = data.subspan(begin, end - begin);
  return tensor;
}

}  // namespace

std::string content_checksum(std::span<const NamedTensor> tensors,
                             const std::map<std::string, std::string>& metadata) {
  StreamChecksum sum;
  for (const auto& [key, value] : metadata) {
    if (key == checksum_key) continue;
    const std::string line = fmt::format("{}={}\n", key, value);
    sum.update(std::as_bytes(std::span(line)));
  }
  for (const NamedTensor& tensor : tensors) {
    sum.update(std::as_bytes(std::span(tensor.name)));
    sum.update(tensor.bytes);
  }
  return fmt::format("{:016x}", sum.value());
}

void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::string header = make_header(tensors, metadata);
  const std::uint64_t header_bytes = header.size();
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  try {
    const File file = File::create(temporary);
    file.write_at(0, std::as_bytes(std::span(&header_bytes, 1)));
    file.write_at(length_bytes, std::as_bytes(std::span(header)));
    std::uint64_t offset = length_bytes + header_bytes;
    for (const NamedTensor& tensor : tensors) {
      file.write_at(offset, tensor.bytes);
      offset += tensor.bytes.size();
    }
    file.sync();
  } catch (const Error&) {
    std::error_code ignored;  // the first failure is the one to tell
    std::filesystem::remove(temporary, ignored);
    throw;
  }
  publish_or_remove(temporary, path);
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile result;
  const File file = File::open_for_reading(path);
  result.path_ = file.path();
  const std::uint64_t size = file.size();
  std::uint64_t header_bytes = 0;
  if (size >= length_bytes) file.read_at(0, std::as_writable_bytes(std::span(&header_bytes, 1)));
  if (size < length_bytes || header_bytes > size - length_bytes || header_bytes > header_bytes_max) {
    fail(Kind::corruption, "{}: {} bytes cannot hold a header of {}; this is no whole safetensors file",
         result.path_, size, header_bytes);
  }
  result.data_ = AlignedBuffer(size);
  file.read_at(0, result.data_.bytes());
  const std::span<const std::byte> bytes = std::as_const(result.data_).bytes();
  const auto* text = reinterpret_cast<const char*>(bytes.data() + length_bytes);
  const std::span<const std::byte> data = bytes.subspan(length_bytes + header_bytes);

  const Json header = parse_header(result.path_, {text, header_bytes});
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") {
      result.tensors_.push_back(parse_tensor(result.path_, name, entry, data));
      continue;
    }
    const auto is_text = [](const Json& value) { return value.is_string(); };
    if (!entry.is_object() || !std::ranges::all_of(entry, is_text)) {
      fail(Kind::corruption, "{}: its __metadata__ is not a map of strings; take another checkpoint",
           result.path_);
    }
    result.metadata_ = entry.get<std::map<std::string, std::string>>();
  }
  // Dense and without overlap: by place, each tensor starts where the one before it ends.
  std::ranges::stable_sort(result.tensors_, [](const NamedTensor& a, const NamedTensor& b) {
    return std::pair(a.bytes.data(), a.bytes.size()) < std::pair(b.bytes.data(), b.bytes.size());
  });
  const std::byte* expected = data.data();
  for (const NamedTensor& tensor : result.tensors_) {
    if (tensor.bytes.data() != expected) {
      fail(Kind::corruption, "{}: the data of tensor '{}' leaves a gap or overlaps; take another checkpoint",
           result.path_, tensor.name);
    }
    expected += tensor.bytes.size();
  }
  if (expected != data.data() + data.size()) {
    fail(Kind::corruption, "{}: {} bytes at the end belong to no tensor; take another checkpoint",
         result.path_, data.data() + data.size() - expected);
  }
  return result;
}

const NamedTensor* SafetensorsFile::find(std::string_view name) const noexcept {
  const auto found = std::ranges::find(tensors_, name, &NamedTensor::name);
  return found == tensors_.end() ? nullptr : &*found;
}

const NamedTensor& SafetensorsFile::require(std::string_view name, Dtype dtype,
                                            std::span<const std::uint64_t> shape) const {
  const NamedTensor* tensor = find(name);
  if (tensor == nullptr) fail(Kind::corruption, "{}: there is no tensor '{}'", path_, name);
  if (tensor->dtype != dtype || !std::ranges::equal(tensor->shape, shape)) {
    fail(Kind::corruption,
         "{}: tensor '{}' is {} [{}], but {} [{}] is needed; use the options it was made with", path_, name,
         name_of(tensor->dtype), fmt::join(tensor->shape, ", "), name_of(dtype), fmt::join(shape, ", "));
  }
  return *tensor;
}

}  // namespace gneiss
