#include "tests/support/run_command.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <stdexcept>

#include "tests/support/temporary_folder.h"

namespace gneiss::test {

CommandResult run_command(const std::vector<std::string>& arguments) {
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  // exec takes char* for C's sake and does not write.
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);

  std::array<int, 2> pipe_ends{};
  if (::pipe2(pipe_ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  const int empty = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const ::pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("no process for " + arguments.at(0));
  if (child == 0) {
    ::dup2(empty, STDIN_FILENO);
    ::dup2(pipe_ends[1], STDOUT_FILENO);
    ::dup2(pipe_ends[1], STDERR_FILENO);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(empty);
  ::close(pipe_ends[1]);

  CommandResult result;
  std::array<char, 4096> piece{};
  for (;;) {
    const ::ssize_t bytes = ::read(pipe_ends[0], piece.data(), piece.size());
    if (bytes > 0) result.output.append(piece.data(), static_cast<std::size_t>(bytes));
    if (bytes == 0 || (bytes < 0 && errno != EINTR)) break;
  }
  ::close(pipe_ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  result.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  if (result.exit_code == 127) throw std::runtime_error(arguments.at(0) + " cannot be started");
  return result;
}

std::optional<CappedResult> run_with_memory_cap(std::uint64_t limit_bytes,
                                                const std::vector<std::string>& arguments,
                                                const std::vector<std::string>& cold) {
  const TemporaryFolder folder;
  const std::string peak_file = folder / "peak";
  std::vector<std::string> capped = {GNEISS_SOURCE_FOLDER "/tests/support/memory_cap.sh", "--peak",
                                     peak_file};
  for (const std::string& path : cold) {
    capped.emplace_back("--cold");
    capped.push_back(path);
  }
  capped.push_back(std::to_string(limit_bytes));
  capped.insert(capped.end(), arguments.begin(), arguments.end());
  CappedResult result{run_command(capped), 0};
  if (result.exit_code == 77 && result.output.find("SKIPPED: ") != std::string::npos) return std::nullopt;
  std::ifstream(peak_file) >> result.peak_bytes;
  return result;
}

}  // namespace gneiss::test
