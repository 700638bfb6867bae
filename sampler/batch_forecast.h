// What a batch will take in the pool, at most: known when it is sampled, before it is planned and compressed.
#pragma once

#include "sampler/neighbor_sampler.h"
#include "storage/format/sample_pool.h"

namespace gneiss {

// Counts are exact, bytes upper bounds; rows of tiers, offsets and checksums are left 0.
//   label_columns  of the dataset: a byte each for every seed
BatchEntry forecast_batch(const SampledBatch& batch, std::uint32_t label_columns);

// Of both frames, with the padding between them.
std::uint64_t pool_bytes_at_most(const BatchEntry& forecast) noexcept;

}  // namespace gneiss
