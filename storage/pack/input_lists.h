// The input nodes of every batch, ascending, in a temporary file, anonymous unless it shall outlive a kill.
//
// Why:     planning and packing walk these lists several times; on disk they cost no memory, and a file
//          without a name leaves nothing behind however the process ends.
// Threads: append() by one; const members by many.
// Errors:  those of ScratchLists.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <utility>
#include <vector>

#include "storage/base/ids.h"
#include "storage/pack/scratch_lists.h"

namespace gneiss {

class InputLists {
 public:
  // Uses `folder`'s file system, or the system's temporary folder where that is read-only.
  explicit InputLists(const std::filesystem::path& folder) : lists_(folder) {}

  // In a file of the caller's, behind the lists that are taken up.
  explicit InputLists(File file) : lists_(std::move(file)) {}

  void append(std::span<const NodeId> ascending_nodes) {
    lists_.append(ascending_nodes);
  }  // the next batch's
  // Takes up the next list, which is in the file already. Throws Error(corruption) when the file ends before.
  std::vector<NodeId> take_up(std::uint64_t node_count);
  void drop_last() { lists_.drop_last(); }  // precondition: there is one
  void sync() const { lists_.sync(); }
  std::size_t batch_count() const noexcept { return lists_.list_count(); }
  std::uint64_t node_count(std::size_t batch) const noexcept { return lists_.size(batch); }
  std::uint64_t total_count() const noexcept { return lists_.total_count(); }

  // Reads up to target.size() nodes of a batch from position `first` on; returns how many.
  std::size_t read(std::size_t batch, std::uint64_t first, std::span<NodeId> target) const;

 private:
  ScratchLists<NodeId> lists_;
};

}  // namespace gneiss
