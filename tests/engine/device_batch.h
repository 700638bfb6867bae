// What a test made on the host, once more in a CUDA device's memory.
//
// Why:    operators of a CUDA backend are given the device's pointers, and must read no others.
// Memory: every copy has its own allocation of exactly its size; what is not copied has no defined value.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "engine/compute/batch_view.h"
#include "engine/compute/cuda/check.h"
#include "engine/compute/matrix_view.h"

namespace gneiss::test {

// An array on the device.
template <class T>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(std::size_t count) : count_(count) {
    if (count == 0) return;
    void* data = nullptr;
    cuda::check(cudaMalloc(&data, count * sizeof(T)), "allocating for a test");
    data_.reset(static_cast<T*>(data));
  }
  explicit DeviceArray(std::span<const T> host) : DeviceArray(host.size()) { write(host); }

  T* data() const { return data_.get(); }
  std::span<T> span() const { return {data_.get(), count_}; }
  void write(std::span<const T> host) {
    GNEISS_ASSERT(host.size() == count_);
    copy(data(), host.data(), cudaMemcpyHostToDevice);
    // A copy from memory that is not pinned returns once it is staged: other streams would not wait for it.
    wait();
  }
  // Waits for the device.
  std::vector<T> read() const {
    std::vector<T> host(count_);
    wait();
    copy(host.data(), data(), cudaMemcpyDeviceToHost);
    return host;
  }

 private:
  struct Release {
    void operator()(T* data) const { cudaFree(data); }
  };
  static void wait() { cuda::check(cudaDeviceSynchronize(), "waiting for a test's operations"); }
  void copy(T* target, const T* source, cudaMemcpyKind kind) const {
    if (count_ == 0) return;
    cuda::check(cudaMemcpy(target, source, count_ * sizeof(T), kind), "copying for a test");
  }

  std::unique_ptr<T, Release> data_;
  std::size_t count_ = 0;
};

// A block's edges.
class DeviceBlock {
 public:
  explicit DeviceBlock(const BlockView& host) : view_(host) {
    copy(view_.indptr);
    copy(view_.indices);
    copy(view_.dst_in_src);
    copy(view_.transposed_indptr);
    copy(view_.transposed_indices);
    copy(view_.transposed_edges);
    view_.edge_positions = {};
  }
  const BlockView& view() const { return view_; }

 private:
  void copy(std::span<const std::uint32_t>& ids) { ids = arrays_.emplace_back(ids).span(); }

  std::vector<DeviceArray<std::uint32_t>> arrays_;
  BlockView view_;
};

// Input rows, range by range.
class DeviceRows {
 public:
  // `first_element`: where each range's rows begin in its memory, which fits any vector: so that a test can
  // have rows that fit none.
  explicit DeviceRows(const TieredRows& host, std::size_t first_element = 0)
      : view_(host.dtype(), host.columns(), host.row_bytes()) {
    const std::size_t shift = first_element * size_of(host.dtype());
    for (std::size_t r = 0; r < host.range_count(); ++r) {
      const TierRange& range = host.range(r);
      std::span<const std::uint32_t> slots;
      std::size_t slot_count = range.count;
      if (range.slots != nullptr) {
        slots = {range.slots, range.count};
        slot_count = slots.empty() ? 0 : *std::ranges::max_element(slots) + std::size_t{1};
      }
      const std::size_t row_bytes = host.columns() * size_of(host.dtype());
      const std::size_t bytes = slot_count == 0 ? 0 : (slot_count - 1) * range.slot_bytes + row_bytes;
      std::vector<std::byte> shifted(shift);
      shifted.insert(shifted.end(), range.base, range.base + bytes);
      const std::byte* base = bytes_.emplace_back(std::span<const std::byte>(shifted)).data() + shift;
      const std::uint32_t* device_slots = slots_.emplace_back(slots).data();
      view_.append(base, range.count, device_slots, device_slots == nullptr ? 0 : range.slot_bytes);
    }
  }
  const TieredRows& view() const { return view_; }

 private:
  std::vector<DeviceArray<std::byte>> bytes_;
  std::vector<DeviceArray<std::uint32_t>> slots_;
  TieredRows view_;
};

// A mini-batch.
class DeviceBatch {
 public:
  explicit DeviceBatch(const BatchView& host, std::size_t first_element = 0)
      : rows_(host.input, first_element),
        hidden_nodes_(std::span<const NodeId>(host.hidden_nodes)),
        targets_(std::span<const std::int32_t>(host.targets)) {
    for (const BlockView& block : host.blocks) block_views_.push_back(blocks_.emplace_back(block).view());
    view_ = host;
    view_.input = rows_.view();
    view_.blocks = block_views_;
    view_.hidden_nodes = hidden_nodes_.span();
    view_.targets = targets_.span();
  }
  DeviceBatch(const DeviceBatch&) = delete;
  DeviceBatch& operator=(const DeviceBatch&) = delete;

  const BatchView& view() const { return view_; }

 private:
  DeviceRows rows_;
  DeviceArray<NodeId> hidden_nodes_;
  DeviceArray<std::int32_t> targets_;
  std::vector<DeviceBlock> blocks_;
  std::vector<BlockView> block_views_;
  BatchView view_;
};

}  // namespace gneiss::test
