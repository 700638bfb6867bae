#include "engine/train/device_plan.h"

#include <algorithm>

#include "engine/tiers/sweep_image.h"
#include "storage/base/error.h"
#include "storage/base/units.h"

namespace gneiss {
namespace {

UploadSizes upload_sizes(const Preparation& preparation) {
  const SlotSizes slot = slot_sizes(preparation);
  UploadSizes sizes{.frame_bytes = slot.raw_bytes,
                    .transposed_bytes = slot.transposed_words * sizeof(std::uint32_t),
                    .page_slot_bytes = slot.page_rows * sizeof(std::uint32_t)};
  const auto entries = preparation.pool().entries();
  const auto segments = preparation.pack().entries();
  const std::uint64_t row_bytes = image_row_bytes(preparation.cpu_tier());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::uint64_t cpu_rows = round_up(entries[i].cpu_rows * row_bytes, device_alignment);
    sizes.cpu_row_bytes = std::max(sizes.cpu_row_bytes, cpu_rows);
    sizes.row_bytes = std::max(sizes.row_bytes, round_up(segments[i].bytes, device_alignment) + cpu_rows);
  }
  return sizes;
}

}  // namespace

DevicePlan plan_device(const Dataset& dataset, const Preparation& preparation, const TrainOptions& options,
                       const Backend& backend, std::uint64_t budget_bytes) {
  DevicePlan plan{.computation_bytes = computation_bytes(dataset, preparation, options, backend),
                  .product_bytes = training_product_bytes(dataset, preparation, options, backend),
                  .gpu_tier_bytes = preparation.gpu_row_count() * image_row_bytes(preparation.cpu_tier()),
                  .upload = upload_sizes(preparation)};
  if (plan.total_bytes() <= budget_bytes) return plan;
  const auto text = [](std::uint64_t bytes) { return format_bytes(static_cast<double>(bytes)); };
  fail(
      Kind::config,
      "{} of the device's memory are too little: {} would do (gpu tier {}, model {}, {} batches of {} each); "
      "give more by --device-memory where that bounds it, a smaller --hidden, prepare with a smaller "
      "--gpu-cache or --batch-size, or use --device cpu",
      text(budget_bytes), format_bytes_up(plan.total_bytes()), text(plan.gpu_tier_bytes),
      text(plan.computation_bytes), plan.upload.slots, text(plan.upload.bytes() / plan.upload.slots));
}

}  // namespace gneiss
