#include "engine/pipeline/assembler.h"

#include <sys/resource.h>

#include <algorithm>

#include "engine/tiers/assemble.h"
#include "storage/base/error.h"

namespace gneiss {
namespace {

// Where all want the processors at once this thread weighs a tenth of one that computes: while it has a core,
// the piece that was being computed there holds up all others. Slots ahead keep the model fed. On two cores
// an epoch takes some 3 % less (bench/verify_cost.md).
void yield_to_computation() {
  constexpr int niceness = 10;
  setpriority(PRIO_PROCESS, 0, niceness);  // on Linux: of the calling thread; a wish
}

}  // namespace

Assembler::Assembler(const Preparation& preparation, const DatasetInfo& dataset, TierBase gpu_tier,
                     const CpuTier& cpu_tier, AssemblyOptions options, Trace* trace)
    : preparation_(preparation),
      dataset_(dataset),
      gpu_tier_(gpu_tier),
      cpu_tier_(cpu_tier),
      options_(options),
      trace_(trace) {}

void Assembler::start(BoundedQueue<BatchSlot*>& read_slots, BoundedQueue<BatchSlot*>& ready_slots) {
  GNEISS_ASSERT(!thread_.joinable());
  read_slots_ = &read_slots;
  ready_slots_ = &ready_slots;
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void Assembler::assemble(BatchSlot& slot) {
  const BatchEntry& entry = preparation_.pool().entries()[slot.index];
  const SegmentEntry& segment = preparation_.pack().entries()[slot.index];
  const std::string name = fmt::format("{}: {}", preparation_.pool().file().name(), to_string(entry.key));
  const auto raw = slot.raw.bytes().first(entry.frame_raw_bytes);
  decompressor_.decompress(slot.compressed.bytes().first(entry.frame_bytes), entry.frame_xxh3, raw, name);
  parse_batch_frame(raw, name, /*check_sections=*/false, slot.frame);
  if (slot.frame.input_count() != entry.input_count || slot.frame.hidden_nodes.size() != entry.hidden_count ||
      slot.frame.seeds.size() != entry.seed_count || slot.frame.edge_count() != entry.edge_count ||
      slot.frame.edge_count() - slot.frame.blocks.front().indices.size() != entry.inner_edge_count ||
      slot.frame.cpu_slots.size() != entry.cpu_rows || slot.frame.gpu_slots.size() != entry.gpu_rows() ||
      slot.frame.blocks.size() != preparation_.info().options.fanouts.size() ||
      slot.frame.label_columns != dataset_.label_columns || !slot.frame.target_seeds.empty() ||
      !std::ranges::all_of(slot.frame.targets, [&](std::int32_t target) {
        return target >= -1 && target < static_cast<std::int64_t>(dataset_.class_count);
      })) {
    fail(Kind::corruption, "{}: its frame and its index disagree; prepare it again", name);
  }
  const auto segment_bytes = slot.segment.bytes().first(segment.bytes);
  if (options_.verify_segments) preparation_.pack().check(slot.index, segment_bytes);

  const std::size_t transposed_bytes = slot.view_blocks(options_.transpose);
  BatchView& view = slot.batch.view;
  view.key = entry.key;
  view.input = assemble_rows(slot.frame, gpu_tier_, cpu_tier_, segment_bytes,
                             slot.page_slots.as<std::uint32_t>().first(entry.page_rows),
                             dataset_.feature_dtype, dataset_.feature_dim, name);
  view.blocks = slot.blocks;
  view.hidden_nodes = slot.frame.hidden_nodes;
  view.targets = slot.frame.targets;
  view.label_rows = slot.frame.label_rows;
  view.label_columns = slot.frame.label_columns;
  slot.batch.labels = view.labels();
  slot.batch.memory = {raw, slot.transposed.bytes().first(transposed_bytes),
                       slot.page_slots.bytes().first(entry.page_rows * sizeof(std::uint32_t)), segment_bytes};
  slot.batch.position = slot.position;
}

void Assembler::run(const std::stop_token& stop) {
  yield_to_computation();
  for (;;) {
    clock_.enter(StageClock::State::starved);
    const auto taken = read_slots_->pop(stop);
    if (!taken) break;
    clock_.enter(StageClock::State::busy);
    BatchSlot& slot = **taken;
    if (!slot.failure) {
      try {
        const TraceSpan span(trace_, Trace::assemble_lane, "assemble",
                             preparation_.pool().entries()[slot.index].key);
        assemble(slot);
      } catch (...) {
        slot.failure = std::current_exception();
      }
    }
    clock_.enter(StageClock::State::blocked);
    if (!ready_slots_->push(&slot, stop)) break;
  }
  clock_.enter(StageClock::State::idle);
  ready_slots_->close();
}

}  // namespace gneiss
