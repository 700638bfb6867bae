#include "storage/base/error.h"

#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace gneiss {

void fail_errno(const std::string& path, const char* attempt, int error_number) {
  fail(Kind::io, "{}: cannot {}: {}", path, attempt, std::generic_category().message(error_number));
}

int exit_code(Kind kind) noexcept {
  switch (kind) {
    case Kind::config:
      return 2;
    case Kind::input:
      return 3;
    case Kind::corruption:
      return 4;
    case Kind::io:
      return 5;
    case Kind::cancelled:
      return 130;
  }
  return 5;
}

namespace detail {
void assertion_failed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "gneiss: internal error: %s does not hold at %s:%d; please report this\n", expression,
               file, line);
  std::abort();
}
}  // namespace detail

}  // namespace gneiss
