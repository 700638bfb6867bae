#include <CLI/CLI.hpp>

#include "tools/commands.h"

namespace gneiss {

void register_bench(CLI::App& app) {
  CLI::App* bench = app.add_subcommand("bench", "Measure the machine: what a training run can hope for");
  bench->require_subcommand(1);
  register_bench_io(*bench);
}

}  // namespace gneiss
