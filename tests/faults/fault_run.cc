#include "tests/faults/fault_run.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "tests/support/temporary_folder.h"

namespace gneiss::test {
namespace {

constexpr const char* seconds_to_hang = "120";

// The command with the library in front of it, told what to do.
Command disturbed(const Command& command, const std::filesystem::path& folder, const std::string& log,
                  std::vector<std::pair<const char*, std::string>> settings) {
  settings.insert(settings.end(), {{"LD_PRELOAD", GNEISS_FAULT_LIBRARY},
                                   {fault_folder_variable, std::filesystem::canonical(folder)},
                                   {fault_log_variable, log},
                                   {fault_seconds_variable, seconds_to_hang}});
  Command whole{"env"};
  for (const auto& [name, value] : settings) whole.push_back(fmt::format("{}={}", name, value));
  whole.insert(whole.end(), command.begin(), command.end());
  return whole;
}

std::string read_whole(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<RecordedOperation> parse_log(const std::string& log) {
  std::vector<RecordedOperation> operations;
  for (std::size_t at = 0; at < log.size();) {
    FaultRecord record;
    if (log.size() - at < sizeof(record)) throw std::runtime_error("a record of operations is cut short");
    std::memcpy(static_cast<void*>(&record), log.data() + at, sizeof(record));
    at += sizeof(record);
    const auto take = [&](std::uint64_t bytes) {
      if (log.size() - at < bytes) throw std::runtime_error("a record of operations is cut short");
      at += bytes;
      return log.substr(at - bytes, bytes);
    };
    RecordedOperation& operation = operations.emplace_back();
    operation.kind = record.kind;
    operation.is_done = record.error == 0;
    operation.is_new = record.is_new != 0;
    operation.is_emptied = record.is_emptied != 0;
    operation.offset = record.offset;
    operation.path = take(record.path_bytes);
    operation.second_path = take(record.second_path_bytes);
    operation.data = take(record.data_bytes);
  }
  return operations;
}

const char* mode_name(Fault::Mode mode) {
  switch (mode) {
    case Fault::Mode::kill:
      return "kill";
    case Fault::Mode::tear:
      return "tear";
    case Fault::Mode::after:
      return "after";
    case Fault::Mode::flip:
      return "flip";
    case Fault::Mode::lose:
      return "lose";
    case Fault::Mode::stall:
      return "stall";
    case Fault::Mode::fail:
      break;
  }
  return "fail";
}

}  // namespace

std::string describe(const RecordedOperation& operation) {
  static constexpr std::array<const char*, file_operation_count> names{
      "opening",       "creation",  "write to",   "reservation of",       "hole in", "new size of", "sync of",
      "write-back of", "rename of", "removal of", "making of the folder", "link to", "read of"};
  std::string text = fmt::format("{} {}", names.at(static_cast<std::size_t>(operation.kind)), operation.path);
  if (!operation.second_path.empty()) text += " to " + operation.second_path;
  if (operation.kind == FileOperation::write) text += fmt::format(" at {}", operation.offset);
  return text;
}

std::vector<RecordedOperation> record_operations(const std::filesystem::path& folder, const Command& command,
                                                 CommandResult& result) {
  const TemporaryFolder place;
  const std::string log = place / "log";
  result = run_command(disturbed(command, folder, log, {{fault_mode_variable, "record"}}));
  return parse_log(read_whole(log));
}

FaultedResult run_with_fault(const std::filesystem::path& folder, const Command& command,
                             const Fault& fault) {
  const TemporaryFolder place;
  const std::string log = place / "log";
  FaultedResult result;
  static_cast<CommandResult&>(result) =
      run_command(disturbed(command, folder, log,
                            {{fault_mode_variable, mode_name(fault.mode)},
                             {fault_at_variable, std::to_string(fault.at)},
                             {fault_kinds_variable, std::to_string(fault.kinds)},
                             {fault_bit_variable, std::to_string(fault.bit)},
                             {fault_stall_variable, std::to_string(fault.stall_ms)},
                             {fault_error_variable, std::to_string(fault.error)},
                             {fault_lasting_variable, fault.is_lasting ? "1" : "0"}}));
  const std::vector<RecordedOperation> struck = parse_log(read_whole(log));
  if (!struck.empty()) result.struck = describe(struck.front());
  return result;
}

}  // namespace gneiss::test
