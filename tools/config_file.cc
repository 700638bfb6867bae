#include "tools/config_file.h"

#include <yaml-cpp/yaml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <optional>
#include <string_view>

#include "storage/base/error.h"
#include "storage/io/file.h"
#include "tools/checked_text.h"
#include "tools/option_names.h"
#include "tools/option_values.h"
#include "tools/usage.h"

namespace gneiss {
namespace {

constexpr std::string_view config_name = "--config";

// The file's name, taken out of the arguments.
std::optional<std::string> take_config(std::vector<std::string>& arguments) {
  std::optional<std::string> file;
  for (auto at = arguments.begin(); at != arguments.end() && *at != "--";) {
    const bool is_joined = at->starts_with("--config=");
    if (!is_joined && *at != config_name) {
      ++at;
      continue;
    }
    const auto value = is_joined ? at : at + 1;
    std::string name = value == arguments.end() ? "" : *value;
    if (is_joined) name.erase(0, config_name.size() + 1);
    if (name.empty() || (!is_joined && name.starts_with("--"))) {
      fail(Kind::config, "--config needs the name of a YAML file");
    }
    if (file) fail(Kind::config, "--config is given twice, {} and {}; give one file", *file, name);
    file = std::move(name);
    at = arguments.erase(at, value + 1);
  }
  return file;
}

// Whether the command line gives the option, by any of its names: --shuffle and --no-shuffle are one.
bool is_given(const std::vector<GivenWord>& words, const CLI::App& command, const CLI::Option& option) {
  // A word that stands alone is a command's name, or a value of the option that may stand without its own.
  const auto names = std::ranges::count_if(words, [](const GivenWord& each) { return !each.option; });
  int depth = 0;
  for (const CLI::App* each = &command; each->get_parent() != nullptr; each = each->get_parent()) ++depth;
  if (option.get_positional() && names > depth) return true;
  return std::ranges::any_of(words, [&](const GivenWord& each) { return each.option == &option; });
}

// Of a flag with two names, such as "--shuffle,!--no-shuffle", that of what it turns on.
bool is_turned_off_by_false(const CLI::Option& option, const std::string& name) {
  const auto& negative = option.get_fnames();
  const bool has_two = !negative.empty() && option.get_lnames().size() > negative.size();
  return has_two && std::ranges::find(negative, name.substr(2)) == negative.end();
}

// "15,10" for a list, the text itself for a single value.
std::string value_text(const YAML::Node& value, const std::string& key, const std::string& file) {
  if (value.IsScalar()) return value.Scalar();
  if (!value.IsSequence()) fail(Kind::config, "{}: '{}' is a map; give one value or a list", file, key);
  std::string text;
  for (const YAML::Node& item : value) {
    if (!item.IsScalar()) fail(Kind::config, "{}: '{}' holds more than a list of values", file, key);
    text += (text.empty() ? "" : ",") + item.Scalar();
  }
  return text;
}

YAML::Node read_yaml(const std::string& file) {
  const std::string text = read_text_file(file);
  check_checksum_line(text, file);  // of a run's config.yaml
  try {
    return YAML::Load(text);
  } catch (const YAML::Exception& error) {
    fail(Kind::input, "{}: line {}: not YAML: {}", file, error.mark.line + 1, error.msg);
  }
}

}  // namespace

void expand_config(std::vector<std::string>& arguments, const CLI::App& app) {
  const std::optional<std::string> file = take_config(arguments);
  if (!file) return;
  const CLI::App& command = named_command(app, arguments);
  if (&command == &app) fail(Kind::config, "--config {}: name the command that it is for", *file);
  const YAML::Node root = read_yaml(*file);
  if (root.IsNull()) return;
  if (!root.IsMap()) fail(Kind::input, "{}: not a map of option names to values", *file);
  const std::vector<GivenWord> given = given_words(arguments, app);
  std::map<const CLI::Option*, std::string> keys;
  std::vector<std::string> added;
  for (const auto& entry : root) {
    if (!entry.first.IsScalar()) fail(Kind::input, "{}: a key is not a name", *file);
    const std::string& key = entry.first.Scalar();
    const YAML::Node& value = entry.second;
    std::vector<std::string> name{"--" + key};
    normalise_option_names(name);
    if (app.get_option_no_throw(name.front()) != nullptr) {  // --quiet, --help
      fail(Kind::config, "{}: '{}' is for the command line; take it out of the file", *file, key);
    }
    const CLI::Option* option = command.get_option_no_throw(name.front());
    if (option == nullptr) {
      fail(Kind::config, "{}: '{}': {}", *file, key, unknown_option(app, command, name.front()));
    }
    if (const auto [other, is_new] = keys.emplace(option, key); !is_new) {
      fail(Kind::config, "{}: '{}' and '{}' are one option; keep one of them", *file, other->second, key);
    }
    if (is_given(given, command, *option) || value.IsNull()) continue;
    if (option->get_expected_max() > 0) {
      // One word, so that a value may begin with a dash.
      const std::string text = value_text(value, key, *file);
      if (text.empty()) {
        fail(Kind::config, "{}: '{}' is empty; give a value, or leave the line out", *file, key);
      }
      added.push_back(name.front() + "=" + text);
      continue;
    }
    bool is_set = false;
    if (!YAML::convert<bool>::decode(value, is_set)) {
      fail(Kind::config, "{}: '{}' is a flag; give true or false", *file, key);
    }
    if (is_set) added.push_back(name.front());
    if (!is_set && is_turned_off_by_false(*option, name.front())) added.push_back(name.front() + "=false");
  }
  arguments.insert(std::ranges::find(arguments, "--"), added.begin(), added.end());
}

}  // namespace gneiss
