// --config FILE: options from a YAML file, as if they stood on the command line; what stands there itself
// wins.
//
//   dataset: papers.gneiss     # the names of --help, `-` and `_` alike
//   fanout: [15, 10]
//   no_shuffle: true           # a flag: false leaves it out
//   shuffle: false             # one with two names, of which this is what it turns on: the same
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace gneiss {

// Takes --config FILE out of `arguments` (names normalised) and appends what the file adds for the subcommand
// they name. The config.yaml of a run is such a file, for train. Throws Error: input (no such file, not
// YAML), corruption (a run's file whose checksum does not fit), config (a second file; a key that is no
// option of the subcommand, names the nearest, or that stands twice; no value).
void expand_config(std::vector<std::string>& arguments, const CLI::App& app);

}  // namespace gneiss
