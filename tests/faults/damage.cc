#include "tests/faults/damage.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "storage/base/random.h"
#include "tests/faults/scenario.h"
#include "tools/command_line.h"

namespace gneiss::test {
namespace fs = std::filesystem;
namespace {

using Arguments = std::vector<std::string>;

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// In place: who has the file open sees the damage too.
void overwrite(const fs::path& path, const std::string& bytes) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  REQUIRE(file >= 0);
  const bool is_written =
      ::pwrite(file, bytes.data(), bytes.size(), 0) == static_cast<::ssize_t>(bytes.size()) &&
      ::ftruncate(file, static_cast<::off_t>(bytes.size())) == 0;
  ::close(file);
  REQUIRE(is_written);
}

// Standard output and standard error of this process, kept in memory meanwhile.
class CapturedOutput {
 public:
  CapturedOutput() : memory_(::memfd_create("output", 0)) {
    std::fflush(nullptr);
    for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
      kept_[static_cast<std::size_t>(stream - 1)] = ::dup(stream);
      ::dup2(memory_, stream);
    }
  }
  ~CapturedOutput() {
    end();
    ::close(memory_);
  }
  CapturedOutput(const CapturedOutput&) = delete;
  CapturedOutput& operator=(const CapturedOutput&) = delete;

  std::string end() {
    std::fflush(nullptr);
    for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
      int& kept = kept_[static_cast<std::size_t>(stream - 1)];
      if (kept < 0) continue;
      ::dup2(kept, stream);
      ::close(std::exchange(kept, -1));
    }
    std::string text(static_cast<std::size_t>(::lseek(memory_, 0, SEEK_END)), '\0');
    if (::pread(memory_, text.data(), text.size(), 0) != static_cast<::ssize_t>(text.size())) text.clear();
    return text;
  }

 private:
  int memory_;
  std::array<int, 2> kept_{-1, -1};
};

// Losses and scores, and what the weights are a function of.
std::string numbers_of(const fs::path& run, const fs::path& summary) {
  const auto json = nlohmann::json::parse(bytes_of(summary), nullptr, false);
  if (!json.is_object()) return "no summary";
  std::string text;
  for (const char* key : {"best_epoch", "valid_accuracy", "test_accuracy", "input_rows", "bytes_read"})
    text += fmt::format("{} {}\n", key, json.value(key, nlohmann::json()).dump());
  for (const auto& epoch : json.at("epochs"))
    text += fmt::format("{} {} {} {}\n", epoch.at("epoch").dump(), epoch.at("loss").dump(),
                        epoch.at("train_accuracy").dump(),
                        epoch.value("valid_accuracy", nlohmann::json()).dump());
  return text + bytes_of(run / "best.safetensors") + bytes_of(run / "state.safetensors");
}

}  // namespace

std::string describe(const Damage& damage) {
  return damage.is_cut ? fmt::format("{} cut to {} bytes", damage.file, damage.offset)
                       : fmt::format("{}: bit {} of byte {}", damage.file, damage.bit, damage.offset);
}

Damaged::Damaged(const fs::path& root, const Damage& damage)
    : path_(root / damage.file), whole_(bytes_of(path_)), offset_(damage.offset) {
  REQUIRE(damage.offset < whole_.size());
  std::string bytes = whole_;
  if (damage.is_cut) {
    bytes.resize(damage.offset);
  } else {
    bytes[damage.offset] = static_cast<char>(bytes[damage.offset] ^ (1 << damage.bit));
  }
  overwrite(path_, bytes);
}
Damaged::~Damaged() { overwrite(path_, whole_); }
unsigned char Damaged::original_byte() const { return static_cast<unsigned char>(whole_[offset_]); }

CommandResult run_here(const Arguments& arguments) {
  CommandResult result;
  CapturedOutput output;
  result.exit_code = run_command_line(arguments);
  result.output = output.end();
  return result;
}

CommandResult run_program(const Arguments& arguments) {
  Arguments command{GNEISS_PROGRAM};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return run_command(command);
}

