#include "storage/import/csc_builder.h"

#include <algorithm>
#include <bit>
#include <deque>
#include <utility>

#include "storage/base/aligned_buffer.h"
#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/progress.h"
#include "storage/import/radix_sort.h"

namespace gneiss {
namespace {

// Sorting works on two arrays of 8-byte keys; 4 M keys a bucket keep both within reach of large caches and
// the buckets few enough for buffers of a useful size.
constexpr std::uint64_t bucket_keys_wanted = 4ULL << 20;
constexpr std::uint64_t sort_bytes_per_key = 16;
constexpr std::uint64_t buffer_keys_max = (256U << 10) / sizeof(std::uint64_t);
constexpr std::uint64_t buffer_keys_min = 4096 / sizeof(std::uint64_t);
constexpr int split_bits = 6;

std::size_t keys_in(const ScratchPiece& chunk) { return chunk.bytes / sizeof(std::uint64_t); }

}  // namespace

// One bucket in order, ready to be handed on.
struct CscBuilder::Sorted {
  std::vector<std::uint64_t> keys;
  std::vector<std::uint64_t> spare;
  std::span<const std::uint64_t> ordered;  // in one of the two
  std::span<const std::uint32_t> sources;  // of `ordered`, in the other
};

// Walks the buckets in order and knows where each destination's edges begin.
class CscBuilder::Emitter {
 public:
  Emitter(const CscSink& sink, std::uint64_t node_count, int id_bits)
      : sink_(sink), node_count_(node_count), id_bits_(id_bits) {
    offsets_.reserve(offsets_at_once);
  }
  void emit(std::span<const std::uint64_t> keys, std::span<const std::uint32_t> sources) {
    for (std::size_t i = 0; i < keys.size(); ++i) begin_node(keys[i] >> id_bits_, edge_count_ + i);
    sink_.indices(sources);
    edge_count_ += keys.size();
  }
  std::uint64_t finish() {
    begin_node(node_count_, edge_count_);
    sink_.indptr(offsets_);
    offsets_.clear();
    return edge_count_;
  }

