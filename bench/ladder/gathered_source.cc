#include "bench/ladder/gathered_source.h"

#include "storage/base/cancel.h"
#include "storage/base/error.h"

namespace gneiss::ladder {

GatheredSource::GatheredSource(const Preparation& preparation, const DatasetInfo& dataset,
                               const RowLists& lists, RowSource& source, std::uint32_t slot_count,
                               std::uint64_t positions)
    : preparation_(preparation),
      dataset_(dataset),
      lists_(lists),
      source_(source),
      positions_(positions),
      free_slots_(slot_count),
      listed_slots_(slot_count),
      ready_slots_(slot_count) {
  SlotSizes sizes = slot_sizes(preparation);
  sizes.segment_bytes = 0;
  sizes.compressed_bytes = 0;
  sizes.raw_bytes = 0;  // a frame lies in memory of its own, as SamplePool::read_frame() gives it
  for (std::uint32_t i = 0; i < slot_count; ++i) {
    slots_.push_back(std::make_unique<Slot>(sizes, lists.row_count_max() * dataset.row_bytes()));
    free_slots_.push(slots_.back().get(), {});
  }
  lists_thread_ = std::jthread([this](const std::stop_token& stop) { run_lists(stop); });
  rows_thread_ = std::jthread([this](const std::stop_token& stop) { run_rows(stop); });
}

GatheredSource::~GatheredSource() {
  free_slots_.close();
  listed_slots_.close();
  ready_slots_.close();
}

void GatheredSource::make_views(Slot& slot, std::uint64_t position) {
  const std::size_t index = lists_.pool_index(position);
  const BatchEntry& entry = preparation_.pool().entries()[index];
  BatchSlot& batch = slot.batch;
  lists_.read(position, slot.list);
  slot.raw = preparation_.pool().read_frame(entry);
  preparation_.pool().file().file().drop_cache(entry.frame_offset, entry.frame_bytes);
  parse_batch_frame(slot.raw.bytes(), to_string(entry.key), /*check_sections=*/false, batch.frame);
  batch.view_blocks(/*transpose=*/true);
  BatchView& view = batch.batch.view;
  view.key = entry.key;
  view.input = TieredRows(dataset_.feature_dtype, dataset_.feature_dim);
  view.input.append(slot.rows.data(), static_cast<std::uint32_t>(slot.list.size()));
  view.blocks = batch.blocks;
  view.hidden_nodes = batch.frame.hidden_nodes;
  view.targets = batch.frame.targets;
  batch.batch.position = position;
}

void GatheredSource::run_lists(const std::stop_token& stop) {
  for (std::uint64_t position = 0; position < positions_; ++position) {
    const auto slot = free_slots_.pop(stop);
    if (!slot) break;
    (*slot)->batch.position = position;
    (*slot)->batch.failure = nullptr;
    try {
      make_views(**slot, position);
    } catch (...) {
      (*slot)->batch.failure = std::current_exception();
    }
    if (!listed_slots_.push(*slot, stop)) break;
  }
  listed_slots_.close();
}

void GatheredSource::run_rows(const std::stop_token& stop) {
  while (const auto slot = listed_slots_.pop(stop)) {
    if (!(*slot)->batch.failure) {
      try {
        const std::uint64_t position = (*slot)->batch.position;
        source_.before(position, (*slot)->list);
        source_.deliver(position, (*slot)->list, (*slot)->rows.bytes());
      } catch (...) {
        (*slot)->batch.failure = std::current_exception();
      }
    }
    if (!ready_slots_.push(*slot, stop)) break;
  }
  ready_slots_.close();
}

const SourcedBatch* GatheredSource::next() {
  throw_if_interrupted();
  if (failure_) std::rethrow_exception(failure_);
  if (current_ != nullptr) free_slots_.push(std::exchange(current_, nullptr), {});
  consumer_.enter(StageClock::State::starved);
  const auto slot = ready_slots_.pop(interrupt_token());
  consumer_.enter(slot ? StageClock::State::busy : StageClock::State::idle);
  throw_if_interrupted();
  if (!slot) return nullptr;
  current_ = *slot;
  failure_ = current_->batch.failure;
  if (failure_) std::rethrow_exception(failure_);
  return &current_->batch.batch;
}

}  // namespace gneiss::ladder
