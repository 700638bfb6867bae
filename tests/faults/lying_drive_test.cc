// A drive that says that a write is done and keeps other bytes, or none of them.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>

#include "storage/base/random.h"
#include "tests/faults/scenario.h"

namespace gneiss::test {
namespace {

constexpr std::uint32_t writes = mask_of(FileOperation::write);
constexpr std::uint64_t lies_a_scenario = 5;  // of each kind, but for `make torture`

struct Tally {
  std::uint64_t lies = 0;
  std::uint64_t told = 0;            // by the command itself
  std::uint64_t told_by_verify = 0;  // after it
};

std::uint64_t count_writes(const Scenario& scenario) {
  return static_cast<std::uint64_t>(
      std::ranges::count(scenario.operations, FileOperation::write, &RecordedOperation::kind));
}

// Whether files differ by what the drive did and by nothing that came of it: a bit, or zeros that nothing was
// written over. So it may be where no checksum is: in what fills up to whole blocks, and in .npy files, which
// are another program's format.
bool differs_by_the_lie_alone(const Tree& whole, const Tree& now, Fault::Mode mode) {
  std::uint64_t bits = 0;
  for (const auto& [name, expected] : whole) {
    const auto found = now.find(name);
    if (found == now.end() || found->second.size() > expected.size()) return false;
    if (mode == Fault::Mode::flip && found->second.size() != expected.size()) return false;
    for (std::size_t i = 0; i < found->second.size(); ++i) {
      const auto byte = static_cast<unsigned char>(found->second[i]);
      const auto difference = static_cast<unsigned char>(byte ^ static_cast<unsigned char>(expected[i]));
      if (difference != 0 && mode == Fault::Mode::lose && (byte != 0 || !name.ends_with(".npy")))
        return false;
      bits += static_cast<std::uint64_t>(std::popcount(difference));
    }
  }
  return now.size() == whole.size() && (mode == Fault::Mode::lose || bits <= 1);
}

void lie(const Workshop& workshop, const Scenario& scenario, Fault::Mode mode, std::uint64_t at,
         Tally& tally) {
  write_tree(scenario.base, workshop.root());
  const FaultedResult result = run_with_fault(
      workshop.root(), scenario.command, {.mode = mode, .at = at, .kinds = writes, .bit = mix_key(at, 3)});
  CAPTURE(result.struck);
  CAPTURE(result.output);
  ++tally.lies;
  if (result.exit_code != 0) {
    CHECK(result.exit_code == 4);
    CHECK(last_sentence(result.output).find(workshop.root()) != std::string::npos);
    ++tally.told;
    return expect_recovery(workshop, scenario);
  }
  const CommandResult verified = run_command({GNEISS_PROGRAM, "verify", "--dataset", workshop.dataset()});
  if (verified.exit_code == 4) {
    ++tally.told_by_verify;
    return;
  }
  CHECK_MESSAGE(verified.exit_code == 0, verified.output);
  const Outcome now = outcome_of(workshop.root());
  CHECK(now.entries == scenario.whole.entries);
  CHECK_MESSAGE(differs_by_the_lie_alone(scenario.whole.files, now.files, mode),
                difference(scenario.whole, now));
}

}  // namespace

TEST_CASE("a drive that keeps other bytes than it was given, or none, never makes another result") {
  const Workshop workshop;
  Tally tally;
  for (const std::string& name : scenario_names()) {
    if (name.starts_with("train")) continue;  // damage_test.cc has the files of runs
    CAPTURE(name);
    const Scenario scenario = make_scenario(workshop, name);
    const std::uint64_t count = count_writes(scenario);
    for (const Fault::Mode mode : {Fault::Mode::flip, Fault::Mode::lose}) {
      const bool flips = mode == Fault::Mode::flip;
      CAPTURE(flips);
      for (const std::uint64_t at : chosen(count, lies_a_scenario, mix_key(count, flips ? 1 : 0))) {
        CAPTURE(at);
        lie(workshop, scenario, mode, at, tally);
      }
    }
  }
  MESSAGE(tally.lies << " writes that were not kept: " << tally.told << " told by the command, "
                     << tally.told_by_verify << " by verify");
  if (scenario_names().size() > 1) CHECK(tally.told + tally.told_by_verify > tally.lies / 2);
}

}  // namespace gneiss::test
