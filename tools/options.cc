#include "tools/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <system_error>

#include "storage/base/error.h"
#include "storage/base/memory_limit.h"
#include "storage/base/parallel.h"
#include "storage/base/units.h"

namespace gneiss {
namespace {

[[noreturn]] void refuse_budget(std::uint64_t budget_bytes, std::uint64_t least_bytes) {
  fail(Kind::config, "--memory {} is too little; {} would do",
       format_bytes(static_cast<double>(budget_bytes)), format_bytes_up(least_bytes));
}

}  // namespace

CLI::Option* add_bytes_option(CLI::App& command, const char* name, std::uint64_t& bytes, const char* help) {
  CLI::Option* option = command.add_option_function<std::string>(
      name, [&bytes, name](const std::string& text) { bytes = parse_bytes(text, name); }, help);
  option->type_name("SIZE");
  if (bytes > 0) option->default_str(format_bytes(static_cast<double>(bytes)));
  return option;
}

void add_memory_option(CLI::App& command, std::uint64_t& bytes) {
  add_bytes_option(
      command, "--memory", bytes,
      "Bound on all that is allocated, such as 8GiB; default: 75 % of what is available, within the "
      "control group's limit")
      ->check([](const std::string& text) {
        return parse_bytes(text, "--memory") > 0 ? std::string() : "leave it out for the default";
      });
}

std::uint64_t memory_budget(std::uint64_t given_bytes, std::uint64_t least_bytes) {
  if (given_bytes > 0 && given_bytes < least_bytes) refuse_budget(given_bytes, least_bytes);
  return given_bytes > 0 ? given_bytes : default_memory_budget();
}

std::uint64_t import_memory_budget(std::uint64_t given_bytes, std::uint64_t held_bytes) {
  // The program, its buffers and the catalog's, however small the graph. Where splits are many, the edges'
  // buffers are gone when the catalog takes them, and the program alone is there besides.
  constexpr std::uint64_t least = std::uint64_t{48} << 20;
  constexpr std::uint64_t program = std::uint64_t{32} << 20;
  const std::uint64_t least_bytes = std::max(least, program + held_bytes);
  const std::uint64_t budget = memory_budget(given_bytes, least_bytes);
  if (budget < held_bytes) refuse_budget(budget, least_bytes);
  return budget;
}

void add_threads_option(CLI::App& command, std::size_t& threads) {
  threads = available_cores();
  command.add_option("--threads", threads, "Threads that compute; readers mostly sleep and are not counted")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1024}))
      ->capture_default_str();
}

void add_output_file_option(CLI::App& command, const char* name, std::string& path, const char* help) {
  command.add_option(name, path, help)->type_name("FILE")->check([](const std::string& text) {
    const std::filesystem::path folder = std::filesystem::path(text).parent_path();
    std::error_code ignored;
    std::error_code error;
    if (std::filesystem::is_directory(text, error)) return text + " is a folder; give a file";
    if (error == std::errc::filename_too_long || error == std::errc::too_many_symbolic_link_levels)
      return text + " cannot be a file: " + error.message();
    if (folder.empty() || std::filesystem::is_directory(folder, ignored)) return std::string();
    return "the folder " + folder.string() + " does not exist; create it first";
  });
}

void add_dataset_option(CLI::App& command, std::string& path) {
  command
      .add_option("--dataset", path, "The dataset's folder, as 'gneiss import' or 'gneiss generate' made it")
      ->type_name("DIR")
      ->required();
}

}  // namespace gneiss
