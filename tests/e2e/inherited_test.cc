// What a process inherits: closed streams and no more threads do no harm.
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "storage/io/file.h"
#include "tests/e2e/program.h"
#include "tests/support/skip.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;
namespace fs = std::filesystem;

TEST_CASE("closed standard streams write nothing into the files of a dataset") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  // In bash an `exec` with a redirection keeps it for what comes after.
  const CommandResult result =
      run_command({"bash", "-c", R"(exec <&- >&- 2>&-; exec "$@")", "bash", program(), "prepare", "--dataset",
                   dataset, "--name", "Q", "--fanout", "9,9", "--batch-size", "50"});
  CHECK(result.exit_code == 0);
  CHECK(result.output.empty());
  for (const auto& entry : fs::recursive_directory_iterator(dataset)) {
    if (!entry.is_regular_file()) continue;
    CAPTURE(entry.path().string());
    CHECK(read_text_file(entry.path()).find("Plan 'Q'") == std::string::npos);  // what prepare prints
  }
  expect_done({"verify", "--dataset", dataset});
}

TEST_CASE("where the system gives no more threads, that is said") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  // One user that nobody else is; each thread counts as a process.
  const auto as_user = [](int threads, const Arguments& arguments) {
    Arguments all{"setpriv",        "--reuid=63123", "--regid=63123",
                  "--clear-groups", "prlimit",       "--nproc=" + std::to_string(threads),
                  program()};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return run_command(all);
  };
  if (::getuid() != 0 || as_user(100, {"--version"}).exit_code != 0)
    SKIP_TEST("no other user can be made here that may run the program");
  fs::permissions(folder.path(), fs::perms::all);
  for (const auto& entry : fs::recursive_directory_iterator(folder.path()))
    fs::permissions(entry.path(), fs::perms::all);
  for (int threads = 1; threads <= 16; ++threads) {
    CAPTURE(threads);
    const CommandResult result = as_user(threads, {"prepare", "--dataset", dataset, "--name", "Q", "--fanout",
                                                   "3", "--threads", "4", "--force"});
    CHECK_MESSAGE((result.exit_code == 0 || result.exit_code == 5), result.output);
    if (result.exit_code == 5)
      CHECK_MESSAGE(result.output.find("gneiss: ") != std::string::npos, result.output);
  }
}
