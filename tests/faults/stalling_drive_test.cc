// A drive that does nothing for seconds, under the program as it is shipped and with the notice that it has.
#include <doctest/doctest.h>

#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "tests/faults/scenario.h"

namespace gneiss::test {
namespace {

constexpr int stall_ms = 8000;  // the notice comes after five seconds, or half a one later

struct Stall {
  const char* scenario;
  FileOperation kind;
  std::uint64_t at;      // which operation on the file
  std::string file;      // of the dataset; empty: all below the root
  const char* sentence;  // what is told of it
};

const std::vector<Stall>& stalls() {
  // Of the features the first three reads are those of the header and the checksums; then come the packer's.
  static const std::vector<Stall> all{
      {"prepare", FileOperation::read, 4, "features.bin", "reading"},
      {"generate", FileOperation::write, 2, "", "writing"},
      {"generate", FileOperation::sync, 3, "", "making durable"},
      {"prepare", FileOperation::reserve, 1, "", "reserving"},
  };
  return all;
}

}  // namespace

TEST_CASE("a drive that does nothing for seconds is waited for, and told of once") {
  struct Run {
    Stall stall{};
    Workshop workshop{};
    Scenario scenario{};
    std::future<FaultedResult> result{};
  };
  std::vector<std::unique_ptr<Run>> runs;
  for (const Stall& stall : stalls()) {
    auto run = std::make_unique<Run>();
    run->stall = stall;
    run->scenario = make_scenario(run->workshop, stall.scenario);
    write_tree(run->scenario.base, run->workshop.root());
    // They wait, and wait at once.
    run->result = std::async(std::launch::async, [&run = *run] {
      const std::filesystem::path folder =
          run.stall.file.empty() ? run.workshop.root()
                                 : std::filesystem::path(run.workshop.dataset()) / run.stall.file;
      return run_with_fault(folder, run.scenario.command,
                            {.mode = Fault::Mode::stall,
                             .at = run.stall.at,
                             .kinds = mask_of(run.stall.kind),
                             .stall_ms = stall_ms});
    });
    runs.push_back(std::move(run));
  }
  for (const auto& run : runs) {
    const FaultedResult result = run->result.get();
    CAPTURE(run->scenario.name);
    CAPTURE(result.struck);
    CHECK_MESSAGE(result.exit_code == 0, result.output);
    REQUIRE_FALSE(result.struck.empty());
    const std::string told = "still waiting for the drive after 5.0 s: " + std::string(run->stall.sentence);
    const std::size_t first = result.output.find(told);
    REQUIRE_MESSAGE(first != std::string::npos, result.output);
    CHECK(result.output.find(run->workshop.root().string() + '/', first) != std::string::npos);
    CHECK(result.output.find("still waiting", first + 1) == std::string::npos);
    CHECK(difference(run->scenario.whole, outcome_of(run->workshop.root())).empty());
  }
}

}  // namespace gneiss::test
