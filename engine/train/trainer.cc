#include "engine/train/trainer.h"

#include <algorithm>
#include <cmath>

#include "engine/pipeline/batch_feed.h"
#include "engine/train/best_model.h"
#include "engine/train/exact_evaluation.h"
#include "engine/train/run_identity.h"
#include "engine/train/step_results.h"
#include "engine/train/train_state.h"
#include "storage/base/error.h"
#include "storage/base/progress.h"
#include "storage/base/stopwatch.h"

namespace gneiss {
namespace {

ModelOptions model_options(const Dataset& dataset, const Preparation& preparation,
                           const TrainOptions& options) {
  return {.feature_columns = dataset.info().feature_dim,
          .hidden_columns = options.hidden,
          .class_count = logit_columns(options.objective, dataset.info()),
          .layer_count = static_cast<std::uint32_t>(preparation.info().options.fanouts.size()),
          .activation = options.activation,
          .dropout = options.dropout,
          .head_count = options.head_count,
          .aggregator = options.aggregator,
          .residual = options.residual,
          .norm = options.norm,
          .seed = options.schedule.seed};
}

// What exact evaluation takes that its plan does not count: the host's products are training's own where
// that computes on the host.
std::uint64_t bytes_beside_plan(const Dataset& dataset, const TrainDevice& device,
                                const ExactRequest& request) {
  const bool is_on_host = &device.host == &device.backend;
  return ExactEvaluator::label_bytes(dataset, request) +
         (is_on_host ? 0 : product_bytes(request.model, device.host, request.options));
}

ExactRequest exact_request(const Dataset& dataset, const Preparation& preparation,
                           const TrainOptions& options) {
  const ModelOptions model = model_options(dataset, preparation, options);
  return {.model = options.model,
          .options = model,
          .layers = model.layer_count,
          .memory_bytes = options.memory_bytes};
}

// Seeds of the largest epoch or split that is scored.
std::uint64_t scored_seeds(const Dataset& dataset, const Preparation& preparation,
                           const TrainOptions& options) {
  std::uint64_t most = largest_split(preparation.pool().entries());
  if (!options.exact_evaluation) return most;
  for (const Split split : {Split::valid, Split::test}) {
    most = std::max<std::uint64_t>(most, dataset.split(split).size());
  }
  return most;
}

// Of the batches that the pipeline brings: exact evaluation takes none.
ScheduleOptions batch_schedule(const TrainOptions& options) {
  ScheduleOptions schedule = options.schedule;
  if (options.exact_evaluation) schedule.eval_every = 0;
  return schedule;
}

void add(BatchCost& sum, const BatchCost& cost) {
  sum.bytes_read += cost.bytes_read;
  sum.read_operations += cost.read_operations;
  sum.input_rows += cost.input_rows;
  sum.gpu_rows += cost.gpu_rows;
  sum.cpu_rows += cost.cpu_rows;
  sum.disk_rows += cost.disk_rows;
}

// With the defaults of the task filled in. Throws Error(config) when the options cannot be.
TrainOptions resolve(const TrainOptions& options, const Dataset& dataset) {
  check_optimizer(options.optimizer);
  check_learning_rate(options.learning_rate);
  TrainOptions resolved = options;
  resolved.objective = resolve_objective(options.objective, dataset.info());
  return resolved;
}

void check_order(const Preparation& preparation, const TrainOptions& options) {
  if (preparation.info().planned != Residency::belady || !options.schedule.shuffle) return;
  fail(Kind::config,
       "preparation '{}' has residency belady, whose plan holds for one order of batches; train without a "
       "shuffle, or prepare with --residency static",
       preparation.name());
}

void check_epochs(const TrainState& state, const TrainOptions& options) {
  if (state.epochs_done <= options.schedule.epochs) return;
  fail(Kind::config, "{} is the state after {} epochs, more than --epochs {}; ask for more",
       options.state.string(), state.epochs_done, options.schedule.epochs);
}

class Run {
 public:
  Run(const Dataset& dataset, const Preparation& preparation, CpuTier& cpu_tier, const TrainOptions& options,
      const TrainDevice& device)
      : dataset_(dataset),
        preparation_(preparation),
        cpu_tier_(cpu_tier),
        options_(options),
        device_(device),
        schedule_(preparation, batch_schedule(options)),
        model_(make_model(options.model, device.backend, model_options(dataset, preparation, options),
                          block_maxima(preparation))),
        loss_(make_loss(options.objective, dataset, device.backend, seed_count_max(preparation))),
        scores_(
            make_score_sum(options.objective, dataset.info(), scored_seeds(dataset, preparation, options))),
        results_(device.backend, scores_, seed_count_max(preparation),
                 logit_columns(options.objective, dataset.info())),
        metric_(*options.objective.metric),
        optimizer_(model_->parameters(), options.optimizer),
        best_(model_->parameters(), options.checkpoint, metric_),
        kept_(options.kept),
        identity_(identity_of(dataset, preparation, options, device.backend)) {}

