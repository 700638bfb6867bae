#include "engine/pipeline/pipelined_source.h"

#include "storage/base/cancel.h"
#include "storage/base/error.h"

namespace gneiss {
namespace {

std::vector<std::unique_ptr<BatchSlot>> make_slots(const Preparation& preparation, std::uint32_t count) {
  GNEISS_ASSERT(count >= 1);
  const SlotSizes sizes = slot_sizes(preparation);
  std::vector<std::unique_ptr<BatchSlot>> slots;
  slots.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    slots.push_back(std::make_unique<BatchSlot>(sizes));
    slots.back()->lane = Trace::first_slot_lane + i;
  }
  return slots;
}

std::unique_ptr<IoEngine> make_engine(const PipelineOptions& options) {
  if (options.make_engine) return options.make_engine();
  return make_io_engine(options.io_engine, {.queue_depth = options.queue_depth, .direct = options.direct});
}

// Whether next() compares segments with their checksums, not the assembler. Where computation takes every
// core, a thread that checks beside it holds up the piece that was computed on its core, and with it all
// others; shared by all of them, checking costs what it takes and no more (bench/verify_cost.md).
bool verifies_in_next(const PipelineOptions& options) {
  return options.assembly.verify_segments && options.pool != nullptr &&
         options.pool->thread_count() >= available_cores();
}

AssemblyOptions assembly_of(const PipelineOptions& options) {
  AssemblyOptions assembly = options.assembly;
  if (verifies_in_next(options)) assembly.verify_segments = false;
  return assembly;
}

}  // namespace

PipelinedSource::PipelinedSource(const Preparation& preparation, const DatasetInfo& dataset,
                                 CpuTier& cpu_tier, const PipelineOptions& options, BatchSchedulePlan plan)
    : PipelinedSource(preparation, dataset, cpu_tier, options, std::move(plan), make_engine(options)) {}

PipelinedSource::PipelinedSource(const Preparation& preparation, const DatasetInfo& dataset,
                                 CpuTier& cpu_tier, const PipelineOptions& options, BatchSchedulePlan plan,
                                 std::unique_ptr<IoEngine> engine)
    : preparation_(preparation),
      cpu_tier_(cpu_tier),
      slots_(make_slots(preparation, options.slot_count)),
      engine_(std::move(engine)),
      free_slots_(slots_.size()),
      read_slots_(slots_.size()),
      ready_slots_(slots_.size()),
      trace_(options.trace),
      pool_(options.pool),
      verifies_(verifies_in_next(options)),
      assembler_(preparation, dataset, options.gpu_tier, cpu_tier, assembly_of(options), options.trace),
      reader_(preparation, *engine_, slots_, options.read_bytes, options.trace) {
  GNEISS_ASSERT(options.gpu_tier.row_count == preparation.gpu_row_count());
  is_direct_ = engine_->is_direct(FileId{0});
  for (const auto& slot : slots_) free_slots_.push(slot.get(), {});
  assembler_.start(read_slots_, ready_slots_);
  reader_.start(std::move(plan), free_slots_, read_slots_);
}

PipelinedSource::~PipelinedSource() {
  if (!failure_) release_current();
  // Closed queues wake every stage; the members' destructors then stop and join them.
  free_slots_.close();
  read_slots_.close();
  ready_slots_.close();
}

void PipelinedSource::release_current() {
  if (current_ == nullptr) return;
  BatchSlot& slot = *std::exchange(current_, nullptr);
  const BatchView& view = slot.batch.view;
  if (view.key.split == Split::train) {
    const TraceSpan span(trace_, Trace::compute_lane, "admit", view.key);
    cpu_tier_.release(view.key, view.input, slot.frame.admitted_rows, slot.frame.admitted_slots, pool_);
  }
  free_slots_.push(&slot, {});
}

void PipelinedSource::check_current() const {
  const BatchSlot& slot = *current_;
  const BatchKey& key = slot.batch.view.key;
  if (verifies_) {
    const TraceSpan span(trace_, Trace::compute_lane, "verify", key);
    const PackFile& pack = preparation_.pack();
    pack.check(slot.index, slot.segment.bytes().first(pack.entries()[slot.index].bytes), pool_);
  }
  if (key.split == Split::train) cpu_tier_.expect(key);
}

const SourcedBatch* PipelinedSource::next() {
  throw_if_interrupted();
  if (failure_) std::rethrow_exception(failure_);
  release_current();
  consumer_.enter(StageClock::State::starved);
  const auto taken = [&] {
    const TraceSpan span(trace_, Trace::compute_lane, "wait");
    return ready_slots_.pop(interrupt_token());
  }();
  consumer_.enter(taken ? StageClock::State::busy : StageClock::State::idle);
  if (!taken) {
    throw_if_interrupted();
    failure_ = reader_.failure();
    if (failure_) std::rethrow_exception(failure_);
    return nullptr;
  }
  current_ = *taken;
  failure_ = current_->failure;
  if (failure_) std::rethrow_exception(failure_);
  try {
    check_current();
  } catch (...) {
    failure_ = std::current_exception();
    throw;
  }
  return &current_->batch;
}

PipelineTimes PipelinedSource::times() {
  return {.reader = reader_.times(),
          .assembler = assembler_.times(),
          .uploader = {},
          .consumer = consumer_.snapshot()};
}

std::vector<std::span<std::byte>> PipelinedSource::memory() const {
  std::vector<std::span<std::byte>> pieces;
  for (const auto& slot : slots_) {
    for (const std::span<std::byte> piece : slot->memory()) {
      if (!piece.empty()) pieces.push_back(piece);
    }
  }
  return pieces;
}

}  // namespace gneiss
