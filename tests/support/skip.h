// SKIP_TEST("why"): leaves a test case that cannot run here, loudly; the test runner counts it as skipped.
#pragma once

#include <doctest/doctest.h>

#include <cstdio>
#include <string>

namespace gneiss::test {

inline void say_skipped(const std::string& reason) {
  // At the start of a line and complete: .ci/test looks for it.
  std::printf("\nSKIPPED: %s: %s\n", doctest::getContextOptions()->currentTest->m_name, reason.c_str());
  std::fflush(stdout);
}

}  // namespace gneiss::test

#define SKIP_TEST(reason)                \
  do {                                   \
    ::gneiss::test::say_skipped(reason); \
    return;                              \
  } while (false)
