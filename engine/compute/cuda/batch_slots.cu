#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "engine/compute/cuda/batch_slots.h"
#include "engine/compute/cuda/copy_rows.h"
#include "engine/compute/cuda/device_memory.h"
#include "engine/compute/cuda/stream.h"
#include "storage/base/error.h"

namespace gneiss::cuda {
namespace {

constexpr std::size_t rows_piece = 3;  // of HostBatch::memory: the segment

// What of the host's memory a batch is, and where it is on the device.
struct Piece {
  std::span<const std::byte> host;
  std::byte* device = nullptr;

  bool holds(const void* pointer) const {
    const auto* const p = static_cast<const std::byte*>(pointer);
    return p >= host.data() && p < host.data() + host.size();
  }
};

class BatchSlots final : public BatchUploader {
 public:
  BatchSlots(cudaStream_t compute_stream, std::span<std::byte> memory, const UploadSizes& sizes,
             CpuRowPath path)
      : compute_stream_(compute_stream), path_(path), slots_(sizes.slots), sizes_(sizes) {
    DealtOut rest{memory};
    for (Slot& slot : slots_) {
      slot.memory = {rest.next(sizes.frame_bytes), rest.next(sizes.transposed_bytes),
                     rest.next(sizes.page_slot_bytes), rest.next(sizes.row_bytes)};
    }
    if (path == CpuRowPath::staged && sizes.row_bytes > 0) {
      check(cudaMallocHost(&staging_, sizes.row_bytes), "pinning memory of the host");
    }
    start_.record(upload_stream_.get());
    start_.wait();
    began_ = std::chrono::steady_clock::now();
  }
  ~BatchSlots() override {
    cudaStreamSynchronize(upload_stream_.get());
    cudaStreamSynchronize(compute_stream_);
    for (const auto& pinned : pinned_) {
      if (pinned.is_registered) cudaHostUnregister(pinned.memory.data());
    }
    if (staging_ != nullptr) cudaFreeHost(staging_);
  }

  std::size_t slot_count() const noexcept override { return slots_.size(); }
  std::chrono::steady_clock::time_point began() const noexcept override { return began_; }

  void pin(std::span<std::byte> memory) override {
    if (memory.empty()) return;
    const bool is_registered =
        cudaHostRegister(memory.data(), memory.size(), cudaHostRegisterDefault) == cudaSuccess;
    if (!is_registered) cudaGetLastError();  // told by slower copies, not by the next call
    pinned_.push_back({memory, is_registered});
  }

  void unpin(std::span<std::byte> memory) override {
    const auto found = std::ranges::find_if(
        pinned_, [&](const Pinned& pinned) { return pinned.memory.data() == memory.data(); });
    if (found == pinned_.end()) return;
    if (found->is_registered) cudaHostUnregister(memory.data());
    pinned_.erase(found);
  }

  std::optional<SlotTimes> reclaim(std::size_t index) override {
    Slot& slot = slots_[index];
    if (!slot.is_computed) return std::nullopt;
    slot.compute_ended.wait();
    slot.is_computed = false;
    return SlotTimes{.upload_began = slot.upload_began.seconds_since(start_),
                     .upload_ended = slot.upload_ended.seconds_since(start_),
                     .compute_began = slot.compute_began.seconds_since(start_),
                     .compute_ended = slot.compute_ended.seconds_since(start_)};
  }

  void upload(std::size_t index, const HostBatch& batch) override {
    Slot& slot = slots_[index];
    GNEISS_ASSERT(!slot.is_computed);
    slot.upload_began.record(upload_stream_.get());
    staging_is_busy_ = false;  // whoever uploads has waited for the batch before
    std::array<Piece, 4> pieces;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      GNEISS_ASSERT(batch.memory[i].size() <= slot.memory[i].size());
      pieces[i] = {batch.memory[i], slot.memory[i].data()};
      copy(pieces[i].host, pieces[i].device);
    }
    slot.dense_rows_used = round_up(batch.memory[rows_piece].size(), device_alignment);
    view_on_device(batch.view, pieces, slot);
    slot.upload_ended.record(upload_stream_.get());
  }

  void wait_uploaded(std::size_t index) override { slots_[index].upload_ended.wait(); }
  const BatchView& view(std::size_t index) const override { return slots_[index].view; }

  void begin_compute(std::size_t index) override {
    Slot& slot = slots_[index];
    slot.upload_ended.hold(compute_stream_);
    slot.compute_began.record(compute_stream_);
  }
  void end_compute(std::size_t index) override {
    Slot& slot = slots_[index];
    slot.compute_ended.record(compute_stream_);
    slot.is_computed = true;
  }

 private:
  struct Slot {
    std::array<std::span<std::byte>, 4> memory;
    BatchView view;
    std::vector<BlockView> blocks;
    std::size_t dense_rows_used = 0;  // of the last piece: the segment, then gathered rows
    bool is_computed = false;
    Event upload_began{Event::Kind::timing};
    Event upload_ended{Event::Kind::timing};
    Event compute_began{Event::Kind::timing};
    Event compute_ended{Event::Kind::timing};
  };
  struct Pinned {
    std::span<std::byte> memory;
    bool is_registered = false;
  };
  struct DealtOut {
    std::span<std::byte> rest;
    std::span<std::byte> next(std::size_t bytes) {
      const auto part = rest.first(bytes);
      rest = rest.subspan(std::min(rest.size(), round_up(bytes, device_alignment)));
      return part;
    }
  };

  void copy(std::span<const std::byte> from, std::byte* to) const {
    if (from.empty()) return;
    check(cudaMemcpyAsync(to, from.data(), from.size(), cudaMemcpyHostToDevice, upload_stream_.get()),
          "copying to the device");
  }

