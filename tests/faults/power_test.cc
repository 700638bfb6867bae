// A power cut at any moment: what was not synced is lost, in part and in any order; the same command again
// makes whole what it would have made undisturbed. What a command that has ended left is there.
#include <doctest/doctest.h>

#include "tests/faults/crash_model.h"
#include "tests/faults/scenario.h"

namespace gneiss::test {
namespace {

constexpr std::uint64_t cuts_a_scenario = 8;  // but for `make torture`

RecordedOperation operation(FileOperation kind, std::string path, std::string second = "") {
  return {.kind = kind,
          .is_done = true,
          .is_new = true,
          .path = std::move(path),
          .second_path = std::move(second)};
}

RecordedOperation write_of(std::string path, std::uint64_t offset, std::string data) {
  RecordedOperation written = operation(FileOperation::write, std::move(path));
  written.offset = offset;
  written.data = std::move(data);
  return written;
}

}  // namespace

TEST_CASE("the model of a power cut loses what was not synced, and nothing else") {
  const Tree base{{"old", "1234"}, {"folder/", ""}};
  CrashModel model("/r", base);
  model.apply(operation(FileOperation::create, "/r/new.tmp"));
  model.apply(write_of("/r/new.tmp", 0, std::string(8192, 'x')));
  CHECK(model.only_durable() == base);
  model.apply(operation(FileOperation::sync, "/r/new.tmp"));
  CHECK(model.only_durable() == base);  // its name is not
  model.apply(operation(FileOperation::rename, "/r/new.tmp", "/r/old"));
  const Tree done{{"old", std::string(8192, 'x')}, {"folder/", ""}};
  CHECK(model.now() == done);
  CHECK(model.only_durable() == base);
  // Without the sync of the folder: the old file or the new one, whole, under the old name.
  bool was_old = false;
  bool was_new = false;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const Tree left = model.after_power_cut(seed);
    was_old = was_old || left.at("old") == "1234";
    was_new = was_new || left.at("old") == std::string(8192, 'x');
    CHECK((left.at("old") == "1234" || left.at("old") == std::string(8192, 'x')));
  }
  CHECK(was_old);
  CHECK(was_new);
  model.apply(operation(FileOperation::sync, "/r"));
  CHECK(model.only_durable() == done);
  CHECK(model.after_power_cut(1) == done);

  // Blocks come in any order, and a size without its blocks.
  model.apply(write_of("/r/old", 0, std::string(12288, 'y')));
  std::set<std::string> seen;
  for (std::uint64_t seed = 0; seed < 300; ++seed) seen.insert(model.after_power_cut(seed).at("old"));
  CHECK(seen.contains(std::string(8192, 'x')));
  CHECK(seen.contains(std::string(12288, 'y')));
  CHECK(seen.contains(std::string(4096, 'x') + std::string(4096, 'y')));
  CHECK(seen.contains(std::string(4096, 'y') + std::string(4096, 'x') + std::string(4096, '\0')));

  // A rename from folder to folder is one step, whichever is synced.
  model.apply(operation(FileOperation::sync, "/r/old"));
  model.apply(operation(FileOperation::rename, "/r/old", "/r/folder/old"));
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const Tree left = model.after_power_cut(seed);
    CHECK(left.contains("old") != left.contains("folder/old"));
  }
  model.apply(operation(FileOperation::sync, "/r/folder"));
  CHECK(model.only_durable() == Tree{{"folder/", ""}, {"folder/old", std::string(12288, 'y')}});
}

TEST_CASE("after a power cut at any moment every command comes to the same end when it is run again") {
  const Workshop workshop;
  std::uint64_t cuts = 0;
  for (const std::string& name : scenario_names()) {
    CAPTURE(name);
    const Scenario scenario = make_scenario(workshop, name);
    CrashModel model(workshop.root(), scenario.base);
    const auto moments = chosen(scenario.operations.size(), cuts_a_scenario, scenario.operations.size());
    auto moment = moments.begin();
    std::uint64_t at = 0;
    for (const RecordedOperation& done : scenario.operations) {
      model.apply(done);
      ++at;
      for (; moment != moments.end() && *moment == at; ++moment, ++cuts) {
        CAPTURE(at);
        CAPTURE(describe(done));
        write_tree(model.after_power_cut(mix_key(at, 1)), workshop.root());
        expect_recovery(workshop, scenario);
      }
    }
    // Nothing that the command did to files was missed, so that the model is the file system's.
    write_tree(model.now(), workshop.root());
    CHECK(difference(scenario.whole, outcome_of(workshop.root())) == "");
    // The command has ended: what it left does not need to be made again.
    write_tree(model.only_durable(), workshop.root());
    CHECK(difference(scenario.whole, outcome_of(workshop.root())) == "");
  }
  MESSAGE("cut the power " << cuts << " times");
  if (scenario_names().size() > 1) CHECK(cuts > 50);
}

// Random losses seldom hit it: the name that a rename gives is on disk, and no other that it speaks of.
TEST_CASE("a rename that a power cut leaves, and nothing else that was not synced, is recovered from") {
  const Workshop workshop;
  std::uint64_t cuts = 0;
  for (const std::string& name : scenario_names()) {
    if (!is_torture() && name != "generate over another" && name != "prepare" && name != "train") continue;
    CAPTURE(name);
    const Scenario scenario = make_scenario(workshop, name);
    CrashModel model(workshop.root(), scenario.base);
    for (const RecordedOperation& done : scenario.operations) {
      model.apply(done);
      if (done.kind != FileOperation::rename || !done.is_done) continue;
      CAPTURE(describe(done));
      write_tree(model.with_only_the_last_change(), workshop.root());
      expect_recovery(workshop, scenario);
      ++cuts;
    }
  }
  MESSAGE("cut the power behind " << cuts << " renames");
}

}  // namespace gneiss::test
