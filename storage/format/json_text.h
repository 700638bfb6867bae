// JSON of a file or of the catalog, from whoever wrote it.
//
// Why: what copies, compares and prints JSON descends as deep as it is nested: a megabyte of brackets would
//      end the program. And get() makes any number of a fraction, or of one that its type cannot hold.
#pragma once

#include <concepts>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

namespace gneiss {

// The discarded value where `text` is not JSON, or nests deeper than 64 levels: ours has 5 at most.
nlohmann::json parse_json(std::string_view text);

// nlohmann::json::type_error, as get() throws it for what is no number.
[[noreturn]] void fail_integer(const nlohmann::json& json);

template <std::integral T>
T integer_of(const nlohmann::json& json) {
  if (json.is_number_unsigned()) {
    const auto value = json.get<std::uint64_t>();
    if (std::in_range<T>(value)) return static_cast<T>(value);
  } else if (json.is_number_integer()) {
    const auto value = json.get<std::int64_t>();
    if (std::in_range<T>(value)) return static_cast<T>(value);
  }
  fail_integer(json);
}
// `otherwise` where there is no such key.
template <std::integral T>
T integer_or(const nlohmann::json& json, const char* key, T otherwise) {
  return json.contains(key) ? integer_of<T>(json.at(key)) : otherwise;
}

}  // namespace gneiss
