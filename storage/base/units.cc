#include "storage/base/units.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "storage/base/error.h"

namespace gneiss {
namespace {

struct Unit {
  std::string_view suffix;
  double bytes;
};
constexpr std::array<Unit, 14> units{{{"", 1.0},
                                      {"b", 1.0},
                                      {"k", 0x1p10},
                                      {"kib", 0x1p10},
                                      {"kb", 1e3},
                                      {"m", 0x1p20},
                                      {"mib", 0x1p20},
                                      {"mb", 1e6},
                                      {"g", 0x1p30},
                                      {"gib", 0x1p30},
                                      {"gb", 1e9},
                                      {"t", 0x1p40},
                                      {"tib", 0x1p40},
                                      {"tb", 1e12}}};

}  // namespace

std::uint64_t parse_bytes(std::string_view text, std::string_view what) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string suffix;
  for (const char* c = end; c != text.data() + text.size(); ++c) {
    if (*c != ' ') suffix.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(*c))));
  }
  if (error == std::errc() && std::isfinite(value) && value >= 0) {
    for (const Unit& unit : units) {
      const double bytes = value * unit.bytes;
      if (suffix == unit.suffix && bytes < 0x1p63) return static_cast<std::uint64_t>(std::llround(bytes));
    }
  }
  fail(Kind::config, "{} '{}' is not a size; write a number and a unit, such as 512MiB or 10GiB", what, text);
}

std::string format_bytes(double bytes) {
  constexpr std::array names{"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < names.size()) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.2f} {}", bytes, names[unit]);
}

std::string format_bytes_up(std::uint64_t bytes) {
  return fmt::format("{}MiB", (bytes >> 20) + ((bytes & 0xFFFFF) != 0 ? 1 : 0));
}

std::string format_count(std::uint64_t count) {
  std::string digits = std::to_string(count);
  for (auto place = static_cast<std::ptrdiff_t>(digits.size()) - 3; place > 0; place -= 3) {
    digits.insert(static_cast<std::size_t>(place), ",");
  }
  return digits;
}

std::string format_seconds(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.0f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1e3);
  if (seconds < 100) return fmt::format("{:.1f} s", seconds);
  if (!(seconds < 1e12)) return fmt::format("{:.3g} s", seconds);  // of a file that was made up
  const auto whole = static_cast<std::uint64_t>(seconds);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

std::string format_rate(double bytes_per_second) {
  if (bytes_per_second >= 1e9) return fmt::format("{:.2f} GB/s", bytes_per_second / 1e9);
  return fmt::format("{:.0f} MB/s", bytes_per_second / 1e6);
}

}  // namespace gneiss
