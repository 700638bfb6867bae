// Runs a program with what it does to the files below a folder recorded, failed or cut short.
//
// How:     fault_preload.cc is loaded in front of the C library; the program is the one that is shipped.
// Threads: any; each call waits for its program.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tests/faults/fault_log.h"
#include "tests/support/run_command.h"

namespace gneiss::test {

using Command = std::vector<std::string>;

struct Fault {
  enum class Mode {
    kill,   // SIGKILL in place of the operation
    tear,   // the same, after the first half of a write
    after,  // SIGKILL as soon as it is done
    fail,
    flip,   // a write that is told as done, but one bit is another one
    lose,   // a write that is told as done and was not
    stall,  // the drive does nothing for a while
  };
  Mode mode = Mode::kill;
  std::uint64_t at = 0;  // which operation of those that count, from 1
  std::uint32_t kinds = changing_operations;
  std::uint64_t bit = 0;  // of flip: counted round
  int stall_ms = 0;       // of stall
  int error = 0;          // of fail: errno; 0: a write that does half, once
  bool is_lasting = false;
};

struct RecordedOperation {
  FileOperation kind{};
  bool is_done = false;
  bool is_new = false;  // create: the file was not there
  bool is_emptied = false;
  std::string path{};
  std::string second_path{};
  std::uint64_t offset = 0;
  std::string data{};
};

struct FaultedResult : CommandResult {
  std::string struck;  // "rename of /a to /b"; empty: the program ended before
};

// "write to /a/b at 4096".
std::string describe(const RecordedOperation& operation);

// Runs undisturbed, and records all operations below `folder` in their order.
//   result  what the command came to
std::vector<RecordedOperation> record_operations(const std::filesystem::path& folder, const Command& command,
                                                 CommandResult& result);
// A command that hangs ends by SIGALRM after two minutes: exit code 142.
FaultedResult run_with_fault(const std::filesystem::path& folder, const Command& command, const Fault& fault);

}  // namespace gneiss::test
