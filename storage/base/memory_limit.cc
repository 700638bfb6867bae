#include "storage/base/memory_limit.h"

#include <malloc.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

namespace gneiss {
namespace {

constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

// "MemAvailable:   123 kB" in /proc files.
std::uint64_t kib_field(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (line.compare(0, name.size(), name) == 0) {
      std::istringstream fields(line.substr(name.size() + 1));
      std::uint64_t kib = 0;
      fields >> kib;
      return kib * 1024;
    }
  }
  return 0;
}

struct SystemMemory {
  std::uint64_t total = 0;
  std::uint64_t free = 0;  // without what is cached: less than what is available
};

// Where /proc is not mounted.
SystemMemory system_memory() {
  struct sysinfo memory{};
  if (::sysinfo(&memory) != 0) return {};
  return {.total = std::uint64_t{memory.totalram} * memory.mem_unit,
          .free = (std::uint64_t{memory.freeram} + memory.bufferram) * memory.mem_unit};
}

std::uint64_t read_limit(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t bytes = 0;
  return file >> bytes ? bytes : unlimited;  // v2 says "max", v1 a number near 2^63
}

// The lowest limit from a group up to its root: each ancestor binds too.
std::uint64_t lowest_limit(const std::string& root, std::string group, const char* file) {
  std::uint64_t limit = unlimited;
  for (;;) {
    limit = std::min(limit, read_limit(root + group + "/" + file));
    const auto slash = group.rfind('/');
    if (slash == std::string::npos || group.empty()) return limit;
    group.resize(slash);
  }
}

}  // namespace

std::uint64_t control_group_limit(const std::string& root) {
  const std::string mounts = root + "/sys/fs/cgroup";
  std::uint64_t limit = kib_field(root + "/proc/meminfo", "MemTotal");
  if (limit == 0) limit = system_memory().total;
  std::ifstream groups(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(groups, line)) {  // "4:memory:/path" in v1, "0::/path" in v2
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1) == "/" ? "" : line.substr(second + 1);
    if (controllers == "memory") {
      limit = std::min(limit, lowest_limit(mounts + "/memory", group, "memory.limit_in_bytes"));
    } else if (controllers.empty()) {
      limit = std::min(limit, lowest_limit(mounts, group, "memory.max"));
      limit = std::min(limit, lowest_limit(mounts + "/unified", group, "memory.max"));
    }
  }
  return limit;
}

std::uint64_t default_memory_budget() {
  constexpr std::uint64_t program_bytes = 32ULL << 20;
  std::uint64_t available = kib_field("/proc/meminfo", "MemAvailable");
  if (available == 0) available = system_memory().free;
  available = available / 4 * 3;
  const std::uint64_t limit = control_group_limit();
  return std::min(available, limit > program_bytes ? limit - program_bytes : limit);
}

void keep_no_freed_buffers() {
  // Above the 0.4 to 0.7 MiB that oneDNN takes for each product: from the system, and back to it, these took
  // as long as the product itself (256 rows of 256 columns into 128: 62 GFLOP/s instead of 110).
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 20);
}

void give_back_freed_memory() { malloc_trim(0); }

std::uint64_t peak_resident_bytes() { return kib_field("/proc/self/status", "VmHWM"); }

}  // namespace gneiss
