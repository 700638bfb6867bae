#include "engine/train/train_state.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "engine/train/safetensors.h"
#include "storage/base/error.h"
#include "storage/format/json_text.h"

namespace gneiss {
namespace {

constexpr const char* state_format = "gneiss training state 1";

const std::string& text_of(const TensorMetadata& metadata, const char* key,
                           const std::filesystem::path& path) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) fail(Kind::corruption, "{}: '{}' is missing", path.string(), key);
  return found->second;
}

template <class T>
T number_of(const TensorMetadata& metadata, const char* key, const std::filesystem::path& path) {
  const std::string& text = text_of(metadata, key, path);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    fail(Kind::corruption, "{}: '{}' is '{}', not a number", path.string(), key, text);
  }
  return value;
}

// The flat arrays of a set, by their names in the file.
std::array<std::pair<const char*, std::span<float>>, 3> arrays_of(const ParameterSet& parameters) {
  return {{{"values", parameters.values()},
           {"first_moments", parameters.first_moments()},
           {"second_moments", parameters.second_moments()}}};
}
constexpr const char* best_name = "best_values";

// "lr is 0.01 there and 0.003 here", for all that differs.
std::string difference(const std::string& there, const std::string& here, const std::filesystem::path& path) {
  const auto old = parse_json(there);
  const auto now = nlohmann::json::parse(here);
  if (!old.is_object()) fail(Kind::corruption, "{}: 'identity' is damaged", path.string());
  const auto value = [](const nlohmann::json& object, const std::string& key) {
    return object.contains(key) ? object.at(key).dump() : "not set";
  };
  // Of both: an option at its default may not stand there.
  nlohmann::json all = old;
  all.update(now);
  std::string text;
  for (const auto& [key, item] : all.items()) {
    if (value(old, key) == value(now, key)) continue;
    text += fmt::format("{}{} is {} there and {} here", text.empty() ? "" : ", ", key, value(old, key),
                        value(now, key));
  }
  return text.empty() ? "it has options that this program does not know" : text;
}

// How, where the splits are all that differs; else empty.
std::string begun_on_other_splits(const std::string& there, const std::string& here) {
  auto old = parse_json(there);
  auto now = nlohmann::json::parse(here);
  if (!old.is_object()) return "";
  const bool has_splits = old.erase("splits") > 0;
  now.erase("splits");
  if (old != now) return "";
  return has_splits ? "on other splits of the dataset"
                    : "by an older gneiss, which did not say on which splits of the dataset";
}

TrainState state_of(const SafetensorsFile& file, const std::filesystem::path& path,
                    const std::string& identity) {
  const TensorMetadata& metadata = file.metadata();
  if (const std::string& format = text_of(metadata, "format", path); format != state_format) {
    fail(Kind::input, "{} is '{}', which this program does not read; train from the start with --force",
         path.string(), format);
  }
  TrainState state;
  state.identity = text_of(metadata, "identity", path);
  if (state.identity != identity) {
    if (const std::string begun = begun_on_other_splits(state.identity, identity); !begun.empty()) {
      fail(Kind::config, "{} is of a run that was begun {}; give another --run, or --force to start anew",
           path.string(), begun);
    }
    fail(Kind::config,
         "{} is of a run with other options: {}; give the same, another --run, or --force to start anew",
         path.string(), difference(state.identity, identity, path));
  }
  state.epochs_done = number_of<std::uint32_t>(metadata, "epochs_done", path);
  state.step = number_of<std::uint64_t>(metadata, "step", path);
  state.optimizer_step = number_of<std::uint64_t>(metadata, "optimizer_step", path);
  state.best_epoch = number_of<std::uint32_t>(metadata, "best_epoch", path);
  for (const Metric metric : all_metrics) {
    const std::string key = fmt::format("valid_{}", name_of(metric));
    if (!metadata.contains(key)) continue;
    state.metric = metric;
    state.valid_score = number_of<double>(metadata, key.c_str(), path);
  }
  if (state.epochs_done == 0 || state.best_epoch > state.epochs_done) {
    fail(Kind::corruption, "{}: best epoch {} of {} epochs cannot be", path.string(), state.best_epoch,
         state.epochs_done);
  }
  return state;
}

void expect_state_checksum(const SafetensorsFile& file, const std::string& found,
                           const std::filesystem::path& path) {
  if (text_of(file.metadata(), checksum_key, path) == found) return;
  fail(Kind::corruption,
       "{}: its checksum does not fit; go on from a kept checkpoint with --resume-epoch, or train from the "
       "start with --force",
       path.string());
}

SafetensorsFile open_checked(const std::filesystem::path& path) {
  SafetensorsFile file = SafetensorsFile::open(path);
  expect_state_checksum(file, file.stream(), path);
  return file;
}

}  // namespace

TrainState peek_train_state(const std::filesystem::path& path, const std::string& identity) {
  return state_of(open_checked(path), path, identity);
}

void write_train_state(const std::filesystem::path& path, const TrainState& state,
                       const ParameterSet& parameters, std::span<const float> best_values) {
  GNEISS_ASSERT(best_values.size() == parameters.element_count());
  Backend& backend = parameters.backend();
  std::vector<TensorSource> tensors;
  for (const auto& [name, values] : arrays_of(parameters)) {
    tensors.push_back({.name = name,
                       .dtype = Dtype::f32,
                       .shape = {values.size()},
                       .copy = [&backend, values](std::uint64_t first_byte, std::span<std::byte> piece) {
                         backend.copy_out(values.data() + first_byte / sizeof(float), floats_of(piece));
                       }});
  }
  tensors.push_back(tensor_of(best_name, Dtype::f32, {best_values.size()}, std::as_bytes(best_values)));
  TensorMetadata metadata{{"format", state_format},
                          {"identity", state.identity},
                          {"epochs_done", std::to_string(state.epochs_done)},
                          {"step", std::to_string(state.step)},
                          {"optimizer_step", std::to_string(state.optimizer_step)},
                          {"best_epoch", std::to_string(state.best_epoch)}};
  // Shortest digits that give the same double again.
  if (state.valid_score) {
    metadata[fmt::format("valid_{}", name_of(state.metric))] = fmt::format("{}", *state.valid_score);
  }
  write_checked_safetensors(path, tensors, metadata);
}

TrainState read_train_state(const std::filesystem::path& path, const std::string& identity,
                            ParameterSet& parameters, std::span<float> best_values) {
  GNEISS_ASSERT(best_values.size() == parameters.element_count());
  const SafetensorsFile file = open_checked(path);
  TrainState state = state_of(file, path, identity);
  const std::array<std::uint64_t, 1> shape{parameters.element_count()};
  const auto arrays = arrays_of(parameters);
  file.require(best_name, Dtype::f32, shape);
  for (const auto& [name, values] : arrays) file.require(name, Dtype::f32, shape);
  // The drive may give other bytes than before.
  const std::string sum = file.stream(
      [&](const StoredTensor& tensor, std::uint64_t first_byte, std::span<const std::byte> piece) {
        const std::size_t first = first_byte / sizeof(float);
        if (tensor.name == best_name) std::ranges::copy(floats_of(piece), best_values.begin() + first);
        for (const auto& [name, values] : arrays) {
          if (tensor.name == name) parameters.backend().copy_in(floats_of(piece), values.data() + first);
        }
      });
  expect_state_checksum(file, sum, path);
  return state;
}

}  // namespace gneiss
