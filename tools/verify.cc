#include "storage/format/verify.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "storage/base/units.h"
#include "tools/commands.h"
#include "tools/options.h"
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
    const char* verdict = part.kind == Kind::io ? "NOT READ: " : "DAMAGED: ";
    fmt::print("  {:<24}{:>12}  {}\n", part.name, format_bytes(static_cast<double>(part.bytes)),
               part.damage.empty() ? "whole" : verdict + part.damage);
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
                     {"is_unread", part.kind == Kind::io}});
  }
  return {{"command", "verify"},
          {"dataset", arguments.dataset},
          {"parts", std::move(parts)},
          {"damaged_parts", report.damaged_count()},
          {"bytes_read", report.bytes},
          {"bytes_per_second", report.seconds > 0 ? static_cast<double>(report.bytes) / report.seconds : 0},
          {"seconds", report.seconds}};
}

void run_verify(const Arguments& arguments) {
  VerifyOptions options;
  if (!arguments.preparation.empty()) options.preparation = arguments.preparation;
  const VerifyReport report = verify_dataset(arguments.dataset, options);
  print_report(report);
  write_summary(arguments.summary, summarize(arguments, report));
  // Damage decides before what could not be read, and of each the first; all of it was printed above.
  const VerifiedPart* worst = nullptr;
  for (const VerifiedPart& part : report.parts) {
    if (part.damage.empty()) continue;
    if (worst == nullptr || (worst->kind == Kind::io && part.kind != Kind::io)) worst = &part;
  }
  if (worst == nullptr) return;
  const bool is_unread = worst->kind == Kind::io;
  const bool is_any_unread =
      std::ranges::any_of(report.parts, [](const VerifiedPart& part) { return part.kind == Kind::io; });
  fail(is_unread ? Kind::io : Kind::corruption, "{} of {} parts {}, the first: {}", report.damaged_count(),
       report.parts.size(),
       is_unread       ? "could not be read"
       : is_any_unread ? "are damaged or could not be read"
                       : "are damaged",
       worst->damage);
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
