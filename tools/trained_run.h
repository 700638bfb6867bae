// What `gneiss train` left of a model: its options, and the weights of its best epoch.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "engine/nn/model.h"
#include "engine/train/objective.h"

namespace gneiss {

struct TrainedRun {
  std::string model;
  ModelOptions options;
  ObjectiveOptions objective;
  std::filesystem::path checkpoint;

  // Reads config.yaml of `folder`, and of `checkpoint` (empty: the folder's best.safetensors) how many layers
  // there are. The model that they make has the checkpoint's tensors, so that it is as large as that file,
  // and takes memory only when it is made. Throws Error: config (no run, or several with seeds of their own),
  // input (a value in it that cannot be read or be, a dataset that does not fit), corruption (config.yaml,
  // the checkpoint, two that do not belong together).
  static TrainedRun read(const std::filesystem::path& folder, const std::filesystem::path& checkpoint,
                         const DatasetInfo& dataset);
};

// The device that the run in `folder` was begun on, "cpu" or "cuda"; empty: there is no run.
std::string device_of_run(const std::filesystem::path& folder);

}  // namespace gneiss
