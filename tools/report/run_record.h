// What a training run left in its folder, for those who look at it.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace gneiss {

struct TimelineSpan {
  std::uint32_t lane = 0;
  std::string name;   // read, assemble, wait, forward, ...
  std::string batch;  // empty: of none
  double begin_seconds = 0;
  double seconds = 0;
};

struct Timeline {
  std::map<std::uint32_t, std::string> lanes;  // names, in the order in which they are shown
  std::vector<TimelineSpan> spans;             // by begin
};

struct RunRecord {
  std::filesystem::path folder;
  std::vector<std::pair<std::string, std::string>> config;  // options as resolved, by name
  std::map<std::uint64_t, std::vector<nlohmann::json>>
      epochs;                                         // by seed, in order; each an object of numbers
  nlohmann::json summary = nlohmann::json::object();  // empty while the run is not finished
  Timeline timeline;                                  // empty when there is none

  // Throws Error: config (no run there), input (a file that is not what it should be, with its line).
  //   timeline  a trace-event file; empty: the run's own
  static RunRecord read(const std::filesystem::path& folder, const std::filesystem::path& timeline);
};

}  // namespace gneiss
