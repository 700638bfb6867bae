// While it lives, no file of this process may grow beyond a limit: a full disk, where no disk can be filled.
#pragma once

#include <sys/resource.h>

#include <csignal>
#include <cstdint>

namespace gneiss::test {

class FileSizeLimit {
 public:
  explicit FileSizeLimit(std::uint64_t bytes) {
    previous_handler_ = std::signal(SIGXFSZ, SIG_IGN);  // so that write() fails with EFBIG instead
    ::getrlimit(RLIMIT_FSIZE, &previous_);
    const rlimit limit{bytes, previous_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &previous_);
    std::signal(SIGXFSZ, previous_handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  void (*previous_handler_)(int) = SIG_DFL;
  rlimit previous_{};
};

}  // namespace gneiss::test
