// kill -9 in place of any operation on files, half-way through it or right behind it: the same command again
// makes whole what it would have made undisturbed, and nothing else stays.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "storage/base/error.h"
#include "storage/base/random.h"
#include "tests/faults/scenario.h"
#include "tests/sampler/prepare_fixture.h"

namespace gneiss::test {
namespace {

constexpr std::uint64_t kills_a_scenario = 8;  // but for `make torture`

std::uint64_t count_changing(const Scenario& scenario) {
  return static_cast<std::uint64_t>(
      std::ranges::count_if(scenario.operations, [](const RecordedOperation& operation) {
        return (mask_of(operation.kind) & changing_operations) != 0;
      }));
}

// Which operation it is varies with the threads: what was struck is told.
bool kill_at(const Workshop& workshop, const Command& command, Fault::Mode mode, std::uint64_t at,
             std::string& struck) {
  const FaultedResult killed = run_with_fault(workshop.root(), command, {.mode = mode, .at = at});
  struck = killed.struck;
  if (!killed.struck.empty()) CHECK_MESSAGE(killed.exit_code == 128 + SIGKILL, killed.output);
  return !killed.struck.empty();
}

// Runs the work of a child, and tells what it came to as the program does.
[[noreturn]] void end_as_the_program(const std::function<int()>& work) {
  int code = 0;
  try {
    code = work();
  } catch (const Error& error) {
    std::fflush(stdout);
    std::fprintf(stderr, "gneiss: %s\n", error.what());
    code = exit_code(error.kind());
  }
  std::fflush(stdout);
  ::_exit(code);
}

}  // namespace

TEST_CASE("killed at any operation on files, every command comes to the same end when it is run again") {
  const Workshop workshop;
  std::uint64_t kills = 0;
  for (const std::string& name : scenario_names()) {
    CAPTURE(name);
    const Scenario scenario = make_scenario(workshop, name);
    const std::uint64_t count = count_changing(scenario);
    MESSAGE(name << ": " << count << " operations");
    REQUIRE(count > 10);
    for (const auto mode : {Fault::Mode::kill, Fault::Mode::tear, Fault::Mode::after}) {
      if (!is_torture() && mode == Fault::Mode::after) continue;  // all but the same as the next one's `kill`
      for (const std::uint64_t at : chosen(count, kills_a_scenario, mix_key(count, static_cast<int>(mode)))) {
        CAPTURE(at);
        write_tree(scenario.base, workshop.root());
        std::string struck;
        if (kill_at(workshop, scenario.command, mode, at, struck)) ++kills;
        CAPTURE(struck);
        // Every third time the second try is killed too, wherever it is.
        std::string again;
        if (at % 3 == 0) kill_at(workshop, scenario.command, mode, mix64(at) % count + 1, again);
        CAPTURE(again);
        expect_recovery(workshop, scenario);
      }
    }
  }
  MESSAGE("killed " << kills << " times");
  if (scenario_names().size() > 1) CHECK(kills > 80);
}

// Checkpoints as often as possible: what a long preparation does every ten seconds.
TEST_CASE("child: prepare with own segments" * doctest::skip()) {
  PrepareRequest request = small_request();
  request.checkpoint_seconds = 0;
  request.options.batch_size = 40;
  end_as_the_program([&] {
    run_prepare(std::getenv("GNEISS_TEST_FOLDER"), request);
    return 0;
  });
}

TEST_CASE("child: prepare while sweeping" * doctest::skip()) {
  PrepareRequest request = small_request();
  request.checkpoint_seconds = 0;
  request.options.batch_size = 40;
  request.memory_bytes = 43'000'000;  // 40 MiB whatever the graph, and some of the graph's 1 MB
  const std::filesystem::path dataset = std::getenv("GNEISS_TEST_FOLDER");
  const bool is_anew = !std::filesystem::exists(dataset / "prepared");  // else the sweep may have been done
  end_as_the_program([&] {
    const PrepareResult result = run_prepare(dataset, request, 1);
    std::printf("%u waves\n", result.sweep_waves);
    return is_anew && result.sweep_waves == 0 ? 1 : 0;
  });
}

TEST_CASE("child: prepare with shared rows" * doctest::skip()) {
  PrepareRequest request = small_request();
  request.checkpoint_seconds = 0;
  request.options.batch_size = 40;
  request.options.residency = Residency::belady;
  request.disk_budget_bytes = std::uint64_t{500} << 10;
  end_as_the_program([&] {
    const PrepareResult result = run_prepare(std::getenv("GNEISS_TEST_FOLDER"), request);
    std::printf("%llu batches a group\n", static_cast<unsigned long long>(result.cost.group_batches));
    return result.already_done || result.cost.group_batches > 1 ? 0 : 1;
  });
}

}  // namespace gneiss::test
