#include "tools/machine.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "storage/base/memory_limit.h"
#include "storage/base/parallel.h"
#include "storage/base/units.h"

namespace gneiss {
namespace {

#ifdef GNEISS_SANITIZED
constexpr std::string_view build = GNEISS_BUILD_TYPE " build WITH SANITIZERS: its numbers mean little";
#else
constexpr std::string_view build = GNEISS_BUILD_TYPE " build";
#endif

std::string system_name() {
  utsname system{};
  ::uname(&system);
  return fmt::format("{} {}", system.sysname, system.release);
}

std::string memory_limit() { return format_bytes(static_cast<double>(control_group_limit())); }

std::string processor_name() {
  std::ifstream lines("/proc/cpuinfo");
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("model name")) return line.substr(std::min(line.size(), line.find(':') + 2));
  }
  return "unknown";
}

}  // namespace

std::string describe_machine() {
  return fmt::format("{}, {} cores, memory limit {}, {}", system_name(), available_cores(), memory_limit(),
                     build);
}

nlohmann::json machine_json() {
  return {{"processor", processor_name()},
          {"system", system_name()},
          {"cores", std::to_string(available_cores())},
          {"memory_limit", memory_limit()},
          {"gneiss", fmt::format("{}, {}", GNEISS_VERSION, build)}};
}

}  // namespace gneiss
