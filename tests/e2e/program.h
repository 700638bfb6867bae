// The program `gneiss` as a user has it: run, started and signalled, on a terminal or without.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "tests/support/run_command.h"

namespace gneiss::test {

using Arguments = std::vector<std::string>;

std::string program();  // the path of the binary just built
CommandResult gneiss(Arguments arguments);
// The same, and a failure fails the test with its output.
std::string expect_done(const Arguments& arguments);
// Expects this exit code and one sentence that contains `part`; returns the sentence.
std::string expect_refused(const Arguments& arguments, int exit_code, const std::string& part);

// Starts the program and sends `signal` as soon as `when` holds (asked every few ms), unless it ended before.
CommandResult signal_when(const Arguments& arguments, int signal, const std::function<bool()>& when);
// `when`: so long after the start.
std::function<bool()> after(std::chrono::milliseconds delay);

// On a terminal so many columns wide; the output as the terminal got it.
CommandResult on_terminal(const Arguments& arguments, unsigned short columns);

// A dataset of 3,000 nodes that can be learned, with a preparation "P".
void make_small_dataset(const std::filesystem::path& folder);

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Names of all entries below a folder, sorted: what a command left behind.
std::vector<std::string> tree(const std::filesystem::path& folder);

}  // namespace gneiss::test