  RunResult run(const std::function<void(const EpochResult&)>& on_epoch) {
    RunResult result;
    result.metric = metric_;
    if (options_.resume) go_on(result);
    cpu_tier_.rewind();
    result.memory = plan_training(dataset_, preparation_, options_, device_);
    pipeline_ = options_.pipeline;
    pipeline_.slot_count = result.memory.slot_count;
    if (options_.exact_evaluation) prepare_exact_evaluation(result.memory);
    replay(result.resumed_after);
    {
      // The schedule keeps where the reader is; the trainer's own stays at the beginning.
      BatchFeed source(
          preparation_, dataset_.info(), cpu_tier_, pipeline_,
          [ahead = schedule_, start = schedule_.start_of(result.resumed_after)](
              std::uint64_t position) mutable { return ahead.at(start + position); },
          device_.uploader);
      result.io_engine = source.host().io_engine_name();
      result.direct_reads = source.host().is_direct();
      for (std::uint32_t epoch = result.resumed_after; epoch < options_.schedule.epochs; ++epoch) {
        if (has_run_out_of_patience(result, epoch)) break;
        result.epochs.push_back(train_epoch(source, epoch, result.step_losses));
        EpochResult& done = result.epochs.back();
        if (validates_after(epoch)) {
          const Stopwatch clock;
          done.valid =
              exact_ ? evaluate_exactly(Split::valid) : evaluate(source, schedule_.valid_batches().size());
          done.evaluation_seconds = clock.seconds();
        }
        const bool is_last = epoch + 1 == options_.schedule.epochs;
        const std::optional<double> score = done.valid ? done.valid->of(metric_) : std::nullopt;
        if (done.valid && !score) {
          fail(Kind::input,
               "no column of the valid split's labels has both a 0 and a 1, which {} needs; give another "
               "--metric, or --eval-every 0",
               title_of(metric_));
        }
        const bool is_better = score && (!result.valid_score || *score > *result.valid_score);
        if (is_better || (is_last && !result.valid_score)) {
          result.best_epoch = done.epoch;
          result.valid_score = score;
          best_.keep(done.epoch, result.valid_score);
        }
        on_epoch(done);
        save(result);
      }
    }
    best_.restore();
    if (exact_) {
      if (exact_->has(Split::test)) result.test = evaluate_exactly(Split::test);
    } else if (!schedule_.test_batches().empty()) {
      result.test = test();
    }
    return result;
  }

 private:
  static std::uint32_t seed_count_max(const Preparation& preparation) {
    std::uint32_t most = 0;
    for (const BatchEntry& entry : preparation.pool().entries()) most = std::max(most, entry.seed_count);
    return most;
  }

