#include "tools/command_line.h"

#include <fmt/format.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <filesystem>
#include <memory>
#include <new>
#include <string_view>
#include <system_error>

#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/progress.h"
#include "tools/commands.h"
#include "tools/config_file.h"
#include "tools/help_format.h"
#include "tools/option_names.h"
#include "tools/option_values.h"
#include "tools/printable.h"
#include "tools/usage.h"

namespace gneiss {
namespace {

constexpr int exit_usage = 2;
constexpr int exit_input = 3;
constexpr int exit_system = 5;

// The text of a log's line, which may name other people's files.
class PrintableText : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& line, const std::tm& /*time*/,
              spdlog::memory_buf_t& target) override {
    const std::string text = printable({line.payload.data(), line.payload.size()});
    target.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<PrintableText>(); }
};

// Results go to standard output, all else to standard error, so that a pipe holds results only.
void send_log_to_standard_error() {
  if (spdlog::get("gneiss")) return;
  spdlog::set_default_logger(spdlog::stderr_color_mt("gneiss"));
  auto lines = std::make_unique<spdlog::pattern_formatter>();
  lines->add_flag<PrintableText>('v').set_pattern("%^%l%$: %v");
  spdlog::set_formatter(std::move(lines));
}

void report(std::string_view sentence) noexcept {
  std::fflush(stdout);  // what was done so far comes before why it ended
  try {
    const std::string line = "gneiss: " + printable(sentence) + "\n";
    std::fwrite(line.data(), 1, line.size(), stderr);
  } catch (const std::bad_alloc&) {
    std::fputs("gneiss: there is not even memory to say why it ended\n", stderr);
  }
}

// What the standard library met at a path, said as we say it.
int report_path(const std::filesystem::filesystem_error& error) noexcept {
  const std::error_code& code = error.code();
  const bool is_too_long = code == std::errc::filename_too_long;
  const bool is_a_circle = code == std::errc::too_many_symbolic_link_levels;
  std::string_view remedy;
  if (is_too_long) remedy = "; give a shorter one";
  if (is_a_circle) remedy = "; its links lead in a circle: put what is meant in their place";
  try {
    report(fmt::format("{}: {}{}", error.path1().string(), std::generic_category().message(code.value()),
                       remedy));
  } catch (const std::exception&) {
    report(error.what());
  }
  return is_too_long || is_a_circle ? exit_input : exit_system;
}

int parse_and_run(std::vector<std::string> arguments) {
  CLI::App app("Out-of-core training of graph neural networks: features larger than memory, from an SSD.",
               "gneiss");
  app.formatter(std::make_shared<HelpFormat>(help_columns()));  // subcommands inherit it
  app.set_version_flag("--version", "gneiss " GNEISS_VERSION);
  app.require_subcommand(1);
  app.fallthrough();  // the flags below may also follow the subcommand
  app.add_flag_callback("--quiet", [] { Progress::set_quiet(true); }, "Show no progress");
  app.add_flag_callback(
      "--verbose", [] { spdlog::set_level(spdlog::level::debug); }, "Log what only a developer asks");
  register_generate(app);
  register_import(app);
  register_info(app);
  register_prepare(app);
  register_train(app);
  register_infer(app);
  register_report(app);
  register_inspect(app);
  register_verify(app);
  register_bench(app);

  app.add_option("--config", "Options from one YAML file, by their names; the command line wins")
      ->type_name("FILE");
  take_decimal_numbers(app);
  expand_config(arguments, app);
  refuse_wrong_values(arguments, app);
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes its vector last argument first
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // help and version
    report(usage_sentence(app, error));
    return exit_usage;
  }
  return 0;
}

}  // namespace

int run_command_line(std::vector<std::string> arguments) {
  try {
    send_log_to_standard_error();
    normalise_option_names(arguments);
    const int code = parse_and_run(std::move(arguments));
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
      report("standard output could not be written; is the disk full?");
      return exit_system;
    }
    return code;
  } catch (const Error& error) {
    report(error.what());
    return exit_code(error.kind());
  } catch (const std::bad_alloc&) {
    report("the system refused memory; close other programs or give a smaller --memory");
  } catch (const std::filesystem::filesystem_error& error) {
    return report_path(error);
  } catch (const std::system_error& error) {
    const bool is_of_threads = error.code() == std::errc::resource_unavailable_try_again;
    report(is_of_threads
               ? "the system gives no more threads (ulimit -u, or pids.max of a control group); give a "
                 "smaller --threads, or close other programs"
               : error.what());
  } catch (const std::exception& error) {
    report(error.what());
  }
  return exit_system;
}

}  // namespace gneiss
