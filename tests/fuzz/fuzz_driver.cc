// libFuzzer's side: one program for all targets, `gneiss_fuzz --target=NAME [libFuzzer's options] FOLDER`.
//
// `--list` prints the names; `--seeds=FOLDER` writes the target's seeds there. libFuzzer passes over options
// that begin with two dashes.
#include <spdlog/spdlog.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "storage/base/progress.h"
#include "tests/fuzz/fuzz_target.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

const FuzzTarget* chosen = nullptr;

void choose(std::string_view name) {
  for (const FuzzTarget* target : fuzz_targets()) {
    if (target->name == name) chosen = target;
  }
}

}  // namespace

extern "C" {

std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t size_max);

// Undefined behaviour is a finding, not a remark.
const char* __ubsan_default_options() { return "halt_on_error=1:print_stacktrace=1"; }

int LLVMFuzzerInitialize(const int* argument_count, char*** arguments) {
  std::string seeds;
  for (int i = 1; i < *argument_count; ++i) {
    const std::string_view argument = (*arguments)[i];
    if (argument == "--list") {
      for (const FuzzTarget* target : fuzz_targets()) std::printf("%s\n", target->name);
      std::exit(0);
    }
    if (argument.starts_with("--target=")) choose(argument.substr(9));
    if (argument.starts_with("--seeds=")) seeds = argument.substr(8);
  }
  if (chosen == nullptr) {
    std::fprintf(stderr, "gneiss_fuzz: --target=NAME is missing, or no target's name; see --list\n");
    std::exit(2);
  }
  spdlog::set_level(spdlog::level::off);
  Progress::set_quiet(true);
  if (seeds.empty()) return 0;
  std::size_t number = 0;
  for (const std::string& seed : chosen->seeds())
    put_file(std::filesystem::path(seeds) / ("seed-" + std::to_string(number++)), seed);
  std::exit(0);
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  attempt([&] { chosen->run({reinterpret_cast<const char*>(data), size}); });
  return 0;
}

std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t size_max,
                                    unsigned int seed) {
  return change_input(*chosen, {data, size_max}, size, seed, LLVMFuzzerMutate);
}
}
