// What training will take in memory, foreseen from the plan of its preparation.
#pragma once

#include "engine/train/memory_plan.h"
#include "sampler/plan_preparation.h"

namespace gneiss {

// Of `gneiss train` with its defaults on the CPU, as it will plan it: frames are taken at the most they can
// be.
MemoryPlan foresee_training_memory(const Dataset& dataset, const PreparationOptions& options,
                                   const PreparationCost& cost);

}  // namespace gneiss
