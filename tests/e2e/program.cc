#include "tests/e2e/program.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "tests/support/temporary_folder.h"

namespace gneiss::test {
namespace {

std::vector<char*> to_argv(const Arguments& arguments) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  return argv;
}

Arguments command_line(Arguments arguments) {
  arguments.insert(arguments.begin(), program());
  return arguments;
}

int code_of(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

}  // namespace

std::string program() { return GNEISS_PROGRAM; }

CommandResult gneiss(Arguments arguments) { return run_command(command_line(std::move(arguments))); }

std::string expect_done(const Arguments& arguments) {
  const CommandResult result = gneiss(arguments);
  CHECK_MESSAGE(result.exit_code == 0, result.output);
  return result.output;
}

std::string expect_refused(const Arguments& arguments, int exit_code, const std::string& part) {
  const CommandResult result = gneiss(arguments);
  CHECK_MESSAGE(result.exit_code == exit_code, result.output);
  const std::size_t start = result.output.rfind("gneiss: ");
  REQUIRE_MESSAGE(start != std::string::npos, result.output);
  const std::string sentence = result.output.substr(start);
  CHECK_MESSAGE(sentence.find(part) != std::string::npos, sentence);
  // One line, and the last one.
  CHECK_MESSAGE(sentence.find('\n') == sentence.size() - 1, sentence);
  return sentence;
}

CommandResult signal_when(const Arguments& arguments, int signal, const std::function<bool()>& when) {
  const TemporaryFolder folder;
  const std::string output = folder / "output";
  const Arguments words = command_line(arguments);
  const auto argv = to_argv(words);
  const ::pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("no process");
  if (child == 0) {
    const int file = ::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(file, STDOUT_FILENO);
    ::dup2(file, STDERR_FILENO);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  int status = 0;
  bool ended = false;
  while (!ended && !when()) {
    ended = ::waitpid(child, &status, WNOHANG) == child;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  if (!ended) {
    ::kill(child, signal);
    ::waitpid(child, &status, 0);
  }
  std::ifstream file(output);
  return {code_of(status), std::string(std::istreambuf_iterator<char>(file), {})};
}

std::function<bool()> after(std::chrono::milliseconds delay) {
  using Clock = std::chrono::steady_clock;
  // The clock starts with the first question, that is with the program.
  return [delay, end = std::optional<Clock::time_point>()]() mutable {
    if (!end) end = Clock::now() + delay;
    return Clock::now() >= *end;
  };
}

CommandResult on_terminal(const Arguments& arguments, unsigned short columns) {
  const Arguments words = command_line(arguments);
  const auto argv = to_argv(words);
  const winsize size{.ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
  int terminal = -1;
  const ::pid_t child = ::forkpty(&terminal, nullptr, nullptr, &size);
  if (child < 0) throw std::runtime_error("no terminal");
  if (child == 0) {
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  CommandResult result;
  std::array<char, 4096> piece{};
  for (;;) {
    const ::ssize_t bytes = ::read(terminal, piece.data(), piece.size());
    if (bytes <= 0) break;  // EIO when the program ends
    result.output.append(piece.data(), static_cast<std::size_t>(bytes));
  }
  ::close(terminal);
  int status = 0;
  ::waitpid(child, &status, 0);
  result.exit_code = code_of(status);
  return result;
}

void make_small_dataset(const std::filesystem::path& folder) {
  expect_done({"generate", folder, "--nodes", "3000", "--features", "24", "--classes", "6", "--train-share",
               "0.2", "--valid-share", "0.1", "--test-share", "0.1", "--seed", "3"});
  expect_done({"prepare", "--dataset", folder, "--name", "P", "--fanout", "5,5", "--batch-size", "100",
               "--cpu-cache", "20KiB"});
}

std::vector<std::string> tree(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string name = std::filesystem::relative(entry.path(), folder);
    if (name.find("catalog/") == std::string::npos) names.push_back(name);  // its files are RocksDB's own
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace gneiss::test
