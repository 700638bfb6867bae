// The subcommands of `gneiss`: a file each, named after its command.
//
// A register_*() adds one subcommand with its options to `app` and a callback that does the work. Options
// are written with '-' (the user may write '_'), their help names unit and default, and every failure is
// thrown as gneiss::Error: run_command_line() turns it into one sentence and an exit code.
#pragma once

namespace CLI {
class App;
}

namespace gneiss {

void register_generate(CLI::App& app);
void register_import(CLI::App& app);
void register_info(CLI::App& app);
void register_prepare(CLI::App& app);
void register_train(CLI::App& app);
void register_infer(CLI::App& app);
void register_report(CLI::App& app);
void register_inspect(CLI::App& app);
void register_verify(CLI::App& app);
void register_bench(CLI::App& app);  // the parent of the benchmarks below

void register_bench_io(CLI::App& bench);

}  // namespace gneiss
