#include "tools/report/run_record.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <sstream>

#include "storage/base/error.h"
#include "storage/format/json_text.h"
#include "storage/io/file.h"
#include "tools/checked_text.h"
#include "tools/run_folder.h"

namespace gneiss {
namespace {

std::vector<std::pair<std::string, std::string>> read_config(const std::filesystem::path& path) {
  std::vector<std::pair<std::string, std::string>> config;
  const std::string text = read_text_file(path);
  check_checksum_line(text, path.string());
  try {
    const YAML::Node node = YAML::Load(text);
    if (!node.IsMap() && !node.IsNull())
      fail(Kind::input, "{}: not a map of option names to values; it is not a run's config.yaml",
           path.string());
    for (const auto& item : node) {
      const YAML::Node& value = item.second;
      config.emplace_back(item.first.as<std::string>(),
                          value.IsScalar() ? value.as<std::string>() : YAML::Dump(value));
    }
  } catch (const YAML::Exception& error) {
    fail(Kind::input, "{}, line {}: {}; it is not a run's config.yaml", path.string(), error.mark.line + 1,
         error.msg);
  }
  return config;
}

// Lines of a run that is being written, or was killed, may end in the middle: the last one may be cut short.
std::map<std::uint64_t, std::vector<nlohmann::json>> read_metrics(const std::filesystem::path& path) {
  std::map<std::uint64_t, std::vector<nlohmann::json>> epochs;
  std::istringstream lines(read_text_file(path));
  std::size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    auto epoch = parse_json(line);
    if (!epoch.is_object() || !epoch.contains("epoch")) {
      if (lines.peek() == std::istringstream::traits_type::eof()) break;
      fail(Kind::input, "{}, line {}: not the JSON object of an epoch", path.string(), number);
    }
    if (!take_checksum(epoch)) {
      fail(Kind::corruption, "{}, line {}: it does not match its checksum", path.string(), number);
    }
    for (const auto& [key, value] : epoch.items()) {
      if (!value.is_number())
        fail(Kind::input, "{}, line {}: '{}' is not a number", path.string(), number, key);
      if ((key == "seed" || key == "epoch") && !value.is_number_unsigned())
        fail(Kind::input, "{}, line {}: '{}' is no count", path.string(), number, key);
    }
    epochs[integer_or<std::uint64_t>(epoch, "seed", 0)].push_back(std::move(epoch));
  }
  return epochs;
}

nlohmann::json read_object(const std::filesystem::path& path) {
  auto json = parse_json(read_text_file(path));
  if (!json.is_object()) fail(Kind::input, "{}: not a JSON object", path.string());
  return json;
}

// Trace events as Trace::write() has them; others, of other programs, are left out.
Timeline read_timeline(const std::filesystem::path& path) {
  const nlohmann::json json = read_object(path);
  Timeline timeline;
  try {
    for (const nlohmann::json& event : json.at("traceEvents")) {
      const std::string phase = event.value("ph", "");
      const std::string name = event.value("name", "");
      if (phase == "M" && name == "thread_name") {
        timeline.lanes[integer_of<std::uint32_t>(event.at("tid"))] =
            event.at("args").at("name").get<std::string>();
      } else if (phase == "X") {
        timeline.spans.push_back({.lane = integer_of<std::uint32_t>(event.at("tid")),
                                  .name = name,
                                  .batch = event.contains("args") ? event["args"].value("batch", "") : "",
                                  .begin_seconds = event.at("ts").get<double>() * 1e-6,
                                  .seconds = event.at("dur").get<double>() * 1e-6});
      }
    }
  } catch (const nlohmann::json::exception&) {
    fail(Kind::input, "{}: not a timeline as 'gneiss train --trace' writes it", path.string());
  }
  std::ranges::stable_sort(timeline.spans, {}, &TimelineSpan::begin_seconds);
  return timeline;
}

}  // namespace

RunRecord RunRecord::read(const std::filesystem::path& folder, const std::filesystem::path& timeline) {
  RunRecord record;
  record.folder = folder;
  for (const char* file : {"config.yaml", "metrics.jsonl"}) {
    if (std::filesystem::is_regular_file(folder / file)) continue;
    fail(Kind::config,
         "{} holds no run: there is no {}; name the folder that 'gneiss train' printed at its end",
         folder.string(), file);
  }
  record.config = read_config(folder / "config.yaml");
  record.epochs = read_metrics(folder / "metrics.jsonl");
  if (std::filesystem::exists(folder / "summary.json")) record.summary = read_object(folder / "summary.json");
  if (!timeline.empty()) {
    record.timeline = read_timeline(timeline);
  } else if (std::filesystem::exists(folder / timeline_file_name)) {
    record.timeline = read_timeline(folder / timeline_file_name);
  }
  return record;
}

}  // namespace gneiss