DamageGround::DamageGround() : root_(fs::canonical(folder_.path()) / "w") {
  fs::create_directory(root_);
  const std::string dataset = root_ / "d.gneiss";
  const auto expect_done = [](const Arguments& arguments) {
    const CommandResult result = run_here(arguments);
    REQUIRE_MESSAGE(result.exit_code == 0, result.output);
  };
  expect_done({"--quiet", "generate", dataset, "--nodes", "300", "--features", "100", "--classes", "3",
               "--train-share", "0.4", "--valid-share", "0.2", "--test-share", "0.2", "--memory", "64MiB"});
  const Arguments prepare{"--quiet",  "prepare",      "--dataset", dataset,       "--fanout",
                          "3,3",      "--batch-size", "40",        "--cpu-cache", "8KiB",
                          "--memory", "256MiB",       "--name"};
  const auto with = [](Arguments all, const Arguments& more) {
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  expect_done(with(prepare, {"own", "--sample-epochs", "1", "--residency", "static", "--gpu-cache", "4KiB"}));
  expect_done(
      with(prepare, {"shared", "--sample-epochs", "2", "--residency", "belady", "--disk-budget", "800KiB"}));
  // One run that is finished, for infer; one that stopped after two epochs, to go on with.
  expect_done(with(training("own", root_ / "run"), {"--epochs", "2"}));
  expect_done(with(training("own", root_ / "half"), {"--epochs", "2"}));
  for (const auto& entry : fs::recursive_directory_iterator(root_)) {
    if (!entry.is_regular_file() || entry.file_size() == 0) continue;
    const std::string path = entry.path().lexically_relative(root_);
    const std::string name = entry.path().filename();
    const std::string folder = entry.path().parent_path().filename();
    std::string group = name;
    if (folder == "catalog") group = "catalog";
    if (folder == "own" || folder == "shared") group = folder + "/" + name;
    if (folder == "half" && name != "state.safetensors" && name != "metrics.jsonl") continue;
    if (folder == "run" && name != "best.safetensors" && name != "config.yaml") continue;
    groups_[group].push_back(path);
  }
  for (const char* use : {"train own", "train shared", "infer", "go on", "prepare", "verify"}) {
    const UseResult result = run(use, run_here);
    REQUIRE_MESSAGE(result.command.exit_code == 0, use, ": ", result.command.output);
    whole_[use] = result.outcome;
  }
}

Arguments DamageGround::training(const std::string& preparation, const std::string& run) const {
  return {"--quiet",       "train",     "--dataset", root_ / "d.gneiss",
          "--preparation", preparation, "--hidden",  "6",
          "--memory",      "256MiB",    "--threads", "1",
          "--device",      "cpu",       "--seed",    "3",
          "--run",         run};
}

std::vector<std::string> DamageGround::uses_of(const std::string& group) const {
  if (group.starts_with("own/")) return {"train own", "verify"};
  if (group.starts_with("shared/")) return {"train shared", "verify"};
  if (group == "best.safetensors" || group == "config.yaml") return {"infer"};
  if (group == "state.safetensors" || group == "metrics.jsonl") return {"go on"};
  if (group == "catalog") return {"train own", "infer", "verify"};
  return {"train own", "infer", "prepare", "verify"};
}

UseResult DamageGround::run(const std::string& use, const Runner& runner) const {
  if (use == "train own") return train("own", runner);
  if (use == "train shared") return train("shared", runner);
  if (use == "infer") return infer(runner);
  if (use == "go on") return go_on(runner);
  if (use == "prepare") return prepare(runner);
  REQUIRE(use == "verify");
  return {runner({"--quiet", "verify", "--dataset", root_ / "d.gneiss"}), ""};
}

UseResult DamageGround::train(const std::string& preparation, const Runner& runner) const {
  fs::remove_all(root_ / "other-run");
  return train_other(preparation, {"--epochs", "2"}, runner);
}

// In the folder `other-run`, as it stands.
UseResult DamageGround::train_other(const std::string& preparation, const Arguments& more,
                                    const Runner& runner) const {
  const fs::path run = root_ / "other-run";
  Arguments arguments = training(preparation, run);
  arguments.insert(arguments.end(), more.begin(), more.end());
  arguments.insert(arguments.end(), {"--summary", root_ / "summary.json"});
  UseResult result{runner(arguments), ""};
  if (result.command.exit_code == 0) result.outcome = numbers_of(run, root_ / "summary.json");
  return result;
}

UseResult DamageGround::infer(const Runner& runner) const {
  const fs::path out = root_ / "logits.npy";
  fs::remove(out);
  UseResult result{runner({"--quiet", "infer", "--dataset", root_ / "d.gneiss", "--run", root_ / "run",
                           "--what", "logits", "--out", out, "--memory", "64MiB", "--threads", "1"}),
                   ""};
  if (result.command.exit_code == 0) result.outcome = bytes_of(out);
  return result;
}

UseResult DamageGround::go_on(const Runner& runner) const {
  const fs::path run = root_ / "other-run";
  fs::remove_all(run);
  fs::copy(root_ / "half", run);
  return train_other("own", {"--epochs", "3", "--resume"}, runner);
}

// On a copy, for the catalog is written.
UseResult DamageGround::prepare(const Runner& runner) const {
  const fs::path copy = root_ / "copy.gneiss";
  fs::remove_all(copy);
  fs::copy(root_ / "d.gneiss", copy, fs::copy_options::recursive);
  UseResult result{
      runner({"--quiet", "prepare", "--dataset", copy, "--name", "new", "--fanout", "3,3", "--batch-size",
              "40", "--sample-epochs", "1", "--cpu-cache", "8KiB", "--memory", "256MiB", "--threads", "1"}),
      ""};
  if (result.command.exit_code == 0) {
    for (const auto& [name, bytes] : read_tree(copy / "prepared/new")) result.outcome += name + "\n" + bytes;
  }
  fs::remove_all(copy);
  return result;
}

Damage draw_damage(const DamageGround& ground, std::uint64_t seed, std::string& group) {
  RandomStream random(mix64(seed));
  auto at = ground.groups().begin();
  std::advance(at, static_cast<std::ptrdiff_t>(random.below(ground.groups().size())));
  group = at->first;
  Damage damage;
  damage.file = at->second.at(random.below(at->second.size()));
  const std::string bytes = bytes_of(ground.root() / damage.file);
  damage.is_cut = random.uniform() < 0.2;
  damage.offset = random.below(bytes.size());
  damage.bit = static_cast<unsigned>(random.below(8));
  // Most of a small file is padding: four of five flips are drawn again until they strike something else.
  if (!damage.is_cut && random.uniform() < 0.8) {
    for (int tries = 0; tries < 100 && bytes[damage.offset] == 0; ++tries)
      damage.offset = random.below(bytes.size());
  }
  return damage;
}

}  // namespace gneiss::test
