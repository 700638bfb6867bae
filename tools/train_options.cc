#include "tools/train_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "tools/options.h"
#include "tools/summary.h"

namespace gneiss {
namespace {

// The double that is written as the float is: 0.1, not 0.10000000149011612.
double shortest(float value) { return std::stod(fmt::format("{}", value)); }

void add_model_options(CLI::App& app, TrainCommand& command) {
  TrainOptions& train = command.train;
  std::vector<std::string> names;
  std::string known;
  for (const ModelKind& kind : model_kinds()) {
    names.emplace_back(kind.name);
    known += fmt::format("{}{} ({})", known.empty() ? "" : ", ", kind.name, kind.summary);
  }
  app.add_option("--model", train.model, "Model: " + known)
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  app.add_option("--hidden", train.hidden, "Columns of each hidden layer")
      ->check(CLI::Range(1U, hidden_columns_max))
      ->capture_default_str();
  app.add_option(
         "--activation", command.activation,
         "After each hidden layer, and between gin's two linear layers: relu, leaky_relu (slope 0.01 below "
         "0), elu, tanh or none")
      ->check(CLI::IsMember({"relu", "leaky_relu", "elu", "tanh", "none"}))
      ->capture_default_str();
  app.add_option("--dropout", train.dropout,
                 "Share of hidden values, and of gat's attention weights, dropped in training, 0 to below 1")
      ->capture_default_str();
  app.add_option(
         "--num-heads", train.head_count,
         "gat: attention heads; those of a hidden layer share its columns, the last layer's are averaged")
      ->check(CLI::Range(1U, 64U))
      ->capture_default_str();
  app.add_option("--aggregator", command.aggregator, "sage: mean or max of a node's neighbors")
      ->check(CLI::IsMember({"mean", "max"}))
      ->capture_default_str();
  app.add_flag("--residual", train.residual,
               "Add each layer's input to its output, through a linear map where their widths differ");
  app.add_option("--norm", command.norm,
                 "Normalize between a layer and its activation: none, batch (over the batch's rows) or layer "
                 "(each row)")
      ->check(CLI::IsMember({"none", "batch", "layer"}))
      ->capture_default_str();
  app.add_option("--optimizer", command.optimizer, "adam or adamw (decoupled weight decay)")
      ->check(CLI::IsMember({"adam", "adamw"}))
      ->capture_default_str();
  app.add_option("--lr", train.optimizer.learning_rate, "Learning rate")->capture_default_str();
  app.add_option(
         "--lr-schedule", command.lr_schedule,
         "constant, cosine (to zero at the last step) or step (times --lr-gamma every --lr-step-epochs)")
      ->check(CLI::IsMember({"constant", "cosine", "step"}))
      ->capture_default_str();
  app.add_option("--warmup-steps", train.learning_rate.warmup_steps,
                 "Batches over which the rate grows linearly from nothing")
      ->capture_default_str();
  app.add_option("--lr-step-epochs", train.learning_rate.step_epochs, "Epochs between steps of the rate")
      ->capture_default_str();
  app.add_option("--lr-gamma", train.learning_rate.gamma, "What a step multiplies the rate by")
      ->capture_default_str();
  app.add_option("--weight-decay", train.optimizer.weight_decay, "Weight decay")->capture_default_str();
  app.add_option("--epochs", train.schedule.epochs, "Epochs to train")
      ->check(CLI::Range(1U, 1000000U))
      ->capture_default_str();
  app.add_option("--eval", command.eval,
                 "Validate and test on sampled batches as prepared, or exact: over whole neighborhoods, with "
                 "layers' outputs in nameless files in the run's folder meanwhile")
      ->check(CLI::IsMember({"sampled", "exact"}))
      ->capture_default_str();
  app.add_option("--eval-every", train.schedule.eval_every, "Validate after every so many epochs; 0: never")
      ->capture_default_str();
  command.shuffle_flag = app.add_flag(
      "--shuffle,!--no-shuffle", train.schedule.shuffle,
      "Shuffle the batches of every epoch, or keep the pool's order; default: shuffle, unless the "
      "preparation's residency is belady");
  app.add_option("--seed", train.schedule.seed, "Seed of weights, dropout and the order of batches")
      ->capture_default_str();
  app.add_option("--runs", command.runs, "Train so often, with seeds SEED, SEED+1, ..., and report the mean")
      ->check(CLI::Range(1U, 1000U))
      ->capture_default_str();
}

void add_objective_options(CLI::App& app, TrainCommand& command) {
  TrainOptions& train = command.train;
  app.add_option(
         "--task", command.task,
         "multi-class, multi-label (columns of 0 and 1) or binary (one of them, or two classes, with one "
         "logit); auto: as the labels are")
      ->check(CLI::IsMember({"auto", "multi-class", "multi-label", "binary"}))
      ->capture_default_str();
  app.add_option(
         "--metric", command.metric,
         "What decides which epoch is best: accuracy, f1 (macro) or rocauc; auto: accuracy for multi-class, "
         "else rocauc")
      ->check(CLI::IsMember({"auto", "accuracy", "f1", "rocauc"}))
      ->capture_default_str();
  app.add_option("--early-stopping-patience", train.patience,
                 "Stop after so many epochs in which validation's --metric was not better; 0: never")
      ->capture_default_str();
  app.add_option("--class-weights", train.objective.class_weights,
                 "What each class counts in the loss: none, balanced (rare classes more) or W1,W2,...")
      ->capture_default_str();
  app.add_option("--label-smoothing", train.objective.label_smoothing,
                 "Share of each label spread over all classes, 0 to below 1")
      ->capture_default_str();
  app.add_option("--gradient-clipping", train.optimizer.gradient_norm_max,
                 "Scale gradients down to this norm, of all together; 0: never")
      ->capture_default_str();
}

void add_pipeline_options(CLI::App& app, TrainCommand& command) {
  PipelineOptions& pipeline = command.train.pipeline;
  app.add_option("--device", command.device,
                 "What computes: cpu, cuda, or auto: a CUDA device where one can be used")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  add_bytes_option(
      app, "--device-memory", command.device_memory_bytes,
      "Memory of a CUDA device that may be used at most, such as 8GiB; default: all that is free");
  app.add_option(
         "--precision", command.precision,
         "Numbers of matrix products: f32; tf32, on CUDA devices alone; or bf16 with sums in f32, on CUDA "
         "devices "
         "and processors with AVX512_BF16. Weights, gradients, activations and the loss are f32 in all")
      ->check(CLI::IsMember({"f32", "tf32", "bf16"}))
      ->capture_default_str();
  app.add_option("--prefetch", pipeline.slot_count,
                 "Batches in flight at most, the one being computed included")
      ->check(CLI::Range(2U, 64U))
      ->capture_default_str();
  app.add_option("--io", pipeline.io_engine, "Reader: auto, io_uring, pread or mmap")
      ->check(CLI::IsMember({"auto", "io_uring", "pread", "mmap"}))
      ->capture_default_str();
  app.add_option("--queue-depth", pipeline.queue_depth, "Reads in flight at most")
      ->check(CLI::Range(1U, 4096U))
      ->capture_default_str();
  add_bytes_option(app, "--read-size", command.read_bytes, "Bytes of one read at most");
  app.add_flag("!--buffered", pipeline.direct, "Read through the page cache");
  app.add_flag("!--no-verify", pipeline.assembly.verify_segments,
               "Do not compare segments with their checksums");
}

}  // namespace

nlohmann::json resolved_options(const TrainCommand& command, std::string_view device) {
  const TrainOptions& train = command.train;
  return {{"dataset", std::filesystem::absolute(command.dataset).string()},
          {"preparation", command.preparation},
          {"model", train.model},
          {"hidden", train.hidden},
          {"activation", command.activation},
          {"dropout", shortest(train.dropout)},
          {"num_heads", train.head_count},
          {"aggregator", command.aggregator},
          {"residual", train.residual},
          {"norm", command.norm},
          {"optimizer", command.optimizer},
          {"lr", shortest(train.optimizer.learning_rate)},
          {"lr_schedule", name_of(train.learning_rate.schedule)},
          {"warmup_steps", train.learning_rate.warmup_steps},
          {"lr_step_epochs", train.learning_rate.step_epochs},
          {"lr_gamma", shortest(train.learning_rate.gamma)},
          {"early_stopping_patience", train.patience},
          {"task", name_of(*train.objective.task)},
          {"metric", name_of(*train.objective.metric)},
          {"class_weights", train.objective.class_weights},
          {"label_smoothing", shortest(train.objective.label_smoothing)},
          {"gradient_clipping", shortest(train.optimizer.gradient_norm_max)},
          {"weight_decay", shortest(train.optimizer.weight_decay)},
          {"epochs", train.schedule.epochs},
          {"eval", command.eval},
          {"eval_every", train.schedule.eval_every},
          {"seed", train.schedule.seed},
          {"no_shuffle", !train.schedule.shuffle},
          {"runs", command.runs},
          {"keep_last", command.keep_last},
          {"device", device},
          {"precision", command.precision},
          {"memory", train.memory_bytes},
          {"device_memory", command.device_memory_bytes},
          {"threads", command.threads},
          {"io", train.pipeline.io_engine},
          {"queue_depth", train.pipeline.queue_depth},
          {"read_size", command.read_bytes},
          {"prefetch", train.pipeline.slot_count},
          {"buffered", !train.pipeline.direct},
          {"no_verify", !train.pipeline.assembly.verify_segments}};
}

void add_train_options(CLI::App& app, TrainCommand& command) {
  add_dataset_option(app, command.dataset);
  app.add_option("--preparation", command.preparation,
                 "The preparation, as 'gneiss prepare --name' called it")
      ->capture_default_str();
  add_model_options(app, command);
  add_objective_options(app, command);
  add_pipeline_options(app, command);
  add_memory_option(app, command.memory_bytes);
  add_threads_option(app, command.threads);
  app.add_option("--run", command.run, "Folder for the run's results; default: DATASET/runs/run-NNNN")
      ->type_name("DIR");
  auto* force = app.add_flag("--force", command.force, "Replace a run in that folder");
  app.add_flag("--resume", command.resume,
               "Go on with the run in that folder: an interrupted one, or a finished one with more --epochs")
      ->excludes(force);
  app.add_option("--resume-epoch", command.resume_epoch,
                 "Go back: on after this epoch, whose checkpoint --keep-last kept; default: the last one")
      ->check(CLI::Range(1U, 1000000U))
      ->excludes(force);
  app.add_option(
         "--keep-last", command.keep_last,
         "Epochs whose checkpoints stay in the run's folder, the last so many: weights and state of each; "
         "0: only the best weights, and the state that a resume needs")
      ->check(CLI::Range(0U, 1000000U))
      ->capture_default_str();
  add_output_file_option(app, "--trace", command.trace,
                         "Write the timeline of all stages, for Perfetto or chrome://tracing");
  add_summary_option(app, command.summary);
}

}  // namespace gneiss
