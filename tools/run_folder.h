// The folder of a training run: what describes it, what it measured, its best model.
//
//   config.yaml       every option as resolved
//   metrics.jsonl     one JSON object per epoch
//   summary.json      the result
//   best.safetensors  the weights of the best epoch
#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace gneiss {

class RunFolder {
 public:
  // `given` empty: the next free DATASET/runs/run-NNNN. Throws Error(config) when `given` holds a finished
  // run and not `force`, Error(io) when it cannot be made.
  RunFolder(const std::filesystem::path& dataset, const std::string& given, bool force);

  const std::filesystem::path& path() const noexcept { return path_; }
  std::filesystem::path checkpoint() const { return path_ / "best.safetensors"; }

  void write_config(const nlohmann::json& options) const;
  void append_metrics(const nlohmann::json& epoch);
  void write_summary(const nlohmann::json& summary) const;

 private:
  std::filesystem::path path_;
  std::ofstream metrics_;
};

}  // namespace gneiss
