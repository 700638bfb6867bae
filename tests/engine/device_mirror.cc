#include "tests/engine/device_mirror.h"

#include <cuda_runtime.h>

#include <algorithm>

#include "engine/compute/cuda/check.h"

namespace gneiss::test {
namespace {

// What cudaMalloc() aligns to.
constexpr std::size_t alignment = 256;

// Where a region begins on the device, behind what is aligned.
std::size_t shift_of(const std::byte* data, std::size_t element) {
  const std::size_t shift = reinterpret_cast<std::uintptr_t>(data) % alignment;
  return shift % element == 0 ? shift : shift % element * element;
}

}  // namespace

void DeviceMirror::note(std::byte* begin, std::size_t bytes, Use use, std::size_t element) {
  regions_.push_back({.begin = begin,
                      .end = begin + bytes,
                      .is_read = use != Use::scratch,
                      .is_written = use == Use::update,
                      .is_pinned = use == Use::bus,
                      .element = element});
}

// Views of one matrix, or one that is read and written: they stay so on the device.
void DeviceMirror::merge_overlapping() {
  std::ranges::sort(regions_, [](const Region& a, const Region& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  std::vector<Region> merged;
  for (Region& region : regions_) {
    const bool overlaps = !merged.empty() && region.begin < merged.back().end;
    const bool is_same =
        !merged.empty() && region.begin == merged.back().begin && region.end == merged.back().end;
    if (!overlaps && !is_same) {
      merged.push_back(std::move(region));
      continue;
    }
    Region& last = merged.back();
    last.end = std::max(last.end, region.end);
    last.is_read |= region.is_read;
    last.is_written |= region.is_written;
    last.is_pinned |= region.is_pinned;
  }
  regions_ = std::move(merged);
}

void DeviceMirror::copy_in() {
  merge_overlapping();
  for (Region& region : regions_) {
    const std::size_t bytes = static_cast<std::size_t>(region.end - region.begin);
    const std::size_t shift = shift_of(region.begin, region.element);
    if (region.is_pinned) {
      GNEISS_ASSERT(!region.is_written);
      region.pinned = device_.allocate_host(shift + bytes + 1);
      region.device = region.pinned.bytes().data() + shift;
      std::copy(region.begin, region.end, region.device);
      continue;
    }
    // Of nothing too there is an address, behind which all is foreign.
    region.memory = DeviceArray<std::byte>(std::max<std::size_t>(1, shift + bytes));
    region.device = region.memory.data() + shift;
    if (bytes == 0) continue;
    // All bits set are no number, as what nobody has written must not become one.
    const cudaError_t status = region.is_read
                                   ? cudaMemcpy(region.device, region.begin, bytes, cudaMemcpyHostToDevice)
                                   : cudaMemset(region.device, 0xFF, bytes);
    cuda::check(status, "copying for a test");
  }
  // The operators' stream waits for no other.
  cuda::check(cudaDeviceSynchronize(), "waiting for a test's copies");
  is_on_device_ = true;
}

void DeviceMirror::copy_out() {
  for (const Region& region : regions_) {
    if (!region.is_written || region.begin == region.end) continue;
    cuda::check(cudaMemcpy(region.begin, region.device, static_cast<std::size_t>(region.end - region.begin),
                           cudaMemcpyDeviceToHost),
                "copying for a test");
  }
}

// Of several regions that begin here, the longest: nothing lies in the others.
std::byte* DeviceMirror::find(std::byte* data) const {
  const auto after = std::ranges::upper_bound(regions_, data, {}, &Region::begin);
  GNEISS_ASSERT(after != regions_.begin());
  const Region& region = *(after - 1);
  GNEISS_ASSERT(data < region.end || data == region.begin);
  return region.device + (data - region.begin);
}

TieredRows carry(DeviceMirror& mirror, const TieredRows& rows) {
  TieredRows carried(rows.dtype(), rows.columns(), rows.row_bytes());
  const std::size_t row_bytes = rows.columns() * size_of(rows.dtype());
  for (std::size_t r = 0; r < rows.range_count(); ++r) {
    const TierRange& range = rows.range(r);
    std::size_t slot_count = range.count;
    if (range.slots != nullptr && range.count > 0) {
      slot_count = *std::max_element(range.slots, range.slots + range.count) + std::size_t{1};
    }
    const std::size_t bytes = slot_count == 0 ? 0 : (slot_count - 1) * range.slot_bytes + row_bytes;
    const bool is_cpu_tier = r == 1 && bytes > 0;
    const std::byte* base =
        mirror.place(range.base, bytes, is_cpu_tier ? DeviceMirror::Use::bus : DeviceMirror::Use::read,
                     size_of(rows.dtype()));
    const std::uint32_t* slots = mirror.place(range.slots, range.count);
    carried.append(base, range.count, slots, slots == nullptr ? 0 : range.slot_bytes);
  }
  return carried;
}

BlockView carry(DeviceMirror& mirror, BlockView block) {
  for (auto* ids : {&block.indptr, &block.indices, &block.dst_in_src, &block.transposed_indptr,
                    &block.transposed_indices, &block.transposed_edges}) {
    *ids = carry(mirror, *ids);
  }
  block.edge_positions = {};
  return block;
}

}  // namespace gneiss::test
