// Where one input row of a batch comes from: the gpu tier, the cpu tier, or the drive, and whether the batch
// then leaves it in the cpu tier.
//
// Why:     with rows that come and go, a node's place is another one in every batch: the plan is one u32 for
//          each access, streamed from disk, and training does no look-up.
#pragma once

#include <cstdint>

#include "storage/pack/scratch_lists.h"

namespace gneiss {

inline constexpr std::uint32_t no_slot = 0xFFFFFFFFU;
inline constexpr std::uint32_t tier_slots_max = 1U << 30;  // of the gpu tier, and of the cpu tier

class Placement {
 public:
  Placement() = default;
  static Placement on_gpu(std::uint32_t slot) { return Placement(slot | gpu_bit); }
  static Placement in_slot(std::uint32_t slot) { return Placement(slot); }  // of the cpu tier
  static Placement on_disk() { return Placement(no_slot); }
  // Read from disk, and kept in `slot` from the next batch on.
  static Placement admitted_to(std::uint32_t slot) { return Placement(slot | disk_bit); }

  bool is_cached() const noexcept { return (code_ & disk_bit) == 0; }  // in a tier in memory
  bool is_on_gpu() const noexcept { return is_cached() && (code_ & gpu_bit) != 0; }
  bool is_admitted() const noexcept { return !is_cached() && code_ != no_slot; }
  // Precondition: is_cached() or is_admitted().
  std::uint32_t slot() const noexcept { return code_ & ~(disk_bit | gpu_bit); }
  bool operator==(const Placement&) const = default;

 private:
  static constexpr std::uint32_t disk_bit = 1U << 31;
  static constexpr std::uint32_t gpu_bit = 1U << 30;
  static_assert(tier_slots_max <= gpu_bit);
  explicit Placement(std::uint32_t code) : code_(code) {}
  std::uint32_t code_ = no_slot;
};

// One placement for each input node of each batch, in the order of the batch's ascending input list.
using PlacementLists = ScratchLists<Placement>;

}  // namespace gneiss
