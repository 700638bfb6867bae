// What the numbers of a run depend on, as one text: a state is gone on with by a run that has the same.
//
// Why: caches change no number and are left out; so is the number of epochs, for a run may go on for longer.
#pragma once

#include <string>

#include "engine/train/trainer.h"

namespace gneiss {

//   options  resolved
std::string identity_of(const Dataset& dataset, const Preparation& preparation, const TrainOptions& options,
                        const Backend& backend);

}  // namespace gneiss
