#include "storage/format/verify.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "storage/base/units.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/output_files.h"
#include "tools/printable.h"
#include "tools/summary.h"

namespace gneiss {
namespace {

struct Arguments {
  std::string dataset;
  std::string preparation;
  std::string summary;
};

void print_report(const VerifyReport& report) {
  for (const VerifiedPart& part : report.parts) {
    const char* verdict = part.is_unread() ? "NOT READ: " : "DAMAGED: ";
    fmt::print("  {:<24}{:>12}  {}\n", printable(part.name), format_bytes(static_cast<double>(part.bytes)),
               part.damage.empty() ? "whole" : verdict + printable(part.damage));
  }
  const double bytes = static_cast<double>(report.bytes);
  fmt::print("{} verified in {}, {}/s\n", format_bytes(bytes), format_seconds(report.seconds),
             format_bytes(report.seconds > 0 ? bytes / report.seconds : 0));
  std::fflush(stdout);
}

nlohmann::json summarize(const Arguments& arguments, const VerifyReport& report) {
  nlohmann::json parts = nlohmann::json::array();
  for (const VerifiedPart& part : report.parts) {
    parts.push_back({{"name", part.name},
                     {"bytes", part.bytes},
                     {"damage", part.damage},
                     {"is_unread", part.is_unread()}});
  }
  return {{"command", "verify"},
          {"dataset", arguments.dataset},
          {"parts", std::move(parts)},
          {"damaged_parts", report.damaged_count()},
          {"unread_parts", report.unread_count()},
          {"bytes_read", report.bytes},
          {"bytes_per_second", report.seconds > 0 ? static_cast<double>(report.bytes) / report.seconds : 0},
          {"seconds", report.seconds}};
}

void run_verify(const Arguments& arguments) {
  check_outputs({{"--summary", arguments.summary}}, {.dataset = arguments.dataset});
  VerifyOptions options;
  if (!arguments.preparation.empty()) options.preparation = arguments.preparation;
  const VerifyReport report = verify_dataset(arguments.dataset, options);
  print_report(report);
  write_summary(arguments.summary, summarize(arguments, report));
  // Damage decides before what could not be read, and of each the first; all of it was printed above.
  const auto first = [&](auto is_so) { return std::ranges::find_if(report.parts, is_so)->damage; };
  const std::size_t damaged = report.damaged_count();
  const std::size_t unread = report.unread_count();
  if (damaged > 0) {
    fail(Kind::corruption, "{} of {} parts are damaged{}, the first: {}", damaged, report.parts.size(),
         unread > 0 ? fmt::format(" and {} could not be read", unread) : "",
         first(&VerifiedPart::is_damaged));
  }
  if (unread > 0) {
    fail(Kind::io, "{} of {} parts could not be read, the first: {}", unread, report.parts.size(),
         first(&VerifiedPart::is_unread));
  }
}

}  // namespace

void register_verify(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("verify", "Read all of a dataset and compare it with its checksums");
  add_dataset_option(*command, arguments->dataset);
  command
      ->add_option("--preparation", arguments->preparation,
                   "Only this preparation, and the dataset's own files")
      ->type_name("NAME");
  add_summary_option(*command, arguments->summary);
  command->callback([arguments] { run_verify(*arguments); });
}

}  // namespace gneiss
