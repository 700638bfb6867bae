#include "tools/checked_text.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "storage/base/checksum.h"
#include "storage/base/error.h"

namespace gneiss {
namespace {

constexpr std::string_view begin = "# xxh3 of what follows: ";
constexpr std::size_t digits = 16;
constexpr const char* key = "xxh3";

std::string checksum_of(std::string_view text) {
  return fmt::format("{:016x}", checksum(std::as_bytes(std::span(text))));
}

std::string dump(const nlohmann::json& object) {
  return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string with_checksum_line(std::string_view text) {
  return fmt::format("{}{}\n{}", begin, checksum_of(text), text);
}

void check_checksum_line(std::string_view text, const std::string& file) {
  if (!text.starts_with(begin)) return;
  text.remove_prefix(begin.size());
  const bool is_line = text.size() > digits && text[digits] == '\n';
  if (is_line && text.substr(0, digits) == checksum_of(text.substr(digits + 1))) return;
  fail(Kind::corruption,
       "{}: the checksum in its first line does not fit; put the file back as it was, or take that line "
       "out if you changed it",
       file);
}

std::string checked_line(nlohmann::json object) {
  object.erase(key);
  const std::string line = dump(object);
  object[key] = checksum(std::as_bytes(std::span(line)));  // a number, as all of an epoch's values are
  return dump(object);
}

bool take_checksum(nlohmann::json& object) {
  const auto found = object.find(key);
  if (found == object.end()) return true;
  const nlohmann::json stated = std::move(*found);
  object.erase(found);
  const std::string line = dump(object);
  return stated == nlohmann::json(checksum(std::as_bytes(std::span(line))));
}

}  // namespace gneiss
