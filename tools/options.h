// Options that several subcommands share, with one wording and one meaning.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace gneiss {

// A size with a unit ("512MiB"); the default is shown in --help as people write sizes.
CLI::Option* add_bytes_option(CLI::App& command, const char* name, std::uint64_t& bytes, const char* help);

// --memory SIZE: left 0 when not given; resolve with memory_budget().
void add_memory_option(CLI::App& command, std::uint64_t& bytes);
// Given, or the default for this machine and group. Throws Error(config) when less than `least_bytes` is
// given.
std::uint64_t memory_budget(std::uint64_t given_bytes, std::uint64_t least_bytes = 0);
// The same for import and generate, of which `held_bytes` are for splits and marks of nodes. Throws also
// where these alone are more than the default.
std::uint64_t import_memory_budget(std::uint64_t given_bytes, std::uint64_t held_bytes);

// --threads N: default all available cores.
void add_threads_option(CLI::App& command, std::size_t& threads);

// A file to write; a folder that does not exist is refused before the work starts. `path` is left empty when
// not given.
void add_output_file_option(CLI::App& command, const char* name, std::string& path, const char* help);

// --dataset DIR, required.
void add_dataset_option(CLI::App& command, std::string& path);

}  // namespace gneiss
