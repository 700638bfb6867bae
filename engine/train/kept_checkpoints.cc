#include "engine/train/kept_checkpoints.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "engine/train/checkpoint.h"
#include "storage/base/error.h"
#include "storage/io/file.h"
#include "storage/io/folders.h"

namespace gneiss {
namespace {

constexpr std::string_view prefix = "epoch-";
constexpr std::string_view state_ending = ".state.safetensors";
constexpr std::string_view weights_ending = ".safetensors";

struct CheckpointName {
  std::uint32_t epoch = 0;
  std::string_view suffix;
  bool is_state = false;
};

// Nothing for the name of a file that is no checkpoint.
std::optional<CheckpointName> parse(std::string_view name) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  CheckpointName parsed;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), parsed.epoch);
  if (error != std::errc()) return std::nullopt;
  name.remove_prefix(static_cast<std::size_t>(end - name.data()));
  parsed.is_state = name.ends_with(state_ending);
  const std::string_view ending = parsed.is_state ? state_ending : weights_ending;
  if (!name.ends_with(ending)) return std::nullopt;
  name.remove_suffix(ending.size());
  parsed.suffix = name;
  return parsed;
}

template <class Visit>
void for_each_checkpoint(const std::filesystem::path& folder, const Visit& visit) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (const auto parsed = parse(name)) visit(entry.path(), *parsed);
  }
}

void remove(const std::vector<std::filesystem::path>& paths) {
  for (const auto& path : paths) {
    std::error_code error;
    std::filesystem::remove(path, error);
    if (error) fail_errno(path.string(), "remove", error.value());
  }
}

}  // namespace

void KeptCheckpoints::keep(std::uint32_t epoch, const ParameterSet& parameters,
                           const std::filesystem::path& state) const {
  if (options_.count == 0) return;
  make_folders(options_.folder);
  // Without the score of its epoch, which a run that goes on from the state alone would not know.
  write_checkpoint(weights_path(epoch), parameters, {.epoch = epoch});
  publish_link(state, state_path(epoch));
  remove_others(epoch);
}

void KeptCheckpoints::remove_others(std::uint32_t epoch) const {
  std::vector<std::filesystem::path> others;
  for_each_checkpoint(options_.folder, [&](const std::filesystem::path& path, const CheckpointName& name) {
    if (name.suffix != options_.suffix) return;
    // Later ones are there when a run went back to an earlier epoch.
    if (name.epoch > epoch || epoch - name.epoch >= options_.count) others.push_back(path);
  });
  remove(others);
}

std::vector<std::uint32_t> KeptCheckpoints::epochs() const {
  std::vector<std::uint32_t> found;
  for_each_checkpoint(options_.folder, [&](const std::filesystem::path&, const CheckpointName& name) {
    if (name.is_state && name.suffix == options_.suffix) found.push_back(name.epoch);
  });
  std::ranges::sort(found);
  return found;
}

std::filesystem::path KeptCheckpoints::weights_path(std::uint32_t epoch) const {
  return options_.folder / fmt::format("{}{:04}{}{}", prefix, epoch, options_.suffix, weights_ending);
}

std::filesystem::path KeptCheckpoints::state_path(std::uint32_t epoch) const {
  return options_.folder / fmt::format("{}{:04}{}{}", prefix, epoch, options_.suffix, state_ending);
}

void KeptCheckpoints::remove_all(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  for_each_checkpoint(
      folder, [&](const std::filesystem::path& path, const CheckpointName&) { paths.push_back(path); });
  remove(paths);
  std::error_code not_empty;
  std::filesystem::remove(folder, not_empty);
}

}  // namespace gneiss