  // A function of what a state holds: an interrupted run stops where it would have.
  bool has_run_out_of_patience(const RunResult& result, std::uint32_t epochs_done) const {
    return options_.patience > 0 && result.valid_score &&
           epochs_done - result.best_epoch >= options_.patience;
  }

  void go_on(RunResult& result) {
    const TrainState state =
        read_train_state(options_.state, identity_, model_->parameters(), best_.values());
    check_epochs(state, options_);
    optimizer_.set_step_count(state.optimizer_step);
    step_ = state.step;
    result.resumed_after = state.epochs_done;
    result.best_epoch = state.best_epoch;
    result.valid_score = state.valid_score;
    if (state.best_epoch > 0) {
      best_.take_over(state.best_epoch, state.valid_score);
    } else if (state.epochs_done == options_.schedule.epochs) {
      // Stopped on the way without validation, and now told that this was the way's end.
      result.best_epoch = state.epochs_done;
      best_.keep(result.best_epoch, std::nullopt);
    }
    kept_.keep(state.epochs_done, model_->parameters(), options_.state);
  }

  // Brings the cpu tier to where it stood when `epochs_done` were done: the batches since the pool's
  // beginning are read once more, and leave their rows there.
  void replay(std::uint32_t epochs_done) {
    const std::uint32_t sample_epochs = preparation_.info().options.sample_epochs;
    if (!cpu_tier_.is_exchanged() || epochs_done % sample_epochs == 0) return;
    std::vector<std::size_t> batches;
    for (std::uint32_t epoch = 0; epoch < epochs_done % sample_epochs; ++epoch) {
      const auto& of_epoch = schedule_.train_batches(epoch);
      batches.insert(batches.end(), of_epoch.begin(), of_epoch.end());
    }
    PipelinedSource source(preparation_, dataset_.info(), cpu_tier_, pipeline_,
                           [&batches](std::uint64_t position) -> std::optional<std::size_t> {
                             if (position >= batches.size()) return std::nullopt;
                             return batches[position];
                           });
    Progress progress("restoring the cpu tier", batches.size(), Progress::Unit::items);
    while (source.next() != nullptr) progress.advance(1);
  }

  void save(const RunResult& result) {
    if (options_.state.empty()) return;
    write_train_state(options_.state,
                      {.identity = identity_,
                       .epochs_done = result.epochs.back().epoch,
                       .step = step_,
                       .optimizer_step = optimizer_.step_count(),
                       .best_epoch = result.best_epoch,
                       .metric = metric_,
                       .valid_score = result.valid_score},
                      model_->parameters(), best_.values());
    kept_.keep(result.epochs.back().epoch, model_->parameters(), options_.state);
  }

  EpochResult train_epoch(BatchFeed& source, std::uint32_t epoch, std::vector<float>& step_losses) {
    EpochResult result;
    result.epoch = epoch + 1;
    const std::size_t count =
        schedule_.train_batches(epoch % preparation_.info().options.sample_epochs).size();
    Progress progress(fmt::format("epoch {}", result.epoch), count, Progress::Unit::items);
    const PipelineTimes before = source.times();
    const StepResults::Take take_loss = [&](const BatchKey& key, const LossSum& loss) {
      if (!std::isfinite(loss.loss)) {
        fail(Kind::input,
             "epoch {}, {}: the loss is no longer a number; give a smaller --lr, or look for NaN in the "
             "features",
             result.epoch, to_string(key));
      }
      step_losses.push_back(static_cast<float>(loss.mean()));
      progress.advance(1);
    };
    scores_.clear();
    const Stopwatch clock;
    for (std::size_t i = 0; i < count; ++i) {
      const SourcedBatch& sourced = take(source);
      step(sourced, {.is_training = true, .seed = options_.schedule.seed, .step = step_++}, take_loss);
      source.computed();
      add(result.cost, sourced.cost);
    }
    results_.settle(take_loss);
    result.batches = count;
    result.seconds = clock.seconds();
    result.train = scores_.scores();
    result.times = source.times() - before;
    return result;
  }

