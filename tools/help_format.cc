#include "tools/help_format.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>
#include <string_view>

namespace gneiss {
namespace {

constexpr std::size_t meaning_column = 30;
constexpr std::size_t narrow_columns = 60;
constexpr std::size_t narrow_indent = 6;

// Words of `text` in lines of at most `columns`, each begun by `indent` blanks; a longer word has a line of
// its own.
std::string wrapped(const std::string& text, std::size_t columns, std::size_t indent) {
  std::istringstream words(text);
  std::string lines;
  std::string line(indent, ' ');
  for (std::string word; words >> word;) {
    if (line.size() > indent && line.size() + 1 + word.size() > columns) {
      lines += line + '\n';
      line.assign(indent, ' ');
    }
    if (line.size() > indent) line += ' ';
    line += word;
  }
  return lines + line + '\n';
}

// CLI11 marks the flags that turn something off: "--no-shuffle{false}".
std::string name_of(const CLI::Option& option, bool is_positional) {
  constexpr std::string_view mark = "{false}";
  std::string name = is_positional ? option.get_name(true, false) : option.get_name(false, true);
  for (auto at = name.find(mark); at != std::string::npos; at = name.find(mark)) name.erase(at, mark.size());
  return name;
}

struct Value {
  std::string type;   // "SIZE", or the names to choose from: "{sage,gcn}"
  std::string range;  // "1 to 64", or empty
};

// CLI11 hands out "TEXT:{sage,gcn}" and "UINT:UINT in [1 - 64]".
Value value_of(const CLI::Option& option) {
  const std::string full = option.get_type_size() == 0 ? "" : option.get_type_name();
  const std::size_t colon = full.find(':');
  if (colon == std::string::npos) return {full, ""};
  const std::string type = full.substr(0, colon);
  std::string check = full.substr(colon + 1);
  if (check.starts_with("{")) return {check, ""};
  const std::size_t open = check.find('[');
  const std::size_t close = check.find(']');
  if (open == std::string::npos || close == std::string::npos || close < open) return {type, ""};
  std::string range = check.substr(open + 1, close - open - 1);
  if (const auto dash = range.find(" - "); dash != std::string::npos) range.replace(dash, 3, " to ");
  return {type, range};
}

// What stands in brackets after the meaning: whether it must be given, its range, its default.
std::string terms_of(const CLI::Option& option, const Value& value) {
  std::vector<std::string> terms;
  if (option.get_required()) terms.emplace_back("required");
  if (!value.range.empty()) terms.push_back(value.range);
  if (std::string usual = option.get_default_str(); !usual.empty() && option.get_type_size() != 0) {
    if (usual.front() == '[' && usual.back() == ']') usual = usual.substr(1, usual.size() - 2);
    terms.push_back("default " + usual);
  }
  for (const CLI::Option* other : option.get_excludes()) terms.push_back("not with " + other->get_name());
  for (const CLI::Option* other : option.get_needs()) terms.push_back("with " + other->get_name());
  return terms.empty() ? "" : fmt::format(" [{}]", fmt::join(terms, "; "));
}

}  // namespace

std::string HelpFormat::entry(const std::string& name, const std::string& meaning) const {
  const std::size_t indent = columns_ < narrow_columns ? narrow_indent : meaning_column;
  std::string text = wrapped(meaning, columns_, indent);
  std::string head = "  " + name;
  if (head.size() + 2 > indent) return head + '\n' + text;
  return text.replace(0, head.size(), head);
}

std::string HelpFormat::make_description(const CLI::App* app) const {
  return app->get_description().empty() ? "" : wrapped(app->get_description(), columns_, 0);
}

std::string HelpFormat::make_option(const CLI::Option* option, bool is_positional) const {
  const Value value = value_of(*option);
  std::string name = name_of(*option, is_positional);
  if (!value.type.empty() && !is_positional) name += ' ' + value.type;
  // Also a word that stands alone: what it means stands there.
  if (!is_positional && option->get_positional()) return entry(name, "The same by its name");
  return entry(name, option->get_description() + terms_of(*option, value));
}

std::string HelpFormat::make_subcommand(const CLI::App* command) const {
  return entry(command->get_display_name(true), command->get_description());
}

std::size_t help_columns() {
  constexpr std::size_t usual = 100;
  constexpr std::size_t widest = 120;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return usual;
  return std::min<std::size_t>(size.ws_col, widest);
}

}  // namespace gneiss
