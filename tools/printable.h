// Text of other people's files, and names of any bytes, for a terminal.
//
// Why: a file's name may hold what moves a cursor, renames a window or hides what was printed before.
#pragma once

#include <string>
#include <string_view>

namespace gneiss {

// The text with its control characters, and bytes that are no UTF-8, written as \x1b; all else as it is.
std::string printable(std::string_view text);

}  // namespace gneiss