  void step(const SourcedBatch& sourced, const StepContext& context, const StepResults::Take& take_loss) {
    const BatchView& batch = sourced.view;
    const auto span = [&](const char* name) {
      return TraceSpan(options_.pipeline.trace, Trace::compute_lane, name, batch.key);
    };
    {
      const TraceSpan forward = span("forward");
      const ConstMatrixView logits = model_->forward(batch, context);
      results_.start(*loss_, logits, batch, sourced.labels, Loss::Gradient::wanted, take_loss);
    }
    if (!loss_->weighs_anything(sourced.labels)) return;
    {
      const TraceSpan backward = span("backward");
      model_->backward(batch, loss_->gradient());
    }
    const TraceSpan optimizer = span("optimizer");
    const std::uint64_t per_epoch = preparation_.info().train_batches_per_epoch;
    optimizer_.set_learning_rate(static_cast<float>(
        options_.optimizer.learning_rate *
        rate_factor(options_.learning_rate, context.step, per_epoch, per_epoch * options_.schedule.epochs)));
    optimizer_.step();
  }

  Scores evaluate(BatchFeed& source, std::size_t count) {
    const StepResults::Take take_loss = [](const BatchKey& key, const LossSum& loss) {
      // Scores order logits, and would rank a model of no numbers as if it were one.
      if (std::isfinite(loss.loss)) return;
      fail(Kind::input,
           "{}: the model's loss is not a number; give a smaller --lr, or look for NaN in the features",
           to_string(key));
    };
    scores_.clear();
    for (std::size_t i = 0; i < count; ++i) {
      const SourcedBatch& sourced = take(source);
      const TraceSpan span(options_.pipeline.trace, Trace::compute_lane, "evaluate", sourced.view.key);
      const ConstMatrixView logits = model_->forward(sourced.view, {.is_training = false});
      results_.start(*loss_, logits, sourced.view, sourced.labels, Loss::Gradient::unwanted, take_loss);
      source.computed();
    }
    results_.settle(take_loss);
    return scores_.scores();
  }

  // With all memory that training leaves; `memory` then says how much of it that is.
  void prepare_exact_evaluation(MemoryPlan& memory) {
    ExactRequest request = exact_request(dataset_, preparation_, options_);
    const std::uint64_t training_bytes = memory.total_bytes() - memory.evaluation_bytes;
    request.program_bytes = training_bytes + bytes_beside_plan(dataset_, device_, request);
    exact_.emplace(dataset_, device_.host, request,
                   options_.scratch.empty() ? dataset_.folder() : options_.scratch);
    memory.evaluation_bytes = exact_->memory_bytes() - training_bytes;
    if (&device_.host != &device_.backend) {
      host_loss_ = make_loss(options_.objective, dataset_, device_.host, seed_count_max(preparation_));
    }
  }
  bool validates_after(std::uint32_t epoch) const {
    if (!exact_) return schedule_.validates_after(epoch);
    const std::uint32_t every = options_.schedule.eval_every;
    if (every == 0 || !exact_->has(Split::valid)) return false;
    return (epoch + 1) % every == 0 || epoch + 1 == options_.schedule.epochs;
  }
  Scores evaluate_exactly(Split split) {
    return exact_->evaluate(split, model_->parameters(), host_loss_ ? *host_loss_ : *loss_, scores_);
  }

  Scores test() {
    PipelineOptions options = pipeline_;
    options.assembly.transpose = false;
    const auto& batches = schedule_.test_batches();
    BatchFeed source(
        preparation_, dataset_.info(), cpu_tier_, options,
        [&batches](std::uint64_t position) -> std::optional<std::size_t> {
          if (position >= batches.size()) return std::nullopt;
          return batches[position];
        },
        device_.uploader);
    return evaluate(source, batches.size());
  }