  template <class T>
  static std::span<const T> moved(std::span<const T> values, const std::array<Piece, 4>& pieces) {
    if (values.empty()) return {};
    for (const Piece& piece : pieces) {
      if (!piece.holds(values.data())) continue;
      const auto offset = reinterpret_cast<const std::byte*>(values.data()) - piece.host.data();
      return {reinterpret_cast<const T*>(piece.device + offset), values.size()};
    }
    GNEISS_ASSERT(false);  // a view that points beside its batch
    return {};
  }

  void view_on_device(const BatchView& host, const std::array<Piece, 4>& pieces, Slot& slot) {
    slot.blocks.clear();
    for (const BlockView& block : host.blocks) {
      BlockView& there = slot.blocks.emplace_back(block);
      there.indptr = moved(block.indptr, pieces);
      there.indices = moved(block.indices, pieces);
      there.dst_in_src = moved(block.dst_in_src, pieces);
      there.transposed_indptr = moved(block.transposed_indptr, pieces);
      there.transposed_indices = moved(block.transposed_indices, pieces);
      there.transposed_edges = moved(block.transposed_edges, pieces);
      there.edge_positions = moved(block.edge_positions, pieces);
    }
    slot.view = host;
    slot.view.blocks = slot.blocks;
    slot.view.hidden_nodes = moved(host.hidden_nodes, pieces);
    slot.view.targets = moved(host.targets, pieces);
    slot.view.label_rows = moved(host.label_rows, pieces);
    slot.view.input = TieredRows(host.input.dtype(), host.input.columns(), host.input.row_bytes());
    for (std::size_t r = 0; r < host.input.range_count(); ++r) {
      append_range(host.input.range(r), pieces, slot);
    }
  }

  void append_range(const TierRange& range, const std::array<Piece, 4>& pieces, Slot& slot) {
    TieredRows& rows = slot.view.input;
    if (range.count == 0) return rows.append(nullptr, 0);
    TierRange there = range;
    if (range.slots != nullptr) {
      there.slots = moved(std::span(range.slots, range.count), pieces).data();
    }
    const Piece& segment = pieces[rows_piece];
    if (segment.holds(range.base)) {
      there.base = segment.device + (range.base - segment.host.data());
    } else if (const Pinned* const memory = host_memory_of(range.base)) {
      there.base = take_rows(range, there, *memory, rows.row_bytes(), slot);
      there.slots = nullptr;
    }  // else it is on the device already
    rows.append(there.base, there.count, there.slots, there.slots == nullptr ? 0 : there.slot_bytes);
  }

  const Pinned* host_memory_of(const std::byte* pointer) const {
    const auto found = std::ranges::find_if(pinned_, [&](const Pinned& pinned) {
      return pointer >= pinned.memory.data() && pointer < pinned.memory.data() + pinned.memory.size();
    });
    return found == pinned_.end() ? nullptr : &*found;
  }

  // Rows of the host, densely behind what the slot holds already.
  //   on_device  the same range, its slots on the device
  std::byte* take_rows(const TierRange& range, TierRange on_device, const Pinned& memory,
                       std::size_t row_bytes, Slot& slot) {
    const std::size_t bytes = std::size_t{range.count} * row_bytes;
    GNEISS_ASSERT(slot.dense_rows_used + bytes <= slot.memory[rows_piece].size());
    std::byte* const to = slot.memory[rows_piece].data() + slot.dense_rows_used;
    slot.dense_rows_used += round_up(bytes, device_alignment);
    if (path_ == CpuRowPath::bus && memory.is_registered) {
      void* mapped = nullptr;
      check(cudaHostGetDevicePointer(&mapped, memory.memory.data(), 0), "reading pinned memory");
      on_device.base = static_cast<std::byte*>(mapped) + (range.base - memory.memory.data());
      copy_rows(upload_stream_.get(), on_device, row_bytes, to);
      return to;
    }
    if (staging_is_busy_) check(cudaStreamSynchronize(upload_stream_.get()), "copying to the device");
    staging_is_busy_ = true;
    gather_on_host(range, row_bytes);
    copy({staged_rows(), bytes}, to);
    return to;
  }

  std::byte* staged_rows() {
    if (staging_ != nullptr) return static_cast<std::byte*>(staging_);
    if (unpinned_staging_.empty()) unpinned_staging_.resize(sizes_.row_bytes);
    return unpinned_staging_.data();
  }

  void gather_on_host(const TierRange& range, std::size_t row_bytes) {
    std::byte* to = staged_rows();
    for (std::uint32_t i = 0; i < range.count; ++i, to += row_bytes) {
      const std::size_t slot = range.slots != nullptr ? range.slots[i] : i;
      std::memcpy(to, range.base + slot * range.slot_bytes, row_bytes);
    }
  }

  cudaStream_t compute_stream_;
  CpuRowPath path_;
  Stream upload_stream_;
  Event start_{Event::Kind::timing};
  std::chrono::steady_clock::time_point began_;
  std::vector<Slot> slots_;
  std::vector<Pinned> pinned_;
  UploadSizes sizes_;
  void* staging_ = nullptr;
  bool staging_is_busy_ = false;
  std::vector<std::byte> unpinned_staging_;  // where pinning was refused
};

}  // namespace

std::unique_ptr<BatchUploader> make_batch_slots(cudaStream_t compute_stream, std::span<std::byte> memory,
                                                const UploadSizes& sizes, CpuRowPath path) {
  return std::make_unique<BatchSlots>(compute_stream, memory, sizes, path);
}

}  // namespace gneiss::cuda
