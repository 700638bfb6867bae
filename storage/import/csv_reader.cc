#include "storage/import/csv_reader.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "storage/base/error.h"

namespace gneiss {
namespace {

constexpr std::size_t buffer_bytes = 128U << 10;   // stays in the cache; a longer line makes it grow
constexpr std::size_t line_bytes_max = 64U << 20;  // a million columns; anything longer is not a table

std::string_view without_blanks(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) {
    text.remove_suffix(1);
  }
  return text;
}

}  // namespace

CsvReader::CsvReader(std::unique_ptr<ByteSource> source)
    : source_(std::move(source)), buffer_(buffer_bytes) {}

bool CsvReader::peek_line() {
  while (!has_line_) {
    const char* start = buffer_.data() + begin_;
    const auto* newline = static_cast<const char*>(std::memchr(start, '\n', end_ - begin_));
    if (newline == nullptr && !source_ended_) {
      std::memmove(buffer_.data(), start, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
      if (end_ == buffer_.size()) {
        if (buffer_.size() >= line_bytes_max) {
          fail(Kind::input, "{}, line {}: the line goes on for {} bytes; this is not a table of numbers",
               name(), line_ + 1, end_);
        }
        buffer_.resize(buffer_.size() * 2);
      }
      try {
        const std::size_t taken = source_->read(std::as_writable_bytes(std::span(buffer_).subspan(end_)));
        end_ += taken;
        source_ended_ = taken == 0;
      } catch (const Error& error) {
        // Rows before the damage are counted so that the reader can look at the place.
        const auto whole = std::count(buffer_.data(), buffer_.data() + end_, '\n');
        throw Error(error.kind(), fmt::format("{} (line {})", error.what(), line_ + 1 + whole));
      }
      continue;
    }
    if (newline == nullptr && begin_ == end_) return false;
    const char* stop = newline != nullptr ? newline : buffer_.data() + end_;
    text_ = without_blanks({start, static_cast<std::size_t>(stop - start)});
    begin_ = static_cast<std::size_t>(stop - buffer_.data()) + (newline != nullptr ? 1 : 0);
    ++line_;
    has_line_ = !text_.empty();
  }
  return true;
}

std::size_t CsvReader::count_fields() {
  if (!peek_line()) return 0;
  return static_cast<std::size_t>(std::ranges::count(text_, ',')) + 1;
}

template <class T>
bool CsvReader::parse_row(std::span<T> target) {
  if (!peek_line()) return false;
  has_line_ = false;
  std::string_view rest = text_;
  for (std::size_t i = 0; i < target.size(); ++i) {
    const bool last = i + 1 == target.size();
    const std::size_t comma = rest.find(',');
    if (last != (comma == std::string_view::npos)) {
      fail(Kind::input, "{}, line {}: {} numbers were expected, the line has {}", name(), line_,
           target.size(), std::ranges::count(text_, ',') + 1);
    }
    const std::string_view field = without_blanks(rest.substr(0, comma));
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), target[i]);
    // Out of range is taken for floats (underflow to 0, overflow to infinity are not worth a refusal).
    bool good = error == std::errc() && end == field.data() + field.size() && !field.empty();
    if constexpr (std::is_floating_point_v<T>) {
      if (error == std::errc::result_out_of_range && end == field.data() + field.size()) {
        double wide = 0;
        const auto again = std::from_chars(field.data(), field.data() + field.size(), wide);
        good = again.ec == std::errc();
        target[i] = static_cast<T>(wide);
      }
    }
    if (!good) {
      fail(Kind::input, "{}, line {}: '{}' is not {}", name(), line_, field.substr(0, 40),
           std::is_floating_point_v<T> ? "a number" : "an integer");
    }
    if (!last) rest.remove_prefix(comma + 1);
  }
  return true;
}

bool CsvReader::next_row(std::span<std::int64_t> target) { return parse_row(target); }
bool CsvReader::next_row(std::span<float> target) { return parse_row(target); }
bool CsvReader::next_row(std::span<double> target) { return parse_row(target); }

}  // namespace gneiss
