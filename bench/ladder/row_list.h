// The input rows of the same sampled batches, for every strategy: node lists out of a preparation's pool.
//
// Why:    each strategy must deliver the same rows to the same places, or their times cannot be compared.
// Memory: one list at a time: 8 bytes a row, and the pool's pages are dropped from the cache once read, so
//         that the lists take next to nothing of a cap.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "storage/format/preparation.h"

namespace gneiss::ladder {

// Where the feature rows stand: row i at offset + i * row_bytes.
struct RowFile {
  std::filesystem::path path;
  std::uint64_t offset = 0;
  std::uint64_t row_bytes = 0;
  std::uint64_t row_count = 0;
};
RowFile row_file_of(const Dataset& dataset);

// One batch's rows: nodes[i] belongs into row targets[i] of the batch's buffer. Targets are 0 .. size() - 1.
struct RowList {
  std::vector<NodeId> nodes;  // distinct
  std::vector<std::uint32_t> targets;

  std::size_t size() const noexcept { return nodes.size(); }
};

enum class RowOrder {
  ascending,  // by node: what lets a reader coalesce; sorted before the clock runs, at no strategy's expense
  scattered,  // in no order, as a sampler that numbers nodes by discovery hands them on (PyG's n_id)
};

// The training batches of the pool, epoch after epoch, in the pool's order, over and over.
class RowLists {
 public:
  RowLists(const SamplePool& pool, RowOrder order);

  std::size_t batch_count() const noexcept { return indices_.size(); }
  std::size_t pool_index(std::uint64_t position) const { return indices_[position % indices_.size()]; }
  std::uint64_t row_count(std::uint64_t position) const;
  std::uint64_t row_count_max() const noexcept { return row_count_max_; }
  std::uint64_t total_rows() const noexcept { return total_rows_; }  // of all batches

  // The list of the batch at `position`, which may go round the pool. Throws Error(io | corruption).
  void read(std::uint64_t position, RowList& list) const;

 private:
  const SamplePool& pool_;
  RowOrder order_;
  std::vector<std::size_t> indices_;
  std::uint64_t row_count_max_ = 0;
  std::uint64_t total_rows_ = 0;
};

}  // namespace gneiss::ladder
