// Damage to one file, put on and taken off again, and the commands that must notice it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/support/run_command.h"
#include "tests/support/temporary_folder.h"

namespace gneiss::test {

struct Damage {
  std::string file;  // from the root
  bool is_cut = false;
  std::uint64_t offset = 0;  // of the byte; of a cut: what is left
  unsigned bit = 0;
};
std::string describe(const Damage& damage);

// The file has the damage for as long as this lives.
class Damaged {
 public:
  Damaged(const std::filesystem::path& root, const Damage& damage);
  ~Damaged();
  Damaged(const Damaged&) = delete;
  Damaged& operator=(const Damaged&) = delete;

  unsigned char original_byte() const;  // of a flip

 private:
  std::filesystem::path path_;
  std::string whole_;
  std::uint64_t offset_;
};

// Runs a command line of gneiss and returns its exit code and all it printed.
using Runner = std::function<CommandResult(const std::vector<std::string>& arguments)>;
CommandResult run_here(
    const std::vector<std::string>& arguments);  // the calls behind the command, in this process
CommandResult run_program(const std::vector<std::string>& arguments);  // the program

// What a command came to: an exit code, and what its numbers depend on, without clocks.
struct UseResult {
  CommandResult command;
  std::string outcome;  // empty unless the exit code is 0
};

// A small dataset with a preparation of each kind, a finished run of each kind, and the commands that
// read them.
class DamageGround {
 public:
  DamageGround();

  const std::filesystem::path& root() const noexcept { return root_; }
  // Files from the root, by group: "graph.csc", "own/pack.bin", "catalog", "best.safetensors", ...
  const std::map<std::string, std::vector<std::string>>& groups() const noexcept { return groups_; }
  // Names of the uses that read files of the group.
  std::vector<std::string> uses_of(const std::string& group) const;
  UseResult run(const std::string& use, const Runner& runner) const;
  const std::string& whole(const std::string& use) const { return whole_.at(use); }

 private:
  UseResult train(const std::string& preparation, const Runner& runner) const;
  UseResult infer(const Runner& runner) const;
  UseResult go_on(const Runner& runner) const;
  UseResult prepare(const Runner& runner) const;
  std::vector<std::string> training(const std::string& preparation, const std::string& run) const;
  UseResult train_other(const std::string& preparation, const std::vector<std::string>& more,
                        const Runner& runner) const;

  TemporaryFolder folder_;
  std::filesystem::path root_;
  std::map<std::string, std::vector<std::string>> groups_;
  std::map<std::string, std::string> whole_;
};

// The number of `seed`, drawn over all groups alike, bytes that hold something rather than padding.
Damage draw_damage(const DamageGround& ground, std::uint64_t seed, std::string& group);

}  // namespace gneiss::test