 private:
  static constexpr std::size_t offsets_at_once = 64U << 10;
  // The edges of all nodes from next_node_ to `node` begin at `offset`.
  void begin_node(std::uint64_t node, std::uint64_t offset) {
    while (next_node_ <= node) {
      offsets_.push_back(offset);
      ++next_node_;
      if (offsets_.size() == offsets_at_once) {
        sink_.indptr(offsets_);
        offsets_.clear();
      }
    }
  }
  const CscSink& sink_;
  const std::uint64_t node_count_;
  const int id_bits_;
  std::uint64_t next_node_ = 0;
  std::uint64_t edge_count_ = 0;
  std::vector<std::uint64_t> offsets_;
};

CscBuilder::CscBuilder(CscOptions options, ThreadPool& pool)
    : options_(std::move(options)),
      pool_(pool),
      scratch_(options_.scratch_folder, options_.memory_bytes / 4) {
  GNEISS_ASSERT(options_.node_count > 0 && options_.node_count <= max_node_count);
  const std::uint64_t workers = pool_.thread_count();
  id_bits_ = std::max(1, static_cast<int>(std::bit_width(options_.node_count - 1)));
  // Half of the budget sorts, a quarter buffers; what is left covers the writers and the program itself.
  sortable_keys_ = std::max<std::uint64_t>(1024, options_.memory_bytes / 2 / workers / sort_bytes_per_key);
  const std::uint64_t keys = options_.expected_edges * (options_.add_reverse ? 2 : 1) +
                             (options_.self_loops ? options_.node_count : 0);
  // Twice the room of an average bucket, so that moderate skew needs no second pass.
  const std::uint64_t bucket_keys = std::min(bucket_keys_wanted, sortable_keys_ / 2);
  const std::uint64_t buffer_budget = options_.memory_bytes / 4 / workers / sizeof(std::uint64_t);
  const std::uint64_t buckets_wanted = std::clamp<std::uint64_t>(
      divide_up(keys, bucket_keys), 1, std::max<std::uint64_t>(1, buffer_budget / buffer_keys_min));
  // The highest node's key says how much of the key space is used; buckets cover just that.
  const std::uint64_t top_key = key_of(static_cast<std::uint32_t>(options_.node_count - 1),
                                       static_cast<std::uint32_t>(options_.node_count - 1));
  low_bits_ = static_cast<int>(std::bit_width(top_key));
  while (low_bits_ > 1 && (top_key >> (low_bits_ - 1)) + 1 <= buckets_wanted) --low_bits_;
  low_bits_ = std::min(low_bits_, 63);
  const std::size_t bucket_count = (top_key >> low_bits_) + 1;
  buffer_keys_ = std::clamp(buffer_budget / bucket_count, buffer_keys_min, buffer_keys_max);

  buckets_.resize(bucket_count);
  for (std::size_t i = 0; i < bucket_count; ++i) {
    buckets_[i].first_key = std::uint64_t{i} << low_bits_;
    buckets_[i].low_bits = low_bits_;
  }
  buffers_.assign(workers, std::vector<std::uint64_t>(bucket_count * buffer_keys_));
  filled_.assign(workers, std::vector<std::uint32_t>(bucket_count));
}

ScratchPiece CscBuilder::put_aside(std::span<const std::uint64_t> keys) {
  return scratch_.append(std::as_bytes(keys));
}

void CscBuilder::take_back(const ScratchPiece& chunk, std::span<std::uint64_t> keys) const {
  scratch_.read(chunk, std::as_writable_bytes(keys));
  scratch_.release(chunk);
}

void CscBuilder::flush(std::size_t worker, std::size_t bucket) {
  // Emptied before the write: should that fail, a worker that has not heard of it yet may still push.
  const std::uint32_t filled = std::exchange(filled_[worker][bucket], 0);
  if (filled == 0) return;
  const auto keys = std::span(buffers_[worker]).subspan(bucket * buffer_keys_, filled);
  const ScratchPiece chunk = put_aside(keys);
  const std::scoped_lock lock(chunks_mutex_);
  buckets_[bucket].chunks.push_back(chunk);
  buckets_[bucket].count += filled;
}

void CscBuilder::add_self_loops() {
  for (std::uint64_t node = 0; node < options_.node_count; ++node) {
    push(0, key_of(static_cast<std::uint32_t>(node), static_cast<std::uint32_t>(node)));
  }
}

// Deals a bucket that is too large to sort into smaller ones by the next bits of its keys.
std::vector<CscBuilder::Bucket> CscBuilder::split(const Bucket& bucket) {
  const int bits = std::min(split_bits, bucket.low_bits);
  const int low_bits = bucket.low_bits - bits;
  std::vector<Bucket> parts(std::size_t{1} << bits);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    parts[i].first_key = bucket.first_key + (std::uint64_t{i} << low_bits);
    parts[i].low_bits = low_bits;
  }
  const std::size_t part_keys = std::clamp<std::size_t>(
      options_.memory_bytes / 4 / sizeof(std::uint64_t) / parts.size(), buffer_keys_min, buffer_keys_max);
  std::vector<std::vector<std::uint64_t>> waiting(parts.size());
  for (auto& keys : waiting) keys.reserve(part_keys);
  const auto flush_part = [&](std::size_t i) {
    if (waiting[i].empty()) return;
    parts[i].chunks.push_back(put_aside(waiting[i]));
    parts[i].count += waiting[i].size();
    waiting[i].clear();
  };
  std::vector<std::uint64_t> keys;
  for (const ScratchPiece& chunk : bucket.chunks) {
    throw_if_interrupted();
    keys.resize(keys_in(chunk));
    take_back(chunk, keys);
    for (const std::uint64_t key : keys) {
      const std::size_t i = (key - bucket.first_key) >> low_bits;
      waiting[i].push_back(key);
      if (waiting[i].size() == part_keys) flush_part(i);
    }
  }
  for (std::size_t i = 0; i < parts.size(); ++i) flush_part(i);
  std::erase_if(parts, [](const Bucket& part) { return part.count == 0; });
  return parts;
}

