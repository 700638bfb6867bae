// What is wrong with a command line, in one sentence that names what may have been meant.
#pragma once

#include <string>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace gneiss {

// CLI11 would take -1 as 2^64 - 1: an option that counts refuses it instead. After all are registered.
void refuse_negative_counts(CLI::App& app);

// For a command line that app.parse() refused with `error`.
std::string usage_sentence(const CLI::App& app, const CLI::ParseError& error);

}  // namespace gneiss
