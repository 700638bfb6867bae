#include "tools/run_folder.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>

#include "storage/base/error.h"
#include "storage/format/json_text.h"
#include "storage/io/file.h"
#include "storage/io/folders.h"
#include "tools/checked_text.h"

namespace gneiss {
namespace {

constexpr const char* config_file_name = "config.yaml";
constexpr const char* metrics_file_name = "metrics.jsonl";
constexpr const char* summary_file_name = "summary.json";
constexpr const char* checkpoints_folder_name = "checkpoints";

// The next free run-NNNN. It is made here, so that of several that look at once each gets its own.
std::filesystem::path make_next_folder(const std::filesystem::path& runs) {
  make_folders(runs);
  for (int number = 1;; ++number) {
    auto path = runs / fmt::format("run-{:04}", number);
    std::error_code error;
    if (std::filesystem::create_directory(path, error)) {
      sync_folder(runs);
      return path;
    }
    if (error && error != std::errc::file_exists)
      fail_errno(path.string(), "create the folder", error.value());
  }
}

void emit(YAML::Emitter& out, const nlohmann::json& value) {
  if (value.is_object()) {
    out << YAML::BeginMap;
    for (const auto& [key, item] : value.items()) {
      out << YAML::Key << key << YAML::Value;
      emit(out, item);
    }
    out << YAML::EndMap;
  } else if (value.is_array()) {
    out << YAML::Flow << YAML::BeginSeq;
    for (const auto& item : value) emit(out, item);
    out << YAML::EndSeq;
  } else if (value.is_string()) {
    out << value.get<std::string>();
  } else if (value.is_boolean()) {
    out << value.get<bool>();
  } else {
    out << value.dump();
  }
}

// Whether what `object` has under `key`, if anything, is a whole number from 0.
bool is_count(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_number_unsigned();
}

// "best.safetensors", or "best-seed-N.safetensors" of one of many.
std::string tensors_name(std::string_view kind, std::optional<std::uint64_t> seed) {
  return seed ? fmt::format("{}-seed-{}.safetensors", kind, *seed) : fmt::format("{}.safetensors", kind);
}

bool is_tensors_name(const std::string& name, std::string_view kind) {
  const std::string first = fmt::format("{}-seed-", kind);
  std::uint64_t seed = 0;
  if (name.starts_with(first)) std::from_chars(name.data() + first.size(), name.data() + name.size(), seed);
  return name == tensors_name(kind, {}) || name == tensors_name(kind, seed);
}

std::vector<std::filesystem::path> tensors_in(const std::filesystem::path& folder, std::string_view kind) {
  std::vector<std::filesystem::path> found;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
    if (is_tensors_name(entry.path().filename(), kind)) found.push_back(entry.path());
  }
  return found;
}

std::vector<std::filesystem::path> states_in(const std::filesystem::path& folder) {
  return tensors_in(folder, "state");
}

void remove_durably(const std::filesystem::path& folder, const std::vector<std::filesystem::path>& files) {
  bool is_removed = false;
  for (const auto& file : files) {
    std::error_code error;
    is_removed |= std::filesystem::remove(file, error);
    if (error) fail_errno(file.string(), "remove", error.value());
  }
  if (is_removed) sync_folder(folder);
}

// All of the run that lies there but its config.yaml, which the next one's replaces, and its metrics. Each
// step is durable before the next, so that a kill or a power cut leaves the old run, or plainly none:
//   without its summary it was interrupted before its end, and the same command brings it there;
//   without a state it begins anew, and what it has as its best weights is still that of its config.yaml;
//   without these it has not come to any yet, under whichever config.yaml.
void remove_run(const std::filesystem::path& folder) {
  remove_durably(folder, {folder / summary_file_name});
  remove_durably(folder, states_in(folder));
  KeptCheckpoints::remove_all(folder / checkpoints_folder_name);
  std::vector<std::filesystem::path> rest = tensors_in(folder, "best");
  rest.push_back(folder / timeline_file_name);
  rest.push_back(folder / report_file_name);
  remove_durably(folder, rest);
}

// A folder with anything in it is taken only where a run has been.
void refuse_other_files(const std::filesystem::path& folder) {
  std::error_code none;
  if (std::filesystem::exists(folder / config_file_name, none)) return;
  for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
    // A run that was killed at once has only these.
    if (entry.path().filename() == metrics_file_name || entry.path().filename() == "config.yaml.tmp")
      continue;
    fail(Kind::config, "--run {} holds '{}' and no run; give an empty folder or a new name", folder.string(),
         entry.path().filename().string());
  }
}

}  // namespace

bool is_run_file(const std::filesystem::path& name) {
  if (name.has_parent_path()) return *name.begin() == checkpoints_folder_name;
  return name == config_file_name || name == metrics_file_name || name == summary_file_name ||
         name == timeline_file_name || is_tensors_name(name, "best") || is_tensors_name(name, "state");
}

