// How --help looks: an option, what it takes, and beside it what it means, wrapped to the terminal's width.
#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <string>

namespace gneiss {

class HelpFormat : public CLI::Formatter {
 public:
  // columns  the width of a line; below 60 what an option means stands under it
  explicit HelpFormat(std::size_t columns) : columns_(columns) {}

  std::string make_description(const CLI::App* app) const override;
  std::string make_option(const CLI::Option* option, bool is_positional) const override;
  std::string make_subcommand(const CLI::App* command) const override;

 private:
  std::string entry(const std::string& name, const std::string& meaning) const;

  std::size_t columns_;
};

// Of standard output if that is a terminal, else 100; at most 120, which the eye still follows.
std::size_t help_columns();

}  // namespace gneiss
