// Runs a program as a user would: its exit code and all it printed; in a memory control group if asked.
//
// Threads: any; each call waits for its program.
// Errors:  std::runtime_error when the program cannot be started at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace gneiss::test {

struct CommandResult {
  int exit_code = 0;   // 128 + signal when a signal ended it
  std::string output;  // standard output and standard error, as they came
};

// The first argument is looked up in PATH when it has no slash. Standard input is empty.
CommandResult run_command(const std::vector<std::string>& arguments);

// A skipped test case "child: ..." of this very program, to be killed or capped without harm to the others.
//   folder  for it, in GNEISS_TEST_FOLDER
inline std::vector<std::string> child_command(const std::string& test_case,
                                              const std::filesystem::path& folder = {}) {
  return {"env", "GNEISS_TEST_FOLDER=" + folder.string(), std::filesystem::read_symlink("/proc/self/exe"),
          "--no-skip", "--test-case=child: " + test_case};
}

struct CappedResult : CommandResult {
  std::uint64_t peak_bytes = 0;  // the most the group ever held, page cache included
};

// Runs under `limit_bytes` of memory, page cache included; see memory_cap.sh. Nothing where no control group
// can be made: then SKIP_TEST. A program that the cap kills has exit code 137.
//   cold  files or folders that are dropped from the page cache first
std::optional<CappedResult> run_with_memory_cap(std::uint64_t limit_bytes,
                                                const std::vector<std::string>& arguments,
                                                const std::vector<std::string>& cold = {});

}  // namespace gneiss::test
