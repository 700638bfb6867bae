#include "engine/pipeline/reader.h"

#include <algorithm>
#include <array>
#include <bit>

#include "storage/base/error.h"

namespace gneiss {
namespace {

// A tag names the slot, and in its lowest bit, which alignment leaves free, the file.
static_assert(alignof(BatchSlot) >= 2);
std::uint64_t make_tag(BatchSlot& slot, bool of_pack) {
  return std::bit_cast<std::uint64_t>(&slot) | (of_pack ? 1U : 0U);
}
bool is_of_pack(std::uint64_t tag) { return (tag & 1U) != 0; }
BatchSlot& slot_of(std::uint64_t tag) { return *std::bit_cast<BatchSlot*>(tag & ~std::uint64_t{1}); }

}  // namespace

Reader::Reader(const Preparation& preparation, IoEngine& engine,
               std::span<const std::unique_ptr<BatchSlot>> slots, std::uint32_t read_bytes, Trace* trace)
    : preparation_(preparation), engine_(engine), read_bytes_(read_bytes), trace_(trace) {
  GNEISS_ASSERT(read_bytes >= direct_io_alignment && read_bytes % direct_io_alignment == 0);
  pool_file_ = engine_.open(preparation.pool().file().name());
  pack_file_ = engine_.open(preparation.pack().file().name());
  std::vector<std::span<std::byte>> buffers;
  for (const auto& slot : slots) {
    if (!slot->segment.empty()) buffers.push_back(slot->segment.bytes());
    buffers.push_back(slot->compressed.bytes());
  }
  engine_.register_buffers(buffers);
}

void Reader::start(BatchSchedulePlan plan, BoundedQueue<BatchSlot*>& free_slots,
                   BoundedQueue<BatchSlot*>& read_slots) {
  GNEISS_ASSERT(!thread_.joinable());
  plan_ = std::move(plan);
  free_slots_ = &free_slots;
  read_slots_ = &read_slots;
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

bool Reader::take_slot(const std::stop_token& stop) {
  if (at_end_) return false;
  std::optional<std::size_t> index;
  try {
    index = plan_(position_);
  } catch (...) {
    failure_ = std::current_exception();  // reported after the batches that are on their way
  }
  if (!index) {
    at_end_ = true;
    return false;
  }
  // With reads in flight there is something better to do than to wait for a slot.
  std::optional<BatchSlot*> taken = free_slots_->try_pop();
  if (!taken && engine_.in_flight() == 0 && in_order_.empty()) {
    clock_.enter(StageClock::State::blocked);
    taken = free_slots_->pop(stop);
  }
  if (!taken) return false;
  BatchSlot& slot = **taken;
  const BatchEntry& entry = preparation_.pool().entries()[*index];
  slot.index = *index;
  slot.position = position_++;
  slot.failure = nullptr;
  slot.all_submitted = false;
  slot.reads_in_flight = 0;
  slot.reads_began = Trace::Clock::now();
  slot.batch.cost = {.input_rows = entry.input_count,
                     .gpu_rows = entry.gpu_rows(),
                     .cpu_rows = entry.cpu_rows,
                     .disk_rows = entry.page_rows + entry.disk_rows};
  in_order_.push_back(&slot);
  const std::uint64_t frame_bytes = round_up(entry.frame_bytes, file_section_alignment);
  to_submit_.push_back({pool_file_, entry.frame_offset, slot.compressed.bytes().first(frame_bytes)});
  std::uint64_t at = 0;
  for (const Extent& extent : preparation_.pack().extents(*index)) {
    to_submit_.push_back({pack_file_, extent.offset, slot.segment.bytes().subspan(at, extent.bytes)});
    at += extent.bytes;
  }
  return true;
}

void Reader::submit_pieces() {
  BatchSlot& slot = *in_order_.back();
  requests_.clear();  // started together: one call of the system for all
  while (!to_submit_.empty() && engine_.in_flight() + requests_.size() < engine_.queue_depth()) {
    Range& range = to_submit_.front();
    const std::size_t bytes = std::min<std::size_t>(range.target.size(), read_bytes_);
    requests_.push_back({.file = range.file,
                         .offset = range.offset,
                         .target = range.target.first(bytes),
                         .tag = make_tag(slot, range.file == pack_file_)});
    ++slot.reads_in_flight;
    ++slot.batch.cost.read_operations;
    slot.batch.cost.bytes_read += bytes;
    range.offset += bytes;
    range.target = range.target.subspan(bytes);
    if (range.target.empty()) to_submit_.pop_front();
  }
  engine_.submit(requests_);
  slot.all_submitted = to_submit_.empty();
}

void Reader::complete(const ReadCompletion& completion) {
  BatchSlot& slot = slot_of(completion.tag);
  if (--slot.reads_in_flight == 0) slot.reads_ended = Trace::Clock::now();
  if (completion.error == 0 || slot.failure) return;
  try {
    const BatchEntry& entry = preparation_.pool().entries()[slot.index];
    const SegmentEntry& segment = preparation_.pack().entries()[slot.index];
    const std::span<std::byte> frame = slot.compressed.bytes().first(entry.frame_bytes);
    const auto extents = preparation_.pack().extents(slot.index);
    const Extent first = extents.empty() ? Extent{} : extents.front();
    const std::span<std::byte> rows = slot.segment.bytes().first(segment.bytes);
    const ReadRequest whole =
        is_of_pack(completion.tag)
            ? ReadRequest{.file = pack_file_, .offset = first.offset, .target = rows, .tag = 0}
            : ReadRequest{.file = pool_file_, .offset = entry.frame_offset, .target = frame, .tag = 0};
    fail_read(engine_, whole, completion.error);
  } catch (const Error& error) {
    slot.failure = std::make_exception_ptr(
        Error(error.kind(), fmt::format("{} (while reading {})", error.what(),
                                        to_string(preparation_.pool().entries()[slot.index].key))));
  }
}

bool Reader::hand_on(const std::stop_token& stop) {
  while (!in_order_.empty() && in_order_.front()->all_submitted && in_order_.front()->reads_in_flight == 0) {
    BatchSlot& slot = *in_order_.front();
    if (trace_ != nullptr) {
      trace_->add(slot.lane, "read", slot.reads_began, slot.reads_ended,
                  preparation_.pool().entries()[slot.index].key);
    }
    // There is room for every slot: push does not block.
    if (!read_slots_->push(&slot, stop)) return false;
    in_order_.pop_front();
  }
  return true;
}

void Reader::run(const std::stop_token& stop) {
  try {
    read_all(stop);
  } catch (...) {
    failure_ = std::current_exception();
    drain();
  }
  if (engine_.in_flight() == 0) engine_.unregister_buffers();  // before the slots' memory is given back
  clock_.enter(StageClock::State::idle);
  read_slots_->close();
}

void Reader::read_all(const std::stop_token& stop) {
  std::array<ReadCompletion, 64> completions;
  while (!stop.stop_requested()) {
    while (engine_.in_flight() < engine_.queue_depth() && (!to_submit_.empty() || take_slot(stop)))
      submit_pieces();
    if (engine_.in_flight() == 0) {
      if (in_order_.empty() && at_end_) break;
      if (!in_order_.empty() && !hand_on(stop)) break;
      continue;
    }
    clock_.enter(StageClock::State::busy);
    const std::size_t count = engine_.reap(completions, 1);
    for (const ReadCompletion& completion : std::span(completions).first(count)) complete(completion);
    if (!hand_on(stop)) break;
  }
  drain();
}

// The kernel may still write into the slots: they must outlive the last completion. By this thread, for a
// ring answers no other.
void Reader::drain() {
  std::array<ReadCompletion, 64> completions;
  try {
    while (engine_.in_flight() > 0) engine_.reap(completions, 1);
  } catch (...) {
    if (!failure_) failure_ = std::current_exception();
  }
}

}  // namespace gneiss
