#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "storage/io/file.h"
#include "tools/commands.h"
#include "tools/output_files.h"
#include "tools/report/page.h"
#include "tools/run_folder.h"

namespace gneiss {
namespace {

struct ReportCommand {
  std::string run;
  std::string out;
  std::string trace;
};

void run(const ReportCommand& command) {
  check_outputs({{"--out", command.out}}, {.run = command.run, .inputs = {{"--trace", command.trace}}});
  const RunRecord record = RunRecord::read(command.run, command.trace);
  const std::filesystem::path own = record.folder / report_file_name;
  if (command.out.empty()) {
    replace_file(own, make_report_page(record));
  } else {
    write_text_file(command.out, make_report_page(record));
  }
  fmt::print("Report: {}\n", command.out.empty() ? own.string() : command.out);
}

}  // namespace

void register_report(CLI::App& app) {
  auto* sub =
      app.add_subcommand("report", "Show a training run as one page: curves, time, tiers, timeline, options");
  const auto command = std::make_shared<ReportCommand>();
  sub->add_option("RUN,--run", command->run, "Folder of the run, as 'gneiss train' printed it")
      ->type_name("DIR")
      ->required();
  sub->add_option("--out", command->out, "The page; default: report.html in the run's folder")
      ->type_name("FILE");
  sub->add_option("--trace", command->trace,
                  "Timeline of 'gneiss train --trace' to show batches of; default: what the run has kept")
      ->type_name("FILE");
  sub->callback([command] { run(*command); });
}

}  // namespace gneiss
