#include "engine/train/step_results.h"

#include "storage/base/error.h"

namespace gneiss {
namespace {

// As many as batches in a device's memory, and one more that the host is at: fewer would have it wait, more
// would tell of a loss later.
std::size_t results_of(const Device& device) { return device.type == Device::Type::cpu ? 0 : 3; }

}  // namespace

StepResults::StepResults(Backend& backend, ScoreSum& scores, std::uint32_t seed_count_max,
                         std::uint32_t columns)
    : backend_(backend),
      scores_(scores),
      batch_elements_(std::size_t{seed_count_max} * columns),
      results_(results_of(backend.device())) {
  losses_ = backend.allocate_host(std::max<std::size_t>(1, results_.size()) * sizeof(LossSum));
  logits_ = backend.allocate_host(results_.size() * batch_elements_ * sizeof(float));
  for (std::size_t i = 0; i < results_.size(); ++i) {
    results_[i].loss = &losses_.as<LossSum>()[i];
    results_[i].targets.reserve(seed_count_max);
    results_[i].label_rows.reserve(batch_elements_);
  }
}

std::uint64_t StepResults::bytes(const Device& device, std::uint32_t seed_count_max,
                                 std::uint32_t columns) noexcept {
  const std::uint64_t labels = sizeof(std::int32_t) + columns;
  return results_of(device) * seed_count_max * (columns * sizeof(float) + labels);
}

void StepResults::start(Loss& loss, ConstMatrixView logits, const BatchView& batch, const BatchLabels& labels,
                        Loss::Gradient gradient, const Take& take) {
  if (results_.empty()) {
    LossSum& sum = losses_.as<LossSum>().front();
    loss.start(logits, batch, gradient, sum);
    scores_.add(sum, logits, labels);
    return take(batch.key, sum);
  }
  if (in_flight_ == results_.size()) settle_oldest(take);
  Result& result = results_[(oldest_ + in_flight_) % results_.size()];
  const std::size_t index = static_cast<std::size_t>(&result - results_.data());
  GNEISS_ASSERT(logits.rows * logits.columns <= batch_elements_);
  result.key = batch.key;
  result.logits =
      MatrixView(logits_.as<float>().data() + index * batch_elements_, logits.rows, logits.columns);
  result.targets.assign(labels.targets.begin(), labels.targets.end());
  result.label_rows.assign(labels.label_rows.begin(), labels.label_rows.end());
  result.label_columns = labels.label_columns;
  loss.start(logits, batch, gradient, *result.loss);
  backend_.copy_out_later(logits, result.logits);
  result.mark = backend_.mark();
  ++in_flight_;
}

void StepResults::settle(const Take& take) {
  while (in_flight_ > 0) settle_oldest(take);
}

void StepResults::settle_oldest(const Take& take) {
  const Result& result = results_[oldest_];
  backend_.wait(result.mark);
  oldest_ = (oldest_ + 1) % results_.size();
  --in_flight_;
  scores_.add(
      *result.loss, result.logits,
      {.targets = result.targets, .label_rows = result.label_rows, .label_columns = result.label_columns});
  take(result.key, *result.loss);
}

}  // namespace gneiss
