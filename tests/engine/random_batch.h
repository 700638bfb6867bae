// A mini-batch with random edges and features, its rows spread over tiers: what the pipeline hands a model.
//
// Why:  edges and features follow from `seed` alone, tiers from `tier_seed`: so that a test can change the
//       tiers and nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/compute/batch_view.h"
#include "storage/base/ids.h"

namespace gneiss::test {

struct RandomBatchOptions {
  std::uint64_t seed = 1;
  std::uint64_t tier_seed = 1;
  std::uint32_t tier_count = 4;  // tiers that rows are spread over; ranges of the others are empty
  std::uint32_t node_count = 600;
  std::uint32_t seed_count = 20;
  std::vector<std::uint32_t> fanouts{4, 3};  // block 0 first
  std::uint32_t columns = 13;
  std::uint32_t class_count = 5;
  Dtype dtype = Dtype::f32;
};

class RandomBatch {
 public:
  explicit RandomBatch(const RandomBatchOptions& options);
  RandomBatch(const RandomBatch&) = delete;
  RandomBatch& operator=(const RandomBatch&) = delete;

  const BatchView& view() const noexcept { return view_; }
  std::vector<BlockMaxima> maxima() const;

 private:
  struct Block {
    std::uint32_t dst_count = 0;
    std::vector<std::uint32_t> indptr{0};
    std::vector<std::uint32_t> indices;
    std::vector<std::uint32_t> transposed_indptr;
    std::vector<std::uint32_t> transposed_indices;
    std::vector<std::uint32_t> transposed_edges;
  };
  struct Tier {
    std::vector<std::byte> bytes;
    std::vector<std::uint32_t> slots;
  };
  void make_tiers(const RandomBatchOptions& options, const std::vector<std::uint32_t>& sources);

  std::vector<Block> blocks_;
  std::vector<BlockView> block_views_;
  std::vector<std::uint32_t> dst_in_src_;
  std::vector<NodeId> hidden_nodes_;
  std::vector<std::int32_t> targets_;
  std::vector<Tier> tiers_;
  BatchView view_;
};

}  // namespace gneiss::test
