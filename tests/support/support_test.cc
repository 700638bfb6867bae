#include <doctest/doctest.h>

#include <cstdint>
#include <fstream>
#include <string>

#include "tests/support/run_command.h"
#include "tests/support/skip.h"
#include "tests/support/temporary_folder.h"

namespace gneiss::test {
namespace {

constexpr std::uint64_t mib = std::uint64_t{1} << 20;
constexpr auto no_group = "no memory control group can be made here";

TEST_CASE("a command's exit code and both its streams are seen") {
  const CommandResult result = run_command({"sh", "-c", "echo out; echo err >&2; exit 3"});
  CHECK(result.exit_code == 3);
  CHECK(result.output == "out\nerr\n");
  CHECK(run_command({"sh", "-c", "kill -9 $$"}).exit_code == 137);
  CHECK_THROWS(run_command({"/no/such/program"}));
}

TEST_CASE("a program under a memory cap keeps its exit code, and its page cache is counted") {
  const TemporaryFolder folder;
  const std::string file = folder / "file";
  const auto result = run_with_memory_cap(
      64 * mib, {"sh", "-c", "dd if=/dev/zero of='" + file + "' bs=1M count=32 status=none; exit 5"});
  if (!result) SKIP_TEST(no_group);
  CHECK(result->exit_code == 5);
  CHECK(result->peak_bytes > 30 * mib);
  CHECK(result->peak_bytes <= 64 * mib);
}

TEST_CASE("a program that wants more than the cap is killed, and that is said") {
  // dd holds its whole block in memory.
  const auto result = run_with_memory_cap(
      32 * mib, {"dd", "if=/dev/zero", "of=/dev/null", "bs=128M", "count=1", "status=none"});
  if (!result) SKIP_TEST(no_group);
  CHECK(result->exit_code == 137);
  CHECK(result->output.find("killed by the cap of 33554432 bytes") != std::string::npos);
}

TEST_CASE("a file that was dropped from the page cache counts again when it is read") {
  const TemporaryFolder folder;
  const std::string file = folder / "file";
  run_command({"dd", "if=/dev/zero", "of=" + file, "bs=1M", "count=48", "conv=fdatasync", "status=none"});
  if (run_command({"stat", "-f", "-c", "%T", file}).output == "tmpfs\n") SKIP_TEST("tmpfs keeps its pages");
  const auto warm = run_with_memory_cap(128 * mib, {"cat", file});
  if (!warm) SKIP_TEST(no_group);
  const auto cold = run_with_memory_cap(128 * mib, {"cat", file}, {file});
  CHECK(warm->output.size() == 48 * mib);
  CHECK(warm->peak_bytes < 24 * mib);
  CHECK(cold->peak_bytes > 40 * mib);
}

}  // namespace
}  // namespace gneiss::test
