// What a process inherits, made harmless: the first that main() calls.
//
// Why:  a shell may close the standard streams (`<&- >&- 2>&-`): the next files opened would take their
//       numbers, and what is printed would be written into them. A file beyond the system's limit (`ulimit
//       -f`) kills by default; it is an error of the write like that of a full drive.
#pragma once

namespace gneiss {

void settle_process() noexcept;

}  // namespace gneiss
