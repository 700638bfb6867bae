// What is wrong with a command line, in one sentence that names what may have been meant.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace gneiss {

// The subcommand that `arguments` begin with, of a subcommand too ("bench io"); `app` itself where there is
// none.
const CLI::App& named_command(const CLI::App& app, const std::vector<std::string>& arguments);

// Why the option `given` ("--datset") is none of `command`'s: "train has no option --datset; did you mean
// --dataset?"
std::string unknown_option(const CLI::App& app, const CLI::App& command, const std::string& given);

// For a command line that app.parse() refused with `error`.
std::string usage_sentence(const CLI::App& app, const CLI::ParseError& error);

}  // namespace gneiss
