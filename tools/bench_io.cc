#include <CLI/CLI.hpp>

#include "tools/commands.h"

namespace gneiss {

void register_bench_io(CLI::App& bench) {
  bench.add_subcommand("io", "Measure a drive: throughput, latency and processor time per engine");
}

}  // namespace gneiss
