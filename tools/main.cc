#include <string>
#include <vector>

#include "storage/base/cancel.h"
#include "storage/base/memory_limit.h"
#include "storage/base/process.h"
#include "storage/io/stall_watch.h"
#include "tools/command_line.h"

int main(int argc, char** argv) {
  gneiss::settle_process();
  gneiss::keep_no_freed_buffers();
  gneiss::install_signal_handlers();
  const gneiss::StallWatch watch;
  return gneiss::run_command_line(std::vector<std::string>(argv + 1, argv + argc));
}
