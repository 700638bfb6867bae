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
struct Counts {
  std::map<std::string, Count> groups{};
  std::map<std::string, std::uint64_t> reasons{};  // why a damage has no effect
};

// Why nobody need notice; empty: somebody must.
std::string why_unread(const std::string& group, const Damage& damage, unsigned char original) {
  const std::string name = std::filesystem::path(damage.file).filename();
  if (name.starts_with("OPTIONS-") || name == "IDENTITY") return "RocksDB's notes that are not read";
  if (name.starts_with("MANIFEST-"))
    return "a MANIFEST that ends early";  // the state before, see RELIABILITY.md
  if (group == "catalog" && name.ends_with(".sst")) return "unused bytes of a RocksDB table";
  // Without them nothing is compared, and all that is there is right.
  if (group == "config.yaml" && !damage.is_cut && damage.offset < 24) return "the words before a checksum";
  if (group == "metrics.jsonl") return "the name of a checksum";
  return !damage.is_cut && original == 0 ? "padding" : "";
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

void count(Counts& counts, const std::string& group, bool is_detected) {
  Count& of_group = counts.groups[group];
  ++of_group.made;
  ++(is_detected ? of_group.detected : of_group.harmless);
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
  count(counts, group, is_detected);
  if (is_detected) return;
  const std::string reason = why_unread(group, damage, damaged.original_byte());
  CHECK_MESSAGE(!reason.empty(), "nobody noticed");
  ++counts.reasons[reason];
}

void tell(const Counts& counts) {
  Count all;
  for (const auto& [group, count] : counts.groups) {
    MESSAGE(group, ": ", count.made, " damaged, ", count.detected, " detected, ", count.harmless,
            " of no effect");
    all.made += count.made;
    all.detected += count.detected;
    all.harmless += count.harmless;
  }
  MESSAGE("all: ", all.made, " damaged, ", all.detected, " detected, ", all.harmless, " of no effect");
  for (const auto& [reason, times] : counts.reasons) MESSAGE("of no effect: ", times, ", ", reason);
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
  const std::uint64_t wanted = is_torture() ? 10'000 : 160;
  for (std::uint64_t seed = 1; seed <= wanted; ++seed) strike(ground(), seed, run_here, counts);
  tell(counts);
  CHECK(counts.groups.size() == ground().groups().size());
  for (const auto& [group, of_group] : counts.groups) CHECK_MESSAGE(of_group.detected > 0, group);
}

TEST_CASE("the same through the program") {
  Counts counts;
  const std::uint64_t wanted = is_torture() ? 400 : 25;
  for (std::uint64_t seed = 100'001; seed <= 100'000 + wanted; ++seed)
    strike(ground(), seed, run_program, counts);
  tell(counts);
}

TEST_CASE("damage while infer and train read: exit code 4 that names the file, or the undamaged numbers") {
  Counts counts;
  const std::uint64_t wanted = is_torture() ? 1000 : 30;
  std::map<std::string, double> seconds;
  for (std::uint64_t seed = 1; seed <= wanted; ++seed) {
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
    count(counts, group, is_detected);
  }
  tell(counts);
}
