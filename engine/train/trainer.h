// One training run: epochs over a preparation, validation, the best model kept, the test split once.
//
// Why:     everything that a run depends on is in TrainOptions and the preparation: the same ones give the
//          same losses to the bit, whatever the reader engine, cache size and thread count.
// Threads: computation on `pool`, or on a device; reading, assembling and uploading on threads of their own.
// Resume:  a run that goes on from its state ends with the numbers of one that was never interrupted.
// Errors:  config (memory, options), input (no state), io, corruption, cancelled.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/compute/batch_uploader.h"
#include "engine/nn/model.h"
#include "engine/nn/optimizer.h"
#include "engine/pipeline/pipelined_source.h"
#include "engine/train/epoch_schedule.h"
#include "engine/train/kept_checkpoints.h"
#include "engine/train/learning_rate.h"
#include "engine/train/memory_plan.h"
#include "engine/train/objective.h"
#include "storage/base/parallel.h"

namespace gneiss {

struct TrainOptions {
  std::string model = "sage";
  std::uint32_t hidden = 128;
  Activation activation = Activation::relu;
  float dropout = 0.5F;
  std::uint32_t head_count = 4;              // of models that have heads
  Aggregator aggregator = Aggregator::mean;  // of models that can choose
  bool residual = false;
  NormKind norm = NormKind::none;
  OptimizerOptions optimizer;
  LearningRateOptions learning_rate;
  ObjectiveOptions objective;
  std::uint32_t patience = 0;  // stop after so many epochs without a better validation score; 0: never
  ScheduleOptions schedule;
  PipelineOptions pipeline;  // slot_count: the most; the memory plan may take fewer
  std::uint64_t memory_bytes = 0;
  std::filesystem::path checkpoint;  // where the best model's weights go; empty: nowhere
  std::filesystem::path state;       // what going on later needs, after every epoch; empty: nowhere
  bool exact_evaluation = false;     // validation and test over whole neighborhoods, see ExactEvaluator
  std::filesystem::path scratch;     // for its layers' outputs; empty: the dataset's folder
  KeptCheckpointOptions kept;        // checkpoints of the last epochs, which need `state`
  bool resume = false;               // go on from `state`, which must be of a run with the same options
};

struct EpochResult {
  std::uint32_t epoch = 0;  // from 1, as printed
  Scores train;             // during training, with dropout
  std::optional<Scores> valid;
  double seconds = 0;             // of the training batches
  double evaluation_seconds = 0;  // of the validation
  std::uint64_t batches = 0;
  BatchCost cost;       // of the training batches
  PipelineTimes times;  // while training batches were computed
};

struct RunResult {
  std::uint32_t resumed_after = 0;  // epochs that an earlier process had done; the first here is the next one
  std::vector<EpochResult> epochs;
  Metric metric = Metric::accuracy;  // what epochs were compared by
  std::uint32_t best_epoch = 0;  // by the validation score, the first of equals; the last without validation
  std::optional<double> valid_score;  // the metric of the best epoch
  std::optional<Scores> test;         // of the best epoch's model
  std::vector<float> step_losses;     // of every training step done here
  MemoryPlan memory;
  std::string io_engine;
  bool direct_reads = false;
};

// What computes.
struct TrainDevice {
  // The CPU.
  TrainDevice(Backend& cpu) : backend(cpu), host(cpu) {}  // NOLINT(google-explicit-constructor)
  // A device that batches are uploaded to.
  //   host_backend   what exact evaluation runs on, from this thread, with a pool of its own
  //   staging_bytes  of host memory that the uploader has taken
  TrainDevice(Backend& device, BatchUploader* device_uploader, Backend& host_backend,
              std::uint64_t host_staging_bytes = 0)
      : backend(device), uploader(device_uploader), host(host_backend), staging_bytes(host_staging_bytes) {}

  Backend& backend;
  BatchUploader* uploader = nullptr;  // null: `backend` is the CPU
  Backend& host;
  std::uint64_t staging_bytes = 0;
};

// Memory of the run, of the host's, without starting it. Throws Error(config) when the options cannot be.
MemoryPlan plan_training(const Dataset& dataset, const Preparation& preparation, const TrainOptions& options,
                         const TrainDevice& device);
// What model, loss and optimizer take where they compute, and what of it products work in.
std::uint64_t computation_bytes(const Dataset& dataset, const Preparation& preparation,
                                const TrainOptions& options, const Backend& backend);
std::uint64_t training_product_bytes(const Dataset& dataset, const Preparation& preparation,
                                     const TrainOptions& options, const Backend& backend);

// The epochs that the run whose state lies at options.state had done. Throws as a resume from it would.
std::uint32_t epochs_done(const Dataset& dataset, const Preparation& preparation, const TrainOptions& options,
                          const Backend& backend);

// Calls `on_epoch` after each epoch.
RunResult train(const Dataset& dataset, const Preparation& preparation, CpuTier& cpu_tier,
                const TrainOptions& options, const TrainDevice& device,
                const std::function<void(const EpochResult&)>& on_epoch);

}  // namespace gneiss
