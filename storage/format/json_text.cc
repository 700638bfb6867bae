#include "storage/format/json_text.h"

#include <fmt/format.h>

namespace gneiss {
namespace {

constexpr std::size_t depth_max = 64;

bool is_shallow(std::string_view text) {
  std::size_t depth = 0;
  bool is_quoted = false;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (is_quoted) {
      if (c == '\\') ++at;
      if (c == '"') is_quoted = false;
    } else if (c == '"') {
      is_quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > depth_max) return false;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return true;
}

}  // namespace

nlohmann::json parse_json(std::string_view text) {
  if (!is_shallow(text)) return nlohmann::json(nlohmann::json::value_t::discarded);
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

void fail_integer(const nlohmann::json& json) {
  throw nlohmann::json::type_error::create(
      302,
      fmt::format("{} is no integer of its range",
                  json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)),
      &json);
}

}  // namespace gneiss