  static const SourcedBatch& take(BatchFeed& source) {
    const SourcedBatch* sourced = source.next();
    GNEISS_ASSERT(sourced != nullptr);
    return *sourced;
  }

  const Dataset& dataset_;
  const Preparation& preparation_;
  CpuTier& cpu_tier_;
  const TrainOptions& options_;
  TrainDevice device_;
  EpochSchedule schedule_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Loss> loss_;
  std::unique_ptr<Loss> host_loss_;  // of exact evaluation, where a device trains
  ScoreSum scores_;
  StepResults results_;
  Metric metric_;
  Optimizer optimizer_;
  BestModel best_;
  KeptCheckpoints kept_;
  std::string identity_;
  PipelineOptions pipeline_;
  std::optional<ExactEvaluator> exact_;
  std::uint64_t step_ = 0;
};

}  // namespace

MemoryPlan plan_training(const Dataset& dataset, const Preparation& preparation, const TrainOptions& options,
                         const TrainDevice& device) {
  check_order(preparation, options);
  const TrainOptions resolved = resolve(options, dataset);
  const auto seeds = static_cast<std::uint32_t>(maxima_of(preparation.pool().entries()).seed_count);
  const std::uint64_t split_seeds = scored_seeds(dataset, preparation, resolved);
  const bool is_on_device = device.backend.device().type != Device::Type::cpu;
  std::uint64_t bytes =
      score_bytes(resolved.objective, dataset.info(), split_seeds) +
      BestModel::bytes(parameter_count(resolved.model, model_options(dataset, preparation, resolved)));
  if (is_on_device) {
    bytes +=
        StepResults::bytes(device.backend.device(), seeds, logit_columns(resolved.objective, dataset.info()));
  } else {
    bytes += computation_bytes(dataset, preparation, resolved, device.backend);
  }
  MemoryNeeds needs = memory_needs(preparation, bytes);
  if (is_on_device) {
    needs.gpu_tier_bytes = 0;
    needs.device_bytes = device_runtime_bytes + device.staging_bytes;
  }
  if (resolved.exact_evaluation) {
    const ExactRequest request = exact_request(dataset, preparation, resolved);
    needs.evaluation_bytes =
        least_exact_memory(dataset, device.host, request) + bytes_beside_plan(dataset, device, request);
  }
  return plan_memory(needs, options.memory_bytes, options.pipeline.slot_count);
}

std::uint64_t computation_bytes(const Dataset& dataset, const Preparation& preparation,
                                const TrainOptions& options, const Backend& backend) {
  const TrainOptions resolved = resolve(options, dataset);
  const ModelOptions model = model_options(dataset, preparation, resolved);
  return model_bytes(resolved.model, backend, model, block_maxima(preparation)) +
         product_bytes(resolved.model, backend, model) +
         loss_bytes(resolved.objective, dataset.info(), maxima_of(preparation.pool().entries()).seed_count);
}

std::uint64_t training_product_bytes(const Dataset& dataset, const Preparation& preparation,
                                     const TrainOptions& options, const Backend& backend) {
  const TrainOptions resolved = resolve(options, dataset);
  return product_bytes(resolved.model, backend, model_options(dataset, preparation, resolved));
}

std::uint32_t epochs_done(const Dataset& dataset, const Preparation& preparation, const TrainOptions& options,
                          const Backend& backend) {
  const TrainState state =
      peek_train_state(options.state, identity_of(dataset, preparation, resolve(options, dataset), backend));
  check_epochs(state, options);
  return state.epochs_done;
}

RunResult train(const Dataset& dataset, const Preparation& preparation, CpuTier& cpu_tier,
                const TrainOptions& options, const TrainDevice& device,
                const std::function<void(const EpochResult&)>& on_epoch) {
  check_order(preparation, options);
  const TrainOptions resolved = resolve(options, dataset);
  return Run(dataset, preparation, cpu_tier, resolved, device).run(on_epoch);
}

}  // namespace gneiss
