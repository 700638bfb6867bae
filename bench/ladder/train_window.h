// Training on a window of batches whose rows a strategy gathers: the steps that `gneiss train` makes.
#pragma once

#include "bench/ladder/measure.h"
#include "storage/base/parallel.h"

namespace gneiss::ladder {

struct TrainWindowOptions {
  std::string model = "sage";
  std::uint32_t hidden = 128;
  float dropout = 0.5F;
  float learning_rate = 0.003F;
  std::uint64_t seed = 1;
  std::uint32_t slot_count = 2;  // batches in flight, the one being computed included
};

struct TrainedWindow {
  std::uint64_t input_rows = 0;
  double seconds = 0;          // of the window, from one batch's end to another's
  double starved_seconds = 0;  // of these, waiting for rows
  std::vector<float> losses;   // of every step, warm-up included
};

// Throws Error as the source does, and as the model's making.
TrainedWindow train_window(const Dataset& dataset, const Preparation& preparation, const RowLists& lists,
                           RowSource& source, const Window& window, const TrainWindowOptions& options,
                           ThreadPool& pool);

}  // namespace gneiss::ladder
