// The folder of a training run: what describes it, what it measured, its best model.
//
//   config.yaml       every option as resolved
//   metrics.jsonl     one JSON object per epoch
//   summary.json      the result
//   timeline.json     the first few thousand events of its timeline, see engine/pipeline/trace.h
//   best.safetensors  the weights of the best epoch
//   state.safetensors where the run stands, for going on after an interruption
//   checkpoints/      those of the last epochs, see engine/train/kept_checkpoints.h
//   report.html       the page of 'gneiss report'
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/train/kept_checkpoints.h"
#include "storage/io/file.h"
#include "storage/io/file_lock.h"

namespace gneiss {

inline constexpr const char* runs_folder_name = "runs";  // of a dataset
inline constexpr const char* timeline_file_name = "timeline.json";
inline constexpr const char* report_file_name = "report.html";

// Whether training writes a file of this name, relative to the run's folder.
bool is_run_file(const std::filesystem::path& name);

enum class RunStart {
  anew,     // or go on, where an interrupted run lies in the folder: the numbers are the same
  go_on,    // --resume: only go on, after a finished run too
  replace,  // --force: whatever lies there
};

class RunFolder {
 public:
  // `given` empty: the next free DATASET/runs/run-NNNN. Of a run that is replaced, or that left no state,
  // only config.yaml stays, for write_config() to replace; a kill meanwhile leaves it whole or plainly begun
  // anew. `is_of_many`: of several runs with seeds of their own. Throws Error(config) when `given` holds a
  // finished run and is to be begun anew, nothing and is to go on, the other sort of run, or files that are
  // no run's; Error(io) when it cannot be made or another process trains in it.
  RunFolder(const std::filesystem::path& dataset, const std::string& given, RunStart start, bool is_of_many);

  const std::filesystem::path& path() const noexcept { return path_; }
  // The files of one run, or of one of many with seeds of their own.
  std::filesystem::path checkpoint(std::optional<std::uint64_t> seed = {}) const;
  std::filesystem::path state(std::optional<std::uint64_t> seed = {}) const;
  KeptCheckpointOptions kept(std::uint32_t count, std::optional<std::uint64_t> seed = {}) const;
  bool goes_on() const noexcept { return goes_on_; }
  bool holds_state() const;

  // Leaves, of the epochs of this seed, those up to `epochs_done` in the metrics, and returns them.
  // Throws Error(corruption) when they are not all there as they were written.
  std::vector<nlohmann::json> keep_metrics(std::uint64_t seed, std::uint32_t epochs_done);

  void write_config(const nlohmann::json& options) const;
  void append_metrics(const nlohmann::json& epoch);  // durable: the state that follows speaks of this epoch
  void write_summary(const nlohmann::json& summary) const;

 private:
  std::filesystem::path path_;
  FileLock lock_;
  bool goes_on_ = false;
  File metrics_;
};

}  // namespace gneiss
