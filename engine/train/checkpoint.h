// The weights of a model as a safetensors file, under PyG's parameter names.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "engine/nn/parameter_set.h"
#include "engine/train/safetensors.h"
#include "engine/train/scores.h"

namespace gneiss {

// Writes to a temporary name, syncs, renames: the last good file is never lost. Throws Error(io).
void write_checkpoint(const std::filesystem::path& path, const ParameterSet& parameters, std::uint32_t epoch,
                      Metric metric, std::optional<double> valid_score);

// Opens a checkpoint and compares one of ours with its checksum; another program's has none. Throws
// Error: input (missing), corruption.
SafetensorsFile open_checkpoint(const std::filesystem::path& path);

// Fills `parameters` from the file. Throws Error: input (missing), corruption (damaged, other shapes).
void read_checkpoint(const std::filesystem::path& path, ParameterSet& parameters);

}  // namespace gneiss
