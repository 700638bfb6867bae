// Flipped bits and files cut short: exit code 4 that names the file, or the numbers of the undamaged
// one. Never wrong numbers, a crash or a hang.
//
// GNEISS_DAMAGE_SEED in the environment repeats the damage of one seed.
#include "tests/faults/damage.h"

#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <thread>

#include "storage/base/random.h"
#include "storage/base/stopwatch.h"
#include "tests/faults/scenario.h"
#include "tests/support/watchdog.h"

using namespace gneiss::test;

namespace {

constexpr std::chrono::seconds hang_after{120};

struct Count {
  std::uint64_t made = 0;
  std::uint64_t detected = 0;
  std::uint64_t harmless = 0;
};
using Counts = std::map<std::string, Count>;

// What an undamaged byte may be worth without being looked at. Zeros are padding between sections.
bool may_be_unread(const std::string& group, const Damage& damage, unsigned char original) {
  if (group == "catalog") {
    const std::string name = std::filesystem::path(damage.file).filename();
    // RocksDB's own notes, which it does not read again.
    return name.starts_with("OPTIONS-") || name == "IDENTITY" || name == "LOCK" || name.ends_with(".sst") ||
           name.starts_with("MANIFEST-");
  }
  // The words before the checksum: without them nothing is compared, and what is there is right.
  if (group == "config.yaml" && !damage.is_cut) return damage.offset < 24;
  if (group == "metrics.jsonl") return true;
  return !damage.is_cut && original == 0;
}

// The sentence names the file, or the catalog whose files are RocksDB's.
bool names(const std::string& output, const std::string& group, const Damage& damage) {
  const std::string name =
      group == "catalog" ? group : std::filesystem::path(damage.file).filename().string();
  return last_sentence(output).find(name) != std::string::npos;
}

void check_use(const DamageGround& ground, const std::string& use, const std::string& group,
               const Damage& damage, const UseResult& result, bool& is_detected) {
  CAPTURE(use);
  CHECK_MESSAGE((result.command.exit_code == 0 || result.command.exit_code == 4), result.command.exit_code,
                ": ", result.command.output);
  if (result.command.exit_code == 0) {
    const bool is_equal = result.outcome == ground.whole(use);  // bytes, not to be printed
    CHECK_MESSAGE(is_equal, "other numbers");
  } else {
    is_detected = true;
    CHECK_MESSAGE(names(result.command.output, group, damage), result.command.output);
  }
}

void strike(const DamageGround& ground, std::uint64_t seed, const Runner& runner, Counts& counts) {
  std::string group;
  const Damage damage = draw_damage(ground, seed, group);
  const std::string what = "seed " + std::to_string(seed) + ", " + describe(damage);
  CAPTURE(what);
  const Watchdog watchdog(what, hang_after);
  const Damaged damaged(ground.root(), damage);
  bool is_detected = false;
  for (const std::string& use : ground.uses_of(group)) {
    check_use(ground, use, group, damage, ground.run(use, runner), is_detected);
  }
  ++counts[group].made;
  ++(is_detected ? counts[group].detected : counts[group].harmless);
  if (!is_detected) CHECK_MESSAGE(may_be_unread(group, damage, damaged.original_byte()), "nobody noticed");
}

void tell(const Counts& counts) {
  Count all;
  for (const auto& [group, count] : counts) {
    MESSAGE(group, ": ", count.made, " damaged, ", count.detected, " detected, ", count.harmless,
            " of no effect");
    all.made += count.made;
    all.detected += count.detected;
    all.harmless += count.harmless;
  }
  MESSAGE("all: ", all.made, " damaged, ", all.detected, " detected, ", all.harmless, " of no effect");
}

const DamageGround& ground() {
  static const DamageGround one;
  return one;
}

}  // namespace

TEST_CASE("a flipped bit or a cut anywhere: exit code 4 that names the file, or the undamaged numbers") {
  Counts counts;
  if (const char* only = std::getenv("GNEISS_DAMAGE_SEED")) {
    return strike(ground(), std::strtoull(only, nullptr, 10), run_here, counts);
  }
  const std::uint64_t count = is_torture() ? 10'000 : 160;
  for (std::uint64_t seed = 1; seed <= count; ++seed) strike(ground(), seed, run_here, counts);
  tell(counts);
  CHECK(counts.size() == ground().groups().size());
  for (const auto& [group, of_group] : counts) CHECK_MESSAGE(of_group.detected > 0, group);
}

TEST_CASE("the same through the program") {
  Counts counts;
  const std::uint64_t count = is_torture() ? 400 : 25;
  for (std::uint64_t seed = 100'001; seed <= 100'000 + count; ++seed)
    strike(ground(), seed, run_program, counts);
  tell(counts);
}

TEST_CASE("damage while infer and train read: exit code 4 that names the file, or the undamaged numbers") {
  Counts counts;
  const std::uint64_t count = is_torture() ? 1000 : 30;
  std::map<std::string, double> seconds;
  for (std::uint64_t seed = 1; seed <= count; ++seed) {
    gneiss::RandomStream random(gneiss::mix64(seed ^ 0xDA3A6E));
    std::string group;
    Damage damage;
    do damage = draw_damage(ground(), random.next(), group);
    while (group != "graph.csc" && group != "features.bin" && group != "own/pack.bin" &&
           group != "own/samples.zst");
    const std::string use = group.starts_with("own/") ? "train own" : "infer";
    const std::string what = "seed " + std::to_string(seed) + " while reading, " + describe(damage);
    CAPTURE(what);
    const Watchdog watchdog(what, hang_after);
    if (!seconds.contains(use)) {
      const gneiss::Stopwatch clock;
      static_cast<void>(ground().run(use, run_here));
      seconds[use] = clock.seconds();
    }
    bool is_detected = false;
    UseResult result;
    {
      const std::chrono::duration<double> delay(random.uniform() * seconds[use]);
      std::unique_ptr<Damaged> damaged;
      {
        const std::jthread striker([&] {
          std::this_thread::sleep_for(delay);
          damaged = std::make_unique<Damaged>(ground().root(), damage);
        });
        result = ground().run(use, run_here);
      }
    }
    check_use(ground(), use, group, damage, result, is_detected);
    ++counts[group].made;
    ++(is_detected ? counts[group].detected : counts[group].harmless);
  }
  tell(counts);
}
