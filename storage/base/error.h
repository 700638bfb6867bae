// Expected failures are one exception type; broken invariants stop the program.
//
// Why:  a message names the thing, the value and the remedy; its kind decides the exit code, and nothing
//       else about a failure needs a type of its own.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace gneiss {

enum class Kind {
  config,      // the command line or a configuration asks for what cannot be: exit code 2
  input,       // a file of the user's is missing, malformed or out of range: 3
  corruption,  // a file of ours does not hold what we wrote: 4
  io,          // the device or the system refused: 5
  cancelled,   // the user interrupted; what was done can be resumed: 130
};

class Error : public std::runtime_error {
 public:
  Error(Kind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  Kind kind() const noexcept { return kind_; }

 private:
  Kind kind_;
};

// Throws Error with a formatted message: fail(Kind::io, "{}: read failed: {}", path, reason).
template <class... Args>
[[noreturn]] void fail(Kind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

// Throws Error(io) that names the path, the attempt and the system's reason for `error_number`.
[[noreturn]] void fail_errno(const std::string& path, const char* attempt, int error_number);

int exit_code(Kind kind) noexcept;

namespace detail {
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line) noexcept;
}

}  // namespace gneiss

// Stays on in release builds: a broken invariant must never reach a disk or a result.
#define GNEISS_ASSERT(expression) \
  ((expression) ? static_cast<void>(0) : ::gneiss::detail::assertion_failed(#expression, __FILE__, __LINE__))
