// Checkpoints of the last epochs of a run: the weights of each, and where the run stood after it.
//
//   epoch-0007.safetensors        the weights, as those of the best epoch (checkpoint.h)
//   epoch-0007.state.safetensors  what a run goes on from (train_state.h)
//
// Order: a checkpoint is made of a state that is durable already, and older ones go when both its files
//        are: a kill at any moment leaves the run's state, and the last `count` checkpoints or all but one
//        of them, whole. keep() again, with what the state says, makes up for what the kill left undone.
// Space: the state's file is a second name of the run's own, until that is replaced by the next epoch's.
// Errors: io.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/nn/parameter_set.h"

namespace gneiss {

struct KeptCheckpointOptions {
  std::filesystem::path folder;  // made when it is missing
  std::string suffix;            // of names, after the epoch: tells apart the runs that share the folder
  std::uint32_t count = 0;       // of epochs; 0: none is kept, nothing is touched
};

class KeptCheckpoints {
 public:
  explicit KeptCheckpoints(KeptCheckpointOptions options) : options_(std::move(options)) {}

  // Makes the checkpoint of `epoch` of its parameters and of the durable file `state`; then removes all that
  // are not of the `count` epochs up to it.
  void keep(std::uint32_t epoch, const ParameterSet& parameters, const std::filesystem::path& state) const;

  // Of these there is a state to go on from, ascending.
  std::vector<std::uint32_t> epochs() const;
  std::filesystem::path weights_path(std::uint32_t epoch) const;
  std::filesystem::path state_path(std::uint32_t epoch) const;

  // Removes the checkpoints in `folder`, whatever their suffix, and the folder if nothing else is in it.
  static void remove_all(const std::filesystem::path& folder);

 private:
  void remove_others(std::uint32_t epoch) const;

  KeptCheckpointOptions options_;
};

}  // namespace gneiss
