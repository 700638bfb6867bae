// A command whose work is disturbed: where it starts from, what it does undisturbed, and what became of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tests/faults/fault_run.h"
#include "tests/support/temporary_folder.h"

namespace gneiss::test {

// All below a folder, by path from there; a folder's path ends in '/'.
using Tree = std::map<std::string, std::string>;
Tree read_tree(const std::filesystem::path& root);
void write_tree(const Tree& tree, const std::filesystem::path& root);  // in place of what is there

// What counts of a tree: files outside of catalogs byte for byte, but for what depends on the clock in a
// run's records; catalogs by key; and the space all of it takes.
struct Outcome {
  Tree files;
  std::map<std::string, std::string> entries;  // of all catalogs, by folder and key
  std::uint64_t allocated_bytes = 0;           // of files
  std::uint64_t catalog_bytes = 0;
};
Outcome outcome_of(const std::filesystem::path& root);
// What `now` has or lacks beside `whole`, in words; empty: nothing.
std::string difference(const Outcome& whole, const Outcome& now);

// The folder that commands work in, and what each starts from. Everything is small: a run takes a tenth of a
// second.
class Workshop {
 public:
  Workshop();
  const std::filesystem::path& root() const noexcept { return root_; }
  std::string dataset() const { return root_ / "d.gneiss"; }
  std::string source() const { return folder_ / "source"; }      // for `import npy`
  std::string ogb_source() const { return folder_ / "ogbn_x"; }  // for `import ogb`

 private:
  TemporaryFolder folder_;
  std::filesystem::path root_;
};

struct Scenario {
  std::string name;
  Command command;
  Tree base{};
  // Of the undisturbed run:
  std::vector<RecordedOperation> operations{};
  Outcome whole{};
};

// The commands of a workshop, by name: each is run once, recorded.
//   generate, generate over another, import, import ogb, prepare, prepare over another, prepare over an
//   unfinished one, prepare shared rows, prepare with checkpoints, prepare shared rows with checkpoints,
//   prepare swept, train, train over another, train several, infer
// GNEISS_FAULT_SCENARIO in the environment names the only one wanted.
std::vector<std::string> scenario_names();
Scenario make_scenario(const Workshop& workshop, const std::string& name);

// What the program said last: from "gneiss: " at a line's beginning, which a path may end in as well;
// empty: nothing.
std::string last_sentence(const std::string& output);

// Runs the scenario's command once more, undisturbed, and checks that its outcome is the whole one.
void expect_recovery(const Workshop& workshop, const Scenario& scenario);

// Numbers from 1 to `count`: all of them in `make torture`, else about `wanted`, spread evenly with seeded
// offsets.
std::vector<std::uint64_t> chosen(std::uint64_t count, std::uint64_t wanted, std::uint64_t seed);
bool is_torture();

}  // namespace gneiss::test
