// `mmap`: rows gathered through a memory-mapped feature file, page fault by page fault.
//
// Why:    what PyG does with a numpy memory map (torch.from_numpy(np.memmap(...)) and index_select, which
//         torch splits over its threads), and PyG+, the baseline of Ginex, with 8 threads a core
//         (gather_mmap in lib/cpp_extension/gather.cpp): faults in flight are the only queue it has. The
//         page cache is all the cache there is, and a control group counts it.
// Cost:   reads are major faults; bytes are those the kernel fetched for this process (/proc/self/io); a
//         row is served from the cache when its pages were resident as its batch began (mincore, off the
//         clock).
#pragma once

#include "bench/ladder/row_source.h"
#include "storage/base/parallel.h"
#include "storage/io/file.h"

namespace gneiss::ladder {

struct MappedOptions {
  std::size_t threads = 16;   // of the gather
  bool advise_random = true;  // MADV_RANDOM: no reading around a fault
};

class MappedRows final : public RowSource {
 public:
  MappedRows(const RowFile& file, const MappedOptions& options);
  ~MappedRows() override;

  void before(std::uint64_t position, const RowList& list) override;
  void deliver(std::uint64_t position, const RowList& list, std::span<std::byte> target) override;
  DeliveryCost cost() const override { return cost_; }
  nlohmann::json describe() const override;

 private:
  const RowFile rows_;
  const MappedOptions options_;
  File file_;
  std::uint64_t bytes_ = 0;
  void* data_ = nullptr;
  ThreadPool pool_;
  std::vector<unsigned char> resident_;  // [pages], as the batch began
  DeliveryCost cost_;
};

}  // namespace gneiss::ladder
