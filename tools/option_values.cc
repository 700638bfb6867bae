#include "tools/option_values.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <limits>
#include <set>
#include <string_view>
#include <system_error>

#include "storage/base/error.h"
#include "tools/usage.h"

namespace gneiss {
namespace {

// Of the command, or of those above it.
const CLI::Option* find_option(const CLI::App* command, const std::string& name) {
  for (; command != nullptr; command = command->get_parent()) {
    if (const CLI::Option* option = command->get_option_no_throw(name)) return option;
  }
  return nullptr;
}

bool takes_value(const CLI::Option& option) { return option.get_expected_max() > 0; }

bool is_digits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

// Of a list as people write it: "15, 10".
void strip_blanks(std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return;
  text = text.substr(first, text.find_last_not_of(" \t") + 1 - first);
}

// Why `text` is no whole number of the type; empty: it is one, and is written without leading zeros now.
template <class T>
std::string make_decimal(std::string& text) {
  strip_blanks(text);
  const bool is_negative = text.starts_with('-');
  std::string_view digits = text;
  if (is_negative || text.starts_with('+')) digits.remove_prefix(1);
  if (!is_digits(digits)) return fmt::format("'{}' is no whole number in decimal digits", text);
  if (is_negative && std::numeric_limits<T>::min() == 0) return text + " is below 0";
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size() - 1));
  std::string decimal = (is_negative ? "-" : "") + std::string(digits);
  T value = 0;
  if (std::from_chars(decimal.data(), decimal.data() + decimal.size(), value).ec != std::errc()) {
    return fmt::format("{} is out of range, {} to {}", text, std::numeric_limits<T>::min(),
                       std::numeric_limits<T>::max());
  }
  text = std::move(decimal);
  return "";
}

std::string make_real(std::string& text) {
  strip_blanks(text);
  const char* first = text.data() + (text.starts_with('+') ? 1 : 0);
  const char* last = text.data() + text.size();
  double value = 0;
  const auto [end, error] = std::from_chars(first, last, value);
  if (end != last || error == std::errc::invalid_argument) {
    return fmt::format("'{}' is no number in decimal digits", text);
  }
  return error == std::errc() ? "" : text + " is out of range";
}

}  // namespace

std::vector<GivenWord> given_words(const std::vector<std::string>& arguments, const CLI::App& app) {
  const CLI::App& command = named_command(app, arguments);
  std::vector<GivenWord> words;
  bool is_behind_options = false;
  for (auto at = arguments.begin(); at != arguments.end(); ++at) {
    if (is_behind_options || !at->starts_with("--")) {
      words.push_back({.word = *at});
      continue;
    }
    is_behind_options = *at == "--";
    if (is_behind_options) continue;
    const std::size_t name_end = std::min(at->find('='), at->size());
    GivenWord given{.word = at->substr(0, name_end), .is_joined = name_end < at->size()};
    given.option = find_option(&command, given.word);
    if (given.is_joined) {
      given.value = at->substr(name_end + 1);
    } else if (given.option != nullptr && takes_value(*given.option) && at + 1 != arguments.end()) {
      given.value = *++at;
    }
    words.push_back(std::move(given));
  }
  return words;
}

void refuse_wrong_values(const std::vector<std::string>& arguments, const CLI::App& app) {
  std::set<const CLI::Option*> once;
  for (const GivenWord& given : given_words(arguments, app)) {
    if (given.option == nullptr || (!given.is_joined && !takes_value(*given.option))) continue;
    if (!given.value) fail(Kind::config, "{} needs a value, and nothing follows it", given.word);
    if (given.value->empty()) {
      fail(Kind::config,
           "{} is given an empty value (of an empty variable of the shell?); give one, or leave it out",
           given.word);
    }
    if (!given.is_joined && given.value->starts_with("--")) {
      fail(Kind::config, "{} needs a value, and {} follows it; if that is the value, write {}={}", given.word,
           *given.value, given.word, *given.value);
    }
    const bool is_list = given.option->get_items_expected_max() != 1;
    if (takes_value(*given.option) && !is_list && !once.insert(given.option).second) {
      fail(Kind::config, "{} is given twice; give it once", given.word);
    }
  }
}

CLI::Validator decimal_integers() { return {make_decimal<std::int64_t>, ""}; }

void take_decimal_numbers(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    const std::string type = option->get_type_name();  // "UINT", or "UINT:UINT in [1 - 64]"
    // The first of the checks: the others see what it has made of the text.
    if (type.starts_with("UINT")) option->transform(CLI::Validator(make_decimal<std::uint64_t>, ""));
    if (type.starts_with("INT")) option->transform(decimal_integers());
    if (type.starts_with("FLOAT")) option->transform(CLI::Validator(make_real, ""));
  }
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; }))
    take_decimal_numbers(*command);
}

}  // namespace gneiss
