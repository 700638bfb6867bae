#include "bench/gpu/rig.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "storage/base/random.h"

namespace gneiss::gpu {
namespace {

constexpr std::uint64_t slack_bytes = 16ULL << 20;  // every buffer begins at a multiple of 256

const std::vector<float>& random_values() {
  static const std::vector<float> values = [] {
    std::vector<float> drawn(1U << 20);
    RandomStream draws(mix_key(1));
    for (float& value : drawn) value = static_cast<float>(draws.uniform() - 0.5);
    return drawn;
  }();
  return values;
}

}  // namespace

Rig::Rig(Precision precision, const RigMemory& memory, const Effort& effort)
    : backend_(make_cuda_backend(0, precision)), effort_(effort) {
  const UploadSizes upload_sizes{
      .slots = 1, .frame_bytes = memory.frame_bytes, .transposed_bytes = memory.transposed_bytes};
  backend_->reserve(round_up(memory.table_bytes, device_alignment) + upload_sizes.bytes() +
                        memory.buffer_bytes + slack_bytes,
                    backend_->working_bytes(memory.product_columns, memory.product_columns));
  table_ = backend_->keep(memory.table_bytes);
  const auto values = std::as_bytes(std::span(random_values()));
  for (std::uint64_t at = 0; at < table_.size(); at += values.size()) {
    backend_->fill(table_, at, values.first(std::min<std::uint64_t>(values.size(), table_.size() - at)));
  }
  uploader_ = backend_->make_uploader(upload_sizes, CpuRowPath::bus);
  upload({});
}

const BatchView& Rig::upload(const HostBatch& batch) {
  uploader_->upload(0, batch);
  uploader_->wait_uploaded(0);
  return uploader_->view(0);
}

Buffer Rig::random_buffer(std::size_t count) {
  Buffer buffer = backend_->allocate(count);
  const std::span<const float> values = random_values();
  for (std::size_t at = 0; at < count; at += values.size()) {
    backend_->copy_in(values.first(std::min(values.size(), count - at)), buffer.data() + at);
  }
  return buffer;
}

double Rig::seconds(const std::function<void()>& work) {
  run(work, 1);
  const double once = std::max(run(work, 1), 1e-7);
  const auto times =
      static_cast<std::size_t>(std::clamp(std::ceil(effort_.sample_seconds / once), 1.0, 10000.0));
  std::vector<double> samples;
  for (std::size_t i = 0; i < effort_.samples; ++i) samples.push_back(run(work, times));
  std::ranges::sort(samples);
  return samples[samples.size() / 2];
}

double Rig::run(const std::function<void()>& work, std::size_t times) {
  uploader_->begin_compute(0);
  for (std::size_t i = 0; i < times; ++i) work();
  uploader_->end_compute(0);
  const std::optional<SlotTimes> slot = uploader_->reclaim(0);
  return slot->compute_seconds / static_cast<double>(times);
}

}  // namespace gneiss::gpu
