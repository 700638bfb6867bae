#include "bench/ladder/mapped_rows.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "storage/base/aligned_buffer.h"
#include "storage/base/error.h"

namespace gneiss::ladder {
namespace {

constexpr std::uint64_t page_bytes = 4096;

std::uint64_t bytes_fetched() {
  std::ifstream io("/proc/self/io");
  std::string name;
  std::uint64_t value = 0;
  while (io >> name >> value) {
    if (name == "read_bytes:") return value;
  }
  fail(Kind::io, "/proc/self/io does not tell the bytes read: this kernel does not count them");
}

std::uint64_t major_faults() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_majflt);
}

}  // namespace

MappedRows::MappedRows(const RowFile& file, const MappedOptions& options)
    : rows_(file), options_(options), file_(File::open_for_reading(file.path)), pool_(options.threads) {
  bytes_ = file_.size();
  if (bytes_ < file.offset + file.row_count * file.row_bytes) {
    fail(Kind::corruption, "{} is too short for its rows; make the dataset again", file_.path());
  }
  file_.drop_cache();
  data_ = ::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, file_.descriptor(), 0);
  if (data_ == MAP_FAILED) fail_errno(file_.path(), "map into memory", errno);
  if (options.advise_random && ::madvise(data_, bytes_, MADV_RANDOM) != 0) {
    fail_errno(file_.path(), "advise random access", errno);
  }
  resident_.resize(divide_up(bytes_, page_bytes));
}

MappedRows::~MappedRows() { ::munmap(data_, bytes_); }

void MappedRows::before(std::uint64_t /*position*/, const RowList& list) {
  if (::mincore(data_, bytes_, resident_.data()) != 0)
    fail_errno(file_.path(), "look for cached pages", errno);
  for (const NodeId node : list.nodes) {
    const std::uint64_t begin = rows_.offset + to_index(node) * rows_.row_bytes;
    bool is_resident = true;
    for (std::uint64_t page = begin / page_bytes; page * page_bytes < begin + rows_.row_bytes; ++page) {
      is_resident = is_resident && (resident_[page] & 1U) != 0;
    }
    cost_.rows_from_cache += is_resident ? 1 : 0;
  }
}

void MappedRows::deliver(std::uint64_t /*position*/, const RowList& list, std::span<std::byte> target) {
  const std::uint64_t faults_before = major_faults();
  const std::uint64_t bytes_before = bytes_fetched();
  const auto* data = static_cast<const std::byte*>(data_) + rows_.offset;
  // Pieces small enough that no thread waits for another at the end.
  constexpr std::size_t piece_rows = 1024;
  pool_.parallel_for(divide_up(list.size(), piece_rows), [&](std::size_t piece, std::size_t) {
    const std::size_t end = std::min(list.size(), (piece + 1) * piece_rows);
    for (std::size_t i = piece * piece_rows; i < end; ++i) {
      std::memcpy(target.data() + list.targets[i] * rows_.row_bytes,
                  data + to_index(list.nodes[i]) * rows_.row_bytes, rows_.row_bytes);
    }
  });
  cost_.rows += list.size();
  cost_.reads += major_faults() - faults_before;
  cost_.bytes += bytes_fetched() - bytes_before;
}

nlohmann::json MappedRows::describe() const {
  return {{"gather_threads", pool_.thread_count()}, {"advise_random", options_.advise_random}};
}

}  // namespace gneiss::ladder
