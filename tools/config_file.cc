#include "tools/config_file.h"

#include <yaml-cpp/yaml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <optional>

#include "storage/base/error.h"
#include "storage/io/file.h"
#include "tools/option_names.h"
#include "tools/usage.h"

namespace gneiss {
namespace {

// The file's name, taken out of the arguments.
std::optional<std::string> take_config(std::vector<std::string>& arguments) {
  const auto end = std::ranges::find(arguments, "--");
  for (auto at = arguments.begin(); at != end; ++at) {
    if (at->starts_with("--config=")) {
      std::string file = at->substr(std::string("--config=").size());
      arguments.erase(at);
      return file;
    }
    if (*at != "--config") continue;
    if (at + 1 == end) fail(Kind::config, "--config needs the name of a YAML file");
    std::string file = *(at + 1);
    arguments.erase(at, at + 2);
    return file;
  }
  return std::nullopt;
}

bool is_given(const std::vector<std::string>& arguments, const std::string& name) {
  return std::ranges::any_of(arguments, [&](const std::string& argument) {
    return argument == name || argument.starts_with(name + "=");
  });
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
  std::vector<std::string> added;
  for (const auto& entry : root) {
    if (!entry.first.IsScalar()) fail(Kind::input, "{}: a key is not a name", *file);
    const std::string& key = entry.first.Scalar();
    const YAML::Node& value = entry.second;
    std::vector<std::string> name{"--" + key};
    normalise_option_names(name);
    const CLI::Option* option = command.get_option_no_throw(name.front());
    if (option == nullptr || name.front() == "--config") {
      fail(Kind::config, "{}: '{}': {}", *file, key, unknown_option(app, command, name.front()));
    }
    if (is_given(arguments, name.front()) || value.IsNull()) continue;
    if (option->get_expected_max() > 0) {
      // One word, so that a value may begin with a dash.
      added.push_back(name.front() + "=" + value_text(value, key, *file));
      continue;
    }
    bool is_set = false;
    if (!YAML::convert<bool>::decode(value, is_set)) {
      fail(Kind::config, "{}: '{}' is a flag; give true or false", *file, key);
    }
    if (is_set) added.push_back(name.front());
  }
  arguments.insert(std::ranges::find(arguments, "--"), added.begin(), added.end());
}

}  // namespace gneiss
