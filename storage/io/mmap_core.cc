#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "storage/base/error.h"
#include "storage/io/cores.h"
#include "storage/io/mapped_copy.h"
#include "storage/io/stall_watch.h"

namespace gneiss {
namespace {

class Mapping {
 public:
  explicit Mapping(const File& file)
      : path_(file.path()), descriptor_(file.descriptor()), bytes_(file.size()) {
    if (bytes_ == 0) return;  // mmap() refuses an empty range
    data_ = ::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, descriptor_, 0);
    if (data_ == MAP_FAILED) fail_errno(file.path(), "map into memory", errno);
  }
  Mapping(Mapping&& other) noexcept
      : path_(std::move(other.path_)),
        descriptor_(other.descriptor_),
        bytes_(std::exchange(other.bytes_, 0)),
        data_(std::exchange(other.data_, nullptr)) {}
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping() {
    if (data_ != nullptr) ::munmap(data_, bytes_);
  }

  std::int64_t copy(std::uint64_t offset, std::span<std::byte> target) const {
    const DriveWait wait("reading", path_, offset, target.size());
    // The size is asked anew: a file that was cut short since it was mapped ends here, as for read().
    for (std::uint64_t known = std::numeric_limits<std::uint64_t>::max();;) {
      struct stat status{};
      if (::fstat(descriptor_, &status) != 0) return -errno;
      const std::uint64_t readable = std::min(bytes_, static_cast<std::uint64_t>(status.st_size));
      if (offset >= readable) return 0;
      const std::size_t bytes = std::min<std::uint64_t>(target.size(), readable - offset);
      if (copy_mapped(static_cast<const std::byte*>(data_) + offset, target.first(bytes)))
        return static_cast<std::int64_t>(bytes);
      if (readable >= known) return -EIO;  // once more, and not cut meanwhile: the drive does not give it
      known = readable;
    }
  }

 private:
  std::string path_;
  int descriptor_;
  std::uint64_t bytes_;
  void* data_ = nullptr;
};

class MmapCore final : public IoCore {
 public:
  explicit MmapCore(std::uint32_t queue_depth) { finished_.reserve(queue_depth); }

  std::string_view name() const noexcept override { return "mmap"; }
  bool can_bypass_cache() const noexcept override { return false; }

  void attach(FileId id, const File& file) override {
    GNEISS_ASSERT(static_cast<std::size_t>(id) == mappings_.size());
    mappings_.emplace_back(file);
  }

  void start(std::span<const Transfer> transfers) override {
    for (const Transfer& transfer : transfers) {
      const Mapping& mapping = mappings_[static_cast<std::size_t>(transfer.file)];
      finished_.push_back({.slot = transfer.slot, .result = mapping.copy(transfer.offset, transfer.target)});
    }
  }

  std::size_t collect(std::span<Outcome> outcomes, Patience patience) override {
    static_cast<void>(patience);  // what was started is done
    const std::size_t count = std::min(outcomes.size(), finished_.size());
    std::copy_n(finished_.begin(), count, outcomes.begin());
    finished_.erase(finished_.begin(), finished_.begin() + static_cast<std::ptrdiff_t>(count));
    return count;
  }

 private:
  std::vector<Mapping> mappings_;  // by FileId
  std::vector<Outcome> finished_;
};

}  // namespace

std::unique_ptr<IoCore> make_mmap_core(std::uint32_t queue_depth) {
  return std::make_unique<MmapCore>(queue_depth);
}

}  // namespace gneiss
