// --config FILE: options from a YAML file, as if they stood on the command line; what stands there itself
// wins.
//
//   dataset: papers.gneiss     # the names of --help, `-` and `_` alike
//   fanout: [15, 10]
//   no_shuffle: true           # a flag: false leaves it out
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace gneiss {

// Takes --config FILE out of `arguments` (names normalised) and appends what the file adds for the subcommand
// they name. The config.yaml of a run is such a file, for train. Throws Error: input (no such file, not
// YAML), config (a key that is no option of the subcommand; names the nearest).
void expand_config(std::vector<std::string>& arguments, const CLI::App& app);

}  // namespace gneiss
