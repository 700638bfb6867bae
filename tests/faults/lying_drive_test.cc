// A drive that says that a write is done and keeps other bytes, or none of them.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <optional>

#include "storage/base/random.h"
#include "tests/faults/scenario.h"

namespace gneiss::test {
namespace {

constexpr std::uint32_t writes = mask_of(FileOperation::write);
constexpr std::uint64_t lies_a_scenario = 5;  // of each kind, but for `make torture`

// The one result without checksums: another program's format.
constexpr const char* result_for_others = "logits.npy";

struct Tally {
  std::uint64_t lies = 0;
  std::uint64_t told = 0;            // by the command itself
  std::uint64_t told_by_verify = 0;  // after it
  std::uint64_t in_the_result_for_others = 0;
};

std::uint64_t count_writes(const Scenario& scenario) {
  return static_cast<std::uint64_t>(
      std::ranges::count(scenario.operations, FileOperation::write, &RecordedOperation::kind));
}

// In how many bits files of the same names and sizes differ; nothing: others are there.
std::optional<std::uint64_t> different_bits(const Tree& whole, const Tree& now) {
  if (whole.size() != now.size()) return std::nullopt;
  std::uint64_t bits = 0;
  for (const auto& [name, expected] : whole) {
    const auto found = now.find(name);
    if (found == now.end() || found->second.size() != expected.size()) return std::nullopt;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const int difference = expected[i] ^ found->second[i];
      bits += static_cast<std::uint64_t>(std::popcount(static_cast<unsigned char>(difference)));
    }
  }
  return bits;
}

// Whether one file holds what it should but for what the drive was told to lie about: a bit, or zeros that
// nothing was written over. What was computed of damage would be another number.
bool is_only_damaged(const std::string& whole, const std::string& now, Fault::Mode mode) {
  if (mode == Fault::Mode::flip) return different_bits({{"", whole}}, {{"", now}}) == 1;
  return now.size() <= whole.size() &&
         std::ranges::equal(now, whole.substr(0, now.size()),
                            [](char is, char was) { return is == was || is == 0; });
}

void lie(const Workshop& workshop, const Scenario& scenario, Fault::Mode mode, std::uint64_t at,
         std::uint64_t bit, Tally& tally) {
  write_tree(scenario.base, workshop.root());
  const FaultedResult result = run_with_fault(workshop.root(), scenario.command,
                                              {.mode = mode, .at = at, .kinds = writes, .bit = bit});
  CAPTURE(result.struck);
  CAPTURE(result.output);
  if (result.struck.empty()) return;  // how many writes there are varies with the threads
  ++tally.lies;
  if (result.exit_code != 0) {
    // RocksDB 8.9 reads its options back as it writes them, and calls what it finds a failing drive.
    const bool is_in_catalog = result.struck.find("/catalog/") != std::string::npos;
    CHECK((result.exit_code == 4 || (result.exit_code == 5 && is_in_catalog)));
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
  Outcome now = outcome_of(workshop.root());
  Tree whole = scenario.whole.files;
  CHECK(now.entries == scenario.whole.entries);
  if (whole.contains(result_for_others) && whole[result_for_others] != now.files[result_for_others]) {
    ++tally.in_the_result_for_others;
    CHECK(is_only_damaged(whole[result_for_others], now.files[result_for_others], mode));
    now.files[result_for_others] = whole[result_for_others];
  }
  // A bit may differ where no checksum is: in what fills up to whole blocks, which is read by nobody.
  const std::uint64_t bits_at_most = mode == Fault::Mode::flip ? 1 : 0;
  CHECK_MESSAGE(different_bits(whole, now.files).value_or(bits_at_most + 1) <= bits_at_most,
                difference(scenario.whole, now));
}

}  // namespace

TEST_CASE(
    "a drive that keeps other bytes than it was given, or none, never makes another dataset or other "
    "numbers") {
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
      // Where there are few writes, several bits of each.
      const std::uint64_t rounds = flips ? std::max<std::uint64_t>(1, lies_a_scenario / count) : 1;
      for (const std::uint64_t at : chosen(count, lies_a_scenario, mix_key(count, flips ? 1 : 0))) {
        for (std::uint64_t round = 0; round < rounds; ++round) {
          CAPTURE(at);
          lie(workshop, scenario, mode, at, mix_key(mix_key(count, at), round), tally);
        }
      }
    }
  }
  MESSAGE(tally.lies << " writes that were not kept: " << tally.told << " told by the command, "
                     << tally.told_by_verify << " by verify, " << tally.in_the_result_for_others
                     << " in the .npy file, which has no checksums");
  if (scenario_names().size() > 1) CHECK(tally.told + tally.told_by_verify > tally.lies / 2);
}

}  // namespace gneiss::test
