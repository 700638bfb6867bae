#include "tools/run_folder.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <nlohmann/json.hpp>

#include "storage/base/error.h"
#include "storage/io/file.h"

namespace gneiss {
namespace {

std::filesystem::path next_free_folder(const std::filesystem::path& runs) {
  for (int number = 1;; ++number) {
    auto path = runs / fmt::format("run-{:04}", number);
    if (!std::filesystem::exists(path)) return path;
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

}  // namespace

RunFolder::RunFolder(const std::filesystem::path& dataset, const std::string& given, bool force)
    : path_(given.empty() ? next_free_folder(dataset / "runs") : std::filesystem::path(given)) {
  if (std::filesystem::exists(path_ / "summary.json") && !force) {
    fail(Kind::config, "{} holds a finished run; choose another --run, or pass --force to replace it",
         path_.string());
  }
  if (std::filesystem::exists(path_) && !std::filesystem::is_directory(path_)) {
    fail(Kind::config, "--run {} is a file; give a folder", path_.string());
  }
  std::error_code error;
  std::filesystem::create_directories(path_, error);
  if (error) {
    fail(Kind::io, "{}: cannot create the run's folder: {}; give a writable one with --run", path_.string(),
         error.message());
  }
  std::filesystem::remove(path_ / "summary.json", error);
  metrics_.open(path_ / "metrics.jsonl", std::ios::trunc);
  if (!metrics_) fail(Kind::io, "{}: cannot be written; give a writable folder with --run", path_.string());
}

void RunFolder::write_config(const nlohmann::json& options) const {
  YAML::Emitter out;
  emit(out, options);
  write_text_file(path_ / "config.yaml", std::string(out.c_str()) + "\n");
}

void RunFolder::append_metrics(const nlohmann::json& epoch) {
  metrics_ << epoch.dump() << '\n' << std::flush;
  if (!metrics_) fail(Kind::io, "{}: writing metrics.jsonl failed; is the disk full?", path_.string());
}

void RunFolder::write_summary(const nlohmann::json& summary) const {
  write_text_file(path_ / "summary.json", summary.dump(2) + "\n");
}

}  // namespace gneiss
