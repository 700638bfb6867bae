// The batches of a schedule where they are computed: in the host's memory, or in a device's.
//
// Why: a trainer's loop is the same for both.
#pragma once

#include <optional>

#include "engine/pipeline/pipelined_source.h"
#include "engine/pipeline/uploaded_source.h"

namespace gneiss {

class BatchFeed {
 public:
  // As PipelinedSource. `uploader` is of the device that computes; null: it is the host.
  BatchFeed(const Preparation& preparation, const DatasetInfo& dataset, CpuTier& cpu_tier,
            const PipelineOptions& options, BatchSchedulePlan plan, BatchUploader* uploader)
      : host_(preparation, dataset, cpu_tier, options, std::move(plan)) {
    if (uploader != nullptr) device_.emplace(host_, *uploader, options.trace);
  }

  const SourcedBatch* next() { return device_ ? device_->next() : host_.next(); }
  // All that is computed from the batch has been asked for.
  void computed() {
    if (device_) device_->computed();
  }
  PipelineTimes times() { return device_ ? device_->times() : host_.times(); }
  const PipelinedSource& host() const noexcept { return host_; }

 private:
  PipelinedSource host_;
  std::optional<UploadedSource> device_;
};

}  // namespace gneiss
