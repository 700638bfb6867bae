#include "engine/pipeline/uploaded_source.h"

#include <utility>

#include "storage/base/cancel.h"
#include "storage/base/error.h"

namespace gneiss {

UploadedSource::UploadedSource(PipelinedSource& host, BatchUploader& uploader, Trace* trace)
    : host_(host),
      uploader_(uploader),
      trace_(trace),
      pinned_(host.memory()),
      slots_(uploader.slot_count()),
      free_slots_(slots_.size()),
      ready_slots_(slots_.size()) {
  for (const std::span<std::byte> piece : pinned_) uploader.pin(piece);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].index = i;
    free_slots_.push(&slots_[i], {});
  }
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

UploadedSource::~UploadedSource() {
  free_slots_.close();
  ready_slots_.close();
  thread_.request_stop();
  thread_.join();
  // What is under way ends before its memory goes.
  for (const Slot& slot : slots_) {
    try {
      if (&slot == current_) computed();
      uploader_.wait_uploaded(slot.index);
      reclaim(slot);
    } catch (...) {
      // A device that fails now has told so before, or tells whoever asks next.
    }
  }
  for (const std::span<std::byte> piece : pinned_) uploader_.unpin(piece);
}

// When the batch was on its way and computed, by the device's clock.
void UploadedSource::reclaim(const Slot& slot) {
  const auto times = uploader_.reclaim(slot.index);
  if (!times) return;
  {
    const std::scoped_lock lock(device_mutex_);
    device_seconds_ += times->compute_seconds;
  }
  if (trace_ == nullptr) return;
  const auto at = [&](double seconds) {
    return uploader_.began() +
           std::chrono::duration_cast<Trace::Clock::duration>(std::chrono::duration<double>(seconds));
  };
  trace_->add(Trace::upload_lane, "upload", at(times->upload_began),
              at(times->upload_began + times->upload_seconds), slot.batch.view.key);
  trace_->add(Trace::device_lane, "compute", at(times->compute_began),
              at(times->compute_began + times->compute_seconds), slot.batch.view.key);
}

bool UploadedSource::fill(Slot& slot) {
  reclaim(slot);
  upload_clock_.enter(StageClock::State::starved);
  const SourcedBatch* const batch = host_.next();
  if (batch == nullptr) return false;
  upload_clock_.enter(StageClock::State::busy);
  uploader_.upload(slot.index, {.view = batch->view, .memory = batch->memory});
  slot.targets.assign(batch->labels.targets.begin(), batch->labels.targets.end());
  slot.label_rows.assign(batch->labels.label_rows.begin(), batch->labels.label_rows.end());
  slot.batch = {.view = uploader_.view(slot.index),
                .labels = {.targets = slot.targets,
                           .label_rows = slot.label_rows,
                           .label_columns = batch->labels.label_columns},
                .cost = batch->cost,
                .position = batch->position};
  // The next call of host_.next() gives the memory back that is being copied from.
  uploader_.wait_uploaded(slot.index);
  return true;
}

void UploadedSource::run(const std::stop_token& stop) {
  for (;;) {
    upload_clock_.enter(StageClock::State::blocked);
    const auto taken = free_slots_.pop(stop);
    if (!taken) break;
    Slot& slot = **taken;
    try {
      if (!fill(slot)) break;
    } catch (...) {
      slot.failure = std::current_exception();
    }
    const bool has_failed = slot.failure != nullptr;
    if (!ready_slots_.push(&slot, stop) || has_failed) break;
  }
  upload_clock_.enter(StageClock::State::idle);
  ready_slots_.close();
}

void UploadedSource::computed() {
  if (current_ == nullptr || is_computed_) return;
  uploader_.end_compute(current_->index);
  is_computed_ = true;
}

void UploadedSource::release_current() {
  computed();
  if (current_ != nullptr) free_slots_.push(std::exchange(current_, nullptr), {});
}

const SourcedBatch* UploadedSource::next() {
  throw_if_interrupted();
  if (failure_) std::rethrow_exception(failure_);
  release_current();
  consumer_clock_.enter(StageClock::State::starved);
  const auto taken = [&] {
    const TraceSpan span(trace_, Trace::compute_lane, "wait");
    return ready_slots_.pop(interrupt_token());
  }();
  consumer_clock_.enter(taken ? StageClock::State::busy : StageClock::State::idle);
  if (!taken) {
    throw_if_interrupted();
    return nullptr;
  }
  failure_ = (*taken)->failure;
  if (failure_) std::rethrow_exception(failure_);
  current_ = *taken;
  is_computed_ = false;
  uploader_.begin_compute(current_->index);
  return &current_->batch;
}

PipelineTimes UploadedSource::times() {
  PipelineTimes times = host_.times();
  times.uploader = upload_clock_.snapshot();
  times.consumer = consumer_clock_.snapshot();
  const std::scoped_lock lock(device_mutex_);
  times.device_seconds = device_seconds_;
  return times;
}

}  // namespace gneiss