RunFolder::RunFolder(const std::filesystem::path& dataset, const std::string& given, RunStart start,
                     bool is_of_many)
    : path_(given) {
  if (std::filesystem::exists(path_) && !std::filesystem::is_directory(path_)) {
    fail(Kind::config, "--run {} is a file; give a folder", path_.string());
  }
  if (start == RunStart::go_on && states_in(path_).empty()) {
    fail(Kind::config, "--resume: {} holds no run to go on with; name its folder with --run", path_.string());
  }
  // Whoever wants runs elsewhere says so with --run; what a dataset brought along does not lead there.
  if (given.empty()) refuse_link(dataset / runs_folder_name);
  if (!given.empty()) refuse_other_files(path_);
  try {
    if (given.empty()) path_ = make_next_folder(dataset / runs_folder_name);
    make_folders(path_);
  } catch (const Error& error) {
    fail(Kind::io, "{}; give a writable folder for the run with --run", error.what());
  }
  refuse_link(path_ / checkpoints_folder_name);
  auto lock = FileLock::try_take(path_, FileLock::Mode::exclusive);
  if (!lock) {
    fail(Kind::io, "another gneiss is training in {}; wait until it ends, or choose another --run",
         path_.string());
  }
  lock_ = std::move(*lock);
  // Only now, for the other may have just ended.
  const std::vector<std::filesystem::path> states = states_in(path_);
  if (start == RunStart::anew && std::filesystem::exists(path_ / summary_file_name)) {
    fail(Kind::config,
         "{} holds a finished run; choose another --run, --resume to go on with more --epochs, or --force to "
         "replace it",
         path_.string());
  }
  goes_on_ = start != RunStart::replace && !states.empty();
  if (goes_on_ && std::filesystem::exists(state()) == is_of_many) {
    fail(Kind::config, "{} holds {}; give --runs as then, another --run, or --force to replace it",
         path_.string(), is_of_many ? "a single run" : "several runs with seeds of their own");
  }
  if (!goes_on_) remove_run(path_);
  const auto metrics = path_ / metrics_file_name;
  metrics_ =
      goes_on_ && std::filesystem::exists(metrics) ? File::open_existing(metrics) : File::create(metrics);
}

std::filesystem::path RunFolder::checkpoint(std::optional<std::uint64_t> seed) const {
  return path_ / tensors_name("best", seed);
}

std::filesystem::path RunFolder::state(std::optional<std::uint64_t> seed) const {
  return path_ / tensors_name("state", seed);
}

KeptCheckpointOptions RunFolder::kept(std::uint32_t count, std::optional<std::uint64_t> seed) const {
  return {.folder = path_ / checkpoints_folder_name,
          .suffix = seed ? fmt::format("-seed-{}", *seed) : "",
          .count = count};
}

bool RunFolder::holds_state() const { return !states_in(path_).empty(); }

std::vector<nlohmann::json> RunFolder::keep_metrics(std::uint64_t seed, std::uint32_t epochs_done) {
  std::istringstream lines(read_text_file(path_ / metrics_file_name));
  std::vector<nlohmann::json> kept;
  std::string text;
  std::size_t number = 0;
  const auto refuse = [&](const std::string& what) {
    fail(Kind::corruption, "{}: {}; put it back as it was, or train from the start with --force",
         (path_ / metrics_file_name).string(), what);
  };
  for (std::string line; std::getline(lines, line);) {
    ++number;
    // The kill may have cut the last line short.
    auto epoch = parse_json(line);
    if (!epoch.is_object()) continue;
    if (!take_checksum(epoch)) refuse(fmt::format("line {} does not match its checksum", number));
    if (!is_count(epoch, "seed") || !is_count(epoch, "epoch")) continue;
    if (integer_or<std::uint64_t>(epoch, "seed", 0) == seed) {
      if (integer_or<std::uint64_t>(epoch, "epoch", 0) > epochs_done) continue;
      kept.push_back(epoch);
      kept.back().erase("seed");  // as the epochs of this process are
    }
    text += line + '\n';
  }
  // They were written, and durable, before the state that speaks of them.
  if (kept.size() != epochs_done) {
    refuse(
        fmt::format("it has {} of the {} epochs that the run's state speaks of", kept.size(), epochs_done));
  }
  replace_file(path_ / metrics_file_name, text);
  metrics_ = File::open_existing(path_ / metrics_file_name);
  return kept;
}

void RunFolder::write_config(const nlohmann::json& options) const {
  YAML::Emitter out;
  emit(out, options);
  replace_file(path_ / config_file_name, with_checksum_line(std::string(out.c_str()) + "\n"));
}

void RunFolder::append_metrics(const nlohmann::json& epoch) {
  const std::string line = checked_line(epoch) + '\n';
  metrics_.write_at(metrics_.size(), std::as_bytes(std::span(line)));
  metrics_.sync();
}

void RunFolder::write_summary(const nlohmann::json& summary) const {
  replace_file(path_ / summary_file_name,
               summary.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace gneiss
