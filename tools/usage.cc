#include "tools/usage.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace gneiss {
namespace {

// Levenshtein's: how many letters to insert, drop or change.
std::size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < from.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < to.size(); ++j) {
      const std::size_t change = diagonal + (from[i] == to[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({change, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

// The name closest to `given`, if it is close: two letters, or one in three of a long name.
std::optional<std::string> nearest(std::string_view given, const std::vector<std::string>& names) {
  std::optional<std::string> best;
  std::size_t best_distance = std::max<std::size_t>(2, given.size() / 3) + 1;
  for (const std::string& name : names) {
    const std::size_t distance = edit_distance(given, name);
    if (distance < best_distance) {
      best = name;
      best_distance = distance;
    }
  }
  return best;
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

std::string did_you_mean(std::string_view given, const std::vector<std::string>& names,
                         const std::string& command) {
  const auto name = nearest(given, names);
  return name ? fmt::format("did you mean {}?", *name) : fmt::format("see '{} --help'", command);
}

// "gneiss bench io"
std::string full_name(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return parent == nullptr ? "gneiss" : full_name(*parent) + " " + command.get_name();
}

// What a sentence begins with: report() says "gneiss: " already.
std::string subject_of(const CLI::App& command) {
  return command.get_parent() == nullptr ? "it"
                                         : full_name(command).substr(std::string_view("gneiss ").size());
}

}  // namespace

const CLI::App& named_command(const CLI::App& app, const std::vector<std::string>& arguments) {
  const CLI::App* command = &app;
  for (const std::string& argument : arguments) {
    const auto below = commands_of(*command);
    if (below.empty()) break;
    const auto found =
        std::ranges::find(below, argument, [](const CLI::App* each) { return each->get_name(); });
    if (found != below.end()) command = *found;
  }
  return *command;
}

std::string unknown_option(const CLI::App& app, const CLI::App& command, const std::string& given) {
  const std::string subject = subject_of(command);
  const std::string name = given.substr(0, given.find('='));
  for (const CLI::App* other : commands_of(app)) {
    const auto names = option_names(*other);
    if (other != &command && std::ranges::find(names, name) != names.end()) {
      return fmt::format("{} has no option {}; it belongs to 'gneiss {}'", subject, name, other->get_name());
    }
  }
  auto names = option_names(command);
  if (&command != &app) std::ranges::copy(option_names(app), std::back_inserter(names));
  return fmt::format("{} has no option {}; {}", subject, name, did_you_mean(name, names, full_name(command)));
}

std::string usage_sentence(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  const std::string called = full_name(*command);
  const std::string subject = subject_of(*command);
  const auto unknown = app.remaining(true);
  // The option that is not known explains the value after it, which then stands alone.
  const auto option =
      std::ranges::find_if(unknown, [](const std::string& text) { return text.starts_with('-'); });
  if (option != unknown.end()) return unknown_option(app, *command, *option);
  std::vector<std::string> names;
  for (const CLI::App* each : commands_of(*command)) names.push_back(each->get_name());
  if (!names.empty() && !unknown.empty()) {
    return fmt::format("{} has no command '{}'; {}", subject, unknown.front(),
                       did_you_mean(unknown.front(), names, called));
  }
  if (!names.empty() && dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
    return fmt::format("{} needs a command: {}", subject, fmt::join(names, ", "));
  }
  if (!unknown.empty()) {
    const auto missing = command->get_options(
        [](const CLI::Option* each) { return each->get_required() && each->count() == 0; });
    const std::string advice =
        missing.empty() ? fmt::format("see '{} --help'", called)
                        : fmt::format("did you mean {} {}?", missing.front()->get_name(), unknown.front());
    return fmt::format("{} does not know what to do with '{}'; {}", subject, unknown.front(), advice);
  }
  std::string what = error.what();
  constexpr std::string_view conversion = "Could not convert: ";
  if (what.starts_with(conversion)) what = what.substr(conversion.size()) + " is not such a value";
  return fmt::format("{}; see '{} --help'", what, called);
}

}  // namespace gneiss
