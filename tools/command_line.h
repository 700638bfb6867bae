// From argv to an exit code: what all subcommands share.
#pragma once

#include <string>
#include <vector>

namespace gneiss {

// Parses `arguments` (without the program's name), runs the subcommand they name and returns the exit
// code: 0 done, 2 wrong usage, 3 bad input, 4 damaged data, 5 device or system error, 130 interrupted.
// Never throws: a failure is one sentence on standard error.
int run_command_line(std::vector<std::string> arguments);

}  // namespace gneiss
