#include "sampler/batch_scratch.h"

#include <algorithm>
#include <span>

#include "storage/base/checksum.h"
#include "storage/base/error.h"

namespace gneiss {
namespace {

// Enough that no thread waits while the drive keeps up, little beside a budget.
constexpr std::uint64_t unwritten_bytes_max = 16U << 20;

// Calls use(array) for every array of a batch, in the order of the file.
template <class Batch, class Use>
void for_each_array(Batch& batch, const Use& use) {
  use(batch.nodes);
  for (auto& block : batch.blocks) {
    use(block.indptr);
    use(block.indices);
    use(block.edge_positions);
  }
}

// A checksum finds damage, not what was made up: whoever uses a batch takes its ids for indices.
bool is_sound(const SampledBatch& batch, std::uint64_t node_count) {
  std::uint64_t sources = batch.nodes.size();
  for (const SampledBlock& block : batch.blocks) {
    const auto below = [](std::uint64_t bound) {
      return [bound](std::uint64_t value) { return value < bound; };
    };
    if (block.src_count != sources || block.dst_count > block.src_count || block.indptr.front() != 0 ||
        block.indptr.back() != block.indices.size() || !std::ranges::is_sorted(block.indptr) ||
        !std::ranges::all_of(block.indices, below(block.src_count)) ||
        (!block.edge_positions.empty() && block.edge_positions.size() != block.indices.size())) {
      return false;
    }
    sources = block.dst_count;
  }
  return !batch.blocks.empty() && sources == batch.seed_count &&
         std::ranges::all_of(batch.nodes, [&](NodeId node) { return to_index(node) < node_count; });
}

}  // namespace

BatchScratch::BatchScratch(const std::filesystem::path& folder, std::size_t batch_count)
    : file_(File::create_anonymous(folder)), entries_(batch_count) {}

void BatchScratch::store(std::size_t index, const SampledBatch& batch) {
  Entry& entry = entries_[index];
  entry.key = batch.key;
  entry.seed_count = batch.seed_count;
  entry.node_count = batch.nodes.size();
  entry.blocks.clear();
  for (const SampledBlock& block : batch.blocks) {
    GNEISS_ASSERT(block.indptr.size() == std::size_t{block.dst_count} + 1);
    entry.blocks.push_back(
        {block.dst_count, block.src_count, block.indices.size(), block.edge_positions.size()});
  }
  entry.bytes = 0;
  for_each_array(batch, [&](const auto& array) { entry.bytes += std::as_bytes(std::span(array)).size(); });
  entry.offset = end_.fetch_add(round_up(entry.bytes, direct_io_alignment), std::memory_order_relaxed);
  StreamChecksum sum;
  std::uint64_t at = entry.offset;
  for_each_array(batch, [&](const auto& array) {
    const auto bytes = std::as_bytes(std::span(array));
    sum.update(bytes);
    file_.write_at(at, bytes);
    at += bytes.size();
  });
  entry.xxh3 = sum.value();
  send_to_drive({entry.offset, entry.bytes});
}

void BatchScratch::send_to_drive(Range range) {
  file_.start_write_back(range.offset, range.bytes);
  std::unique_lock lock(mutex_);
  on_their_way_.push_back(range);
  bytes_on_their_way_ += range.bytes;
  while (bytes_on_their_way_ > unwritten_bytes_max) {
    const Range oldest = on_their_way_.front();
    on_their_way_.pop_front();
    bytes_on_their_way_ -= oldest.bytes;
    lock.unlock();
    file_.write_back(oldest.offset, oldest.bytes);
    lock.lock();
  }
}

void BatchScratch::load(std::size_t index, SampledBatch& batch) const {
  const Entry& entry = entries_[index];
  batch.key = entry.key;
  batch.seed_count = entry.seed_count;
  batch.nodes.resize(entry.node_count);
  batch.blocks.resize(entry.blocks.size());
  for (std::size_t i = 0; i < entry.blocks.size(); ++i) {
    SampledBlock& block = batch.blocks[i];
    block.dst_count = entry.blocks[i].dst_count;
    block.src_count = entry.blocks[i].src_count;
    block.indptr.resize(std::size_t{block.dst_count} + 1);
    block.indices.resize(entry.blocks[i].edges);
    block.edge_positions.resize(entry.blocks[i].edge_positions);
  }
  StreamChecksum sum;
  std::uint64_t at = entry.offset;
  for_each_array(batch, [&](auto& array) {
    const auto bytes = std::as_writable_bytes(std::span(array));
    file_.read_at(at, bytes);
    sum.update(bytes);
    at += bytes.size();
  });
  file_.drop_cache(entry.offset, entry.bytes);
  if (sum.value() != entry.xxh3 || (index < taken_up_ && !is_sound(batch, node_count_))) {
    fail(Kind::corruption, "{}: {} is not what was written; the drive is damaged, or its space is shared",
         file_.path(), to_string(entry.key));
  }
}

File BatchScratch::open_file(const std::filesystem::path& path) {
  return std::filesystem::exists(path) ? File::open_existing(path) : File::create(path);
}

void BatchScratch::save(std::size_t batch_count, std::vector<std::uint64_t>& numbers) const {
  file_.sync();
  numbers.insert(numbers.end(), {bytes(), batch_count});
  for (std::size_t i = 0; i < batch_count; ++i) {
    const Entry& entry = entries_[i];
    numbers.insert(numbers.end(), {entry.seed_count, entry.node_count, entry.offset, entry.bytes, entry.xxh3,
                                   entry.blocks.size()});
    for (const Entry::Block& block : entry.blocks) {
      numbers.insert(numbers.end(), {block.dst_count, block.src_count, block.edges, block.edge_positions});
    }
  }
}

std::size_t BatchScratch::go_on(CheckpointReader& numbers, const BatchSchedule& schedule,
                                std::uint64_t node_count) {
  constexpr std::uint64_t count_max = 0xFFFFFFFF;
  const std::uint64_t end = numbers.take(round_up(file_.size(), direct_io_alignment));
  const std::uint64_t count = numbers.take(entries_.size());
  for (std::size_t i = 0; i < count; ++i) {
    Entry& entry = entries_[i];
    entry.key = schedule.key(i);
    entry.seed_count = static_cast<std::uint32_t>(numbers.take(count_max));
    entry.node_count = numbers.take(count_max);
    entry.offset = numbers.take(end);
    entry.bytes = numbers.take(end - entry.offset);
    entry.xxh3 = numbers.take();
    // load() makes room for what is told here: no more than the file holds.
    std::uint64_t left = entry.bytes;
    const auto take_array = [&](std::uint64_t length, std::uint64_t element_bytes) {
      if (length > left / element_bytes) fail(Kind::corruption, "{}: a batch cannot be", file_.path());
      left -= length * element_bytes;
    };
    take_array(entry.node_count, sizeof(NodeId));
    entry.blocks.resize(numbers.take(64));
    for (Entry::Block& block : entry.blocks) {
      block.dst_count = static_cast<std::uint32_t>(numbers.take(count_max));
      block.src_count = static_cast<std::uint32_t>(numbers.take(count_max));
      block.edges = numbers.take(end);
      block.edge_positions = numbers.take(end);
      take_array(std::uint64_t{block.dst_count} + 1, sizeof(std::uint32_t));
      take_array(block.edges, sizeof(std::uint32_t));
      take_array(block.edge_positions, sizeof(std::uint64_t));
    }
  }
  end_.store(end, std::memory_order_relaxed);
  taken_up_ = count;
  node_count_ = node_count;
  return count;
}

}  // namespace gneiss
