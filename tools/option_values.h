// What the words of a command line give to which option, and what no option takes for a value.
//
// Why: CLI11 hands an option without a value the next option's name, reads "" as 0 and 010 as 8, and takes
//      what is too large as the largest. Here it is said once, for all options of all commands.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
class Validator;
}  // namespace CLI

namespace gneiss {

struct GivenWord {
  const CLI::Option* option = nullptr;  // nullptr: a word that stands alone, or an option that is not known
  std::string word;                     // the option's name as it was given, or the word
  std::optional<std::string> value{};   // with `=` or after it
  bool is_joined = false;               // with `=`
};

// `arguments` with names normalised. What follows "--" stands alone.
std::vector<GivenWord> given_words(const std::vector<std::string>& arguments, const CLI::App& app);

// Throws Error(config) for an option whose value is missing, is empty or is another option's name, and for
// one of a single value that is given twice.
void refuse_wrong_values(const std::vector<std::string>& arguments, const CLI::App& app);

// Numbers are decimal, leading zeros or not: 010 is ten, 0x10 is refused, and so is what 64 bits do not hold
// or, of a count, what is below 0. For options whose type is shown as something else.
CLI::Validator decimal_integers();
// The same for every option of `app` and its commands that takes numbers. After all are registered.
void take_decimal_numbers(CLI::App& app);

}  // namespace gneiss