void CscBuilder::sort_bucket(const Bucket& bucket, Sorted& sorted) const {
  sorted.keys.resize(bucket.count);
  sorted.spare.resize(bucket.count);
  std::size_t filled = 0;
  for (const ScratchPiece& chunk : bucket.chunks) {
    take_back(chunk, std::span(sorted.keys).subspan(filled, keys_in(chunk)));
    filled += keys_in(chunk);
  }
  GNEISS_ASSERT(filled == bucket.count);
  auto ordered = radix_sort(sorted.keys, sorted.spare, bucket.low_bits);
  if (options_.deduplicate) {
    ordered = ordered.first(static_cast<std::size_t>(std::ranges::unique(ordered).begin() - ordered.begin()));
  }
  auto& other = ordered.data() == sorted.keys.data() ? sorted.spare : sorted.keys;
  auto* sources = reinterpret_cast<std::uint32_t*>(other.data());
  const std::uint64_t id_mask = (std::uint64_t{1} << id_bits_) - 1;
  for (std::size_t i = 0; i < ordered.size(); ++i)
    sources[i] = static_cast<std::uint32_t>(ordered[i] & id_mask);
  sorted.ordered = ordered;
  sorted.sources = {sources, ordered.size()};
}

std::uint64_t CscBuilder::finish(const CscSink& sink) {
  if (options_.self_loops) add_self_loops();
  for (std::size_t worker = 0; worker < buffers_.size(); ++worker) {
    for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) flush(worker, bucket);
  }
  buffers_ = {};  // their memory is what sorting uses now
  filled_ = {};

  std::uint64_t key_count = 0;
  std::deque<Bucket> waiting;
  for (Bucket& bucket : buckets_) {
    key_count += bucket.count;
    if (bucket.count > 0) waiting.push_back(std::move(bucket));
  }
  buckets_ = {};
  Progress progress("sorting edges", key_count, Progress::Unit::items);
  Emitter emitter(sink, options_.node_count, id_bits_);
  std::vector<Sorted> sorted(pool_.thread_count());
  std::vector<Bucket> round;
  while (!waiting.empty()) {
    throw_if_interrupted();
    round.clear();
    while (!waiting.empty() && round.size() < sorted.size() && waiting.front().count <= sortable_keys_) {
      round.push_back(std::move(waiting.front()));
      waiting.pop_front();
    }
    pool_.parallel_for(round.size(),
                       [&](std::size_t piece, std::size_t) { sort_bucket(round[piece], sorted[piece]); });
    for (std::size_t i = 0; i < round.size(); ++i) {
      emitter.emit(sorted[i].ordered, sorted[i].sources);
      progress.advance(round[i].count);
    }
    if (!round.empty() || waiting.empty()) continue;

    Bucket large = std::move(waiting.front());
    waiting.pop_front();
    if (large.low_bits > 0) {
      auto parts = split(large);
      waiting.insert(waiting.begin(), std::make_move_iterator(parts.begin()),
                     std::make_move_iterator(parts.end()));
      continue;
    }
    // All its keys are the same edge, more often than fits in memory: no need to read them.
    const std::uint64_t repeats = options_.deduplicate ? 1 : large.count;
    const std::uint64_t id_mask = (std::uint64_t{1} << id_bits_) - 1;
    const std::vector<std::uint64_t> keys(std::min<std::uint64_t>(repeats, 4096), large.first_key);
    const std::vector<std::uint32_t> sources(keys.size(),
                                             static_cast<std::uint32_t>(large.first_key & id_mask));
    for (std::uint64_t done = 0; done < repeats; done += keys.size()) {
      const std::size_t take = std::min<std::uint64_t>(keys.size(), repeats - done);
      emitter.emit(std::span(keys).first(take), std::span(sources).first(take));
    }
    progress.advance(large.count);
  }
  return emitter.finish();
}

}  // namespace gneiss
