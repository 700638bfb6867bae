#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>

#include "storage/base/error.h"
#include "storage/import/npy_array.h"

namespace gneiss {
namespace {

constexpr std::array<unsigned char, 6> npy_magic{0x93, 'N', 'U', 'M', 'P', 'Y'};
constexpr std::size_t header_bytes_max = 1U << 20;  // structured types may be long; ours never are
constexpr std::size_t dimensions_max = 32;          // NumPy's own limit was 32 until version 2

struct TypeName {
  std::string_view code;  // after the byte-order mark
  std::string_view name;
  NpyType type;
  std::size_t bytes;
};
constexpr std::array type_names{
    TypeName{"b1", "bool", NpyType::boolean, 1}, TypeName{"i1", "i8", NpyType::i8, 1},
    TypeName{"i2", "i16", NpyType::i16, 2},      TypeName{"i4", "i32", NpyType::i32, 4},
    TypeName{"i8", "i64", NpyType::i64, 8},      TypeName{"u1", "u8", NpyType::u8, 1},
    TypeName{"u2", "u16", NpyType::u16, 2},      TypeName{"u4", "u32", NpyType::u32, 4},
    TypeName{"u8", "u64", NpyType::u64, 8},      TypeName{"f2", "f16", NpyType::f16, 2},
    TypeName{"f4", "f32", NpyType::f32, 4},      TypeName{"f8", "f64", NpyType::f64, 8},
};

const TypeName& entry_of(NpyType type) noexcept {
  return *std::ranges::find_if(type_names, [&](const TypeName& entry) { return entry.type == type; });
}

// The header is a Python dictionary of three entries; this reads just that much of Python.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  void parse(NpyHeader& header) {
    bool has_type = false;
    bool has_order = false;
    bool has_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string_view key = quoted();
      expect(':');
      if (key == "descr") {
        header.type = parse_type();
        has_type = true;
      } else if (key == "fortran_order") {
        header.fortran_order = parse_bool();
        has_order = true;
      } else if (key == "shape") {
        header.shape = parse_shape();
        has_shape = true;
      } else {
        malformed();
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (!text_.empty() || !has_type || !has_order || !has_shape) malformed();
  }

 private:
  [[noreturn]] void malformed() const {
    fail(Kind::input, "{} has a .npy header that cannot be read; the file is damaged or not from NumPy",
         name_);
  }
  void skip_space() {
    while (!text_.empty() && (text_.front() == ' ' || text_.front() == '\n' || text_.front() == '\t')) {
      text_.remove_prefix(1);
    }
  }
  bool accept(char wanted) {
    skip_space();
    if (text_.empty() || text_.front() != wanted) return false;
    text_.remove_prefix(1);
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) malformed();
  }
  bool accept_word(std::string_view word) {
    skip_space();
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    return true;
  }
  std::string_view quoted() {
    skip_space();
    if (text_.empty() || (text_.front() != '\'' && text_.front() != '"')) malformed();
    const char quote = text_.front();
    const std::size_t end = text_.find(quote, 1);
    if (end == std::string_view::npos) malformed();
    const std::string_view value = text_.substr(1, end - 1);
    text_.remove_prefix(end + 1);
    return value;
  }
  bool parse_bool() {
    if (accept_word("True")) return true;
    if (accept_word("False")) return false;
    malformed();
  }
  NpyType parse_type() {
    skip_space();
    if (!text_.empty() && text_.front() == '[') {
      fail(Kind::input, "{} holds records with several fields; save the plain array instead", name_);
    }
    const std::string_view type = quoted();
    const char order = type.empty() ? '?' : type.front();
    if (order == '>') {
      fail(Kind::input, "{} is big-endian ({}); save it with .astype of a little-endian type", name_, type);
    }
    if (order == '<' || order == '|' || order == '=') {
      for (const TypeName& entry : type_names) {
        if (entry.code == type.substr(1)) return entry.type;
      }
    }
    if (type.ends_with('O')) {
      fail(Kind::input, "{} holds pickled Python objects, which are never run here; save it as numbers",
           name_);
    }
    fail(Kind::input, "{} holds elements of type '{}'; integers, bool, float16, float32 and float64 are read",
         name_, type.substr(0, 32));
  }
  std::vector<std::uint64_t> parse_shape() {
    std::vector<std::uint64_t> shape;
    expect('(');
    while (!accept(')')) {
      skip_space();
      std::uint64_t extent = 0;
      const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), extent);
      if (error != std::errc() || shape.size() == dimensions_max) malformed();
      text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
      accept_word("L");  // Python 2 wrote long integers so
      shape.push_back(extent);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return shape;
  }

  std::string_view text_;
  const std::string& name_;
};

}  // namespace

std::size_t size_of(NpyType type) noexcept { return entry_of(type).bytes; }
std::string_view name_of(NpyType type) noexcept { return entry_of(type).name; }
bool is_floating(NpyType type) noexcept { return name_of(type).front() == 'f'; }

std::string format_shape(std::span<const std::uint64_t> shape) {
  if (shape.size() == 1) return fmt::format("({},)", shape[0]);
  return fmt::format("({})", fmt::join(shape, ", "));
}

NpyHeader read_npy_header(ByteSource& source) {
  std::array<unsigned char, 8> start{};
  std::size_t held = 0;
  while (held < start.size()) {
    const std::size_t taken = source.read(std::as_writable_bytes(std::span(start)).subspan(held));
    if (taken == 0) break;
    held += taken;
  }
  if (held < start.size()) {
    fail(Kind::input, "{} holds {} bytes, too few for a .npy file; get the file again", source.name(), held);
  }
  if (!std::equal(npy_magic.begin(), npy_magic.end(), start.begin())) {
    fail(Kind::input,
         "{} does not begin with NumPy's magic: it is not a .npy file, or raw memory without a header as IGB "
         "large and full ship it; 'import npy' has no option for the shape of raw arrays, so wrap it once "
         "with "
         "numpy.memmap(file, dtype, shape=(rows, columns)) and numpy.save",
         source.name());
  }
  const unsigned major = start[6];
  if (major < 1 || major > 3) {
    fail(Kind::input, "{} is a .npy file of version {}.{}; versions 1 to 3 are read", source.name(), major,
         static_cast<unsigned>(start[7]));
  }
  std::array<unsigned char, 4> length_bytes{};
  const std::size_t length_size = major == 1 ? 2 : 4;
  source.read_exactly(std::as_writable_bytes(std::span(length_bytes)).first(length_size));
  std::uint32_t length = 0;
  for (std::size_t i = 0; i < length_size; ++i) length |= std::uint32_t{length_bytes[i]} << (8 * i);
  if (length > header_bytes_max) {
    fail(Kind::input, "{} says that its .npy header takes {} bytes; the file is damaged", source.name(),
         length);
  }
  std::string text(length, '\0');
  source.read_exactly(std::as_writable_bytes(std::span(text)));

  NpyHeader header;
  HeaderParser(text, source.name()).parse(header);
  header.header_bytes = source.position();
  for (const std::uint64_t extent : header.shape) {
    if (__builtin_mul_overflow(header.element_count, extent, &header.element_count) ||
        header.element_count > (std::uint64_t{1} << 56)) {
      fail(Kind::input, "{} claims the shape {}, more than any file holds; the file is damaged",
           source.name(), format_shape(header.shape));
    }
  }
  return header;
}

}  // namespace gneiss
