#include "bench/ladder/train_window.h"

#include <algorithm>

#include "bench/ladder/gathered_source.h"
#include "engine/compute/cpu/cpu_backend.h"
#include "engine/nn/cross_entropy.h"
#include "engine/nn/model.h"
#include "engine/nn/optimizer.h"
#include "engine/train/memory_plan.h"
#include "storage/base/error.h"
#include "storage/base/stopwatch.h"

namespace gneiss::ladder {

TrainedWindow train_window(const Dataset& dataset, const Preparation& preparation, const RowLists& lists,
                           RowSource& source, const Window& window, const TrainWindowOptions& options,
                           ThreadPool& pool) {
  const auto backend = make_cpu_backend(pool);
  std::uint32_t seeds = 0;
  for (const BatchEntry& entry : preparation.pool().entries()) seeds = std::max(seeds, entry.seed_count);
  const auto model =
      make_model(options.model, *backend,
                 {.feature_columns = dataset.info().feature_dim,
                  .hidden_columns = options.hidden,
                  .class_count = dataset.info().class_count,
                  .layer_count = static_cast<std::uint32_t>(preparation.info().options.fanouts.size()),
                  .dropout = options.dropout,
                  .seed = options.seed},
                 block_maxima(preparation));
  CrossEntropy loss(*backend, seeds, dataset.info().class_count);
  Optimizer optimizer(model->parameters(), {.learning_rate = options.learning_rate});
  GatheredSource batches(preparation, dataset.info(), lists, source, options.slot_count, window.positions());
  TrainedWindow trained;
  Stopwatch watch;
  StageTimes at_start;
  for (std::uint64_t step = 0; step < window.positions(); ++step) {
    if (step == window.warm_up) {
      watch.restart();
      at_start = batches.consumer_times();
    }
    const SourcedBatch* batch = batches.next();
    GNEISS_ASSERT(batch != nullptr);
    const StepContext context{.is_training = true, .seed = options.seed, .step = step};
    const LossSum sum = loss.evaluate_with_gradient(model->forward(batch->view, context), batch->view);
    if (sum.labelled_count > 0) {
      model->backward(batch->view, loss.gradient());
      optimizer.step();
    }
    trained.losses.push_back(static_cast<float>(sum.mean()));
    if (step >= window.warm_up) trained.input_rows += batch->view.input.row_count();
  }
  trained.seconds = watch.seconds();
  trained.starved_seconds = (batches.consumer_times() - at_start).starved_seconds;
  return trained;
}

}  // namespace gneiss::ladder
