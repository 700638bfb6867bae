// Where a run stands after an epoch: all that going on from there needs, in one file.
//
// Why one: weights, moments, the best weights so far and the position are written and renamed together;
//          after a kill at any moment a reader finds the state of one epoch or of the one before, never a
//          mixture.
// What not: random state. Every draw is a function of (seed, epoch, step, node), so the position is enough.
// Memory:  a piece of the file at a time, both ways.
// Format:  safetensors, storage/FORMAT.md, "State of a run".
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "engine/nn/parameter_set.h"
#include "engine/train/scores.h"

namespace gneiss {

struct TrainState {
  std::string identity;  // what the run's numbers depend on, as JSON; goes on only where it is the same
  std::uint32_t epochs_done = 0;
  std::uint64_t step = 0;  // training batches seen: the key of the next dropout masks
  std::uint64_t optimizer_step = 0;
  std::uint32_t best_epoch = 0;
  Metric metric = Metric::accuracy;   // of the score
  std::optional<double> valid_score;  // of the best epoch
};

// Writes `state` with the parameters' values and moments and the best epoch's values
// (parameters.element_count(), host). Durable when it returns. Throws Error(io).
void write_train_state(const std::filesystem::path& path, const TrainState& state,
                       const ParameterSet& parameters, std::span<const float> best_values);

// The state alone. Throws Error: input (no such file), corruption, config (another identity; says what
// differs).
TrainState peek_train_state(const std::filesystem::path& path, const std::string& identity);

// The same, and sets values, moments and `best_values`, of no use after Error(corruption): the file's
// checksum is compared before, and again of what was taken.
TrainState read_train_state(const std::filesystem::path& path, const std::string& identity,
                            ParameterSet& parameters, std::span<float> best_values);

}  // namespace gneiss
