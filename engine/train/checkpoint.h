// The weights of a model as a safetensors file, under PyG's parameter names.
//
// Memory: a piece of the weights at a time, both ways.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>

#include "engine/nn/parameter_set.h"
#include "engine/train/safetensors.h"
#include "engine/train/scores.h"

namespace gneiss {

// What a checkpoint says besides its weights.
struct CheckpointFacts {
  std::uint32_t epoch = 0;
  Metric metric = Metric::accuracy;
  std::optional<double> valid_score{};
};

// Writes to a temporary name, syncs, renames: the last good file is never lost. Throws Error(io).
void write_checkpoint(const std::filesystem::path& path, const ParameterSet& parameters,
                      const CheckpointFacts& facts);
// The same of other values of the same parameters, in host memory, that lie as parameters.values() does.
void write_checkpoint(const std::filesystem::path& path, const ParameterList& parameters,
                      std::span<const float> values, const CheckpointFacts& facts);

// Opens a checkpoint, reads it once and compares one of ours with its checksum; another program's has none.
// Throws Error: input (missing), corruption.
SafetensorsFile open_checkpoint(const std::filesystem::path& path);

// Fills `parameters` from the file, whose checksum is compared before, and again of what was taken. Throws
// Error: input (missing), corruption (damaged, other shapes).
void read_checkpoint(const std::filesystem::path& path, ParameterSet& parameters);

}  // namespace gneiss
