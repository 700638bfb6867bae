#include "storage/format/sample_pool.h"

#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "storage/base/error.h"
#include "storage/format/node_labels.h"

namespace gneiss {
namespace {

// Level 1: frames are read once per epoch and decompress at about 1 GB/s a core whatever the level;
// higher levels save a few per cent of bytes that are few beside the features.
constexpr int compression_level = 1;

bool is_pool_section(SectionKind kind) {
  return kind == SectionKind::batch_index || kind == SectionKind::batch_frames;
}

std::uint32_t checked_u32(std::uint64_t value, const BatchKey& key) {
  if (value > 0xFFFFFFFFU) {
    fail(Kind::config, "{}: {} exceeds what a frame can hold; use a smaller batch size or fanout",
         to_string(key), value);
  }
  return static_cast<std::uint32_t>(value);
}

// A frame's bytes grow with its counts: at most 64 hops (each an offset and a row per hidden node), 8 bytes a
// seed, 12 an edge, 8 an input, and the table of sections. This allows four times that and more for sections
// yet to come, and the most columns of labels a seed, and keeps a damaged size from becoming an allocation of
// gigabytes.
constexpr std::uint64_t raw_bytes_base = 1U << 20;
bool is_justified(std::uint64_t raw_bytes, std::uint64_t rows, std::uint64_t seeds) {
  return raw_bytes <= raw_bytes_base + 64 * rows + label_columns_max * seeds;
}

bool has_sound_counts(const BatchEntry& entry) {
  const std::uint64_t tier_rows = std::uint64_t{entry.cpu_rows} + entry.page_rows + entry.disk_rows;
  const std::uint64_t rows = std::uint64_t{entry.input_count} + entry.edge_count +
                             std::uint64_t{entry.seed_count} + std::uint64_t{4} * entry.hidden_count;
  return entry.key.split <= Split::test && entry.seed_count <= entry.hidden_count &&
         entry.hidden_count <= entry.input_count && tier_rows <= entry.input_count &&
         entry.inner_edge_count <= entry.edge_count &&
         is_justified(entry.frame_raw_bytes, rows, entry.seed_count) &&
         is_justified(entry.inputs_raw_bytes, entry.input_count, 0);
}

std::uint32_t tier_rows(const BatchFrame& frame, Tier tier) {
  std::uint32_t rows = 0;
  for (const PlanRange& range : frame.plan) rows += range.tier == tier ? range.count : 0;
  return rows;
}

}  // namespace

BatchCompressor::BatchCompressor() : context_(ZSTD_createCCtx()) {
  if (!context_) throw std::bad_alloc();
}
BatchCompressor::~BatchCompressor() = default;
void BatchCompressor::Free::operator()(ZSTD_CCtx_s* context) const noexcept { ZSTD_freeCCtx(context); }

std::vector<std::byte> BatchCompressor::compress_bytes(std::span<const std::byte> raw) {
  if (compressed_.size() < ZSTD_compressBound(raw.size())) compressed_.resize(ZSTD_compressBound(raw.size()));
  const std::size_t bytes = ZSTD_compressCCtx(context_.get(), compressed_.data(), compressed_.size(),
                                              raw.data(), raw.size(), compression_level);
  GNEISS_ASSERT(!ZSTD_isError(bytes));
  // A copy of exactly its size: many wait to be written, and the bound is many times that.
  return {compressed_.begin(), compressed_.begin() + static_cast<std::ptrdiff_t>(bytes)};
}

void PoolMaxima::take(const BatchEntry& entry) noexcept {
  const auto raise = [](std::uint64_t& most, std::uint64_t value) { most = std::max(most, value); };
  raise(seed_count, entry.seed_count);
  raise(hidden_count, entry.hidden_count);
  raise(input_count, entry.input_count);
  raise(edge_count, entry.edge_count);
  raise(inner_edge_count, entry.inner_edge_count);
  raise(page_rows, entry.page_rows);
  raise(frame_bytes, entry.frame_bytes);
  raise(frame_raw_bytes, entry.frame_raw_bytes);
}

PoolMaxima maxima_of(std::span<const BatchEntry> entries) noexcept {
  PoolMaxima maxima;
  for (const BatchEntry& entry : entries) maxima.take(entry);
  return maxima;
}

std::uint64_t largest_split(std::span<const BatchEntry> entries) {
  std::map<std::pair<Split, std::uint32_t>, std::uint64_t> seeds;
  std::uint64_t most = 0;
  for (const BatchEntry& entry : entries) {
    std::uint64_t& sum = seeds[{entry.key.split, entry.key.epoch}];
    sum += entry.seed_count;
    most = std::max(most, sum);
  }
  return most;
}

CompressedBatch BatchCompressor::compress(const BatchKey& key, const BatchFrame& frame,
                                          std::span<const NodeId> input_nodes) {
  CompressedBatch batch;
  BatchEntry& entry = batch.entry;
  entry.key = key;
  entry.seed_count = checked_u32(frame.seeds.size(), key);
  entry.hidden_count = checked_u32(frame.hidden_nodes.size(), key);
  entry.input_count = checked_u32(input_nodes.size(), key);
  entry.edge_count = checked_u32(frame.edge_count(), key);
  entry.inner_edge_count = checked_u32(frame.edge_count() - frame.blocks.front().indices.size(), key);
  entry.cpu_rows = tier_rows(frame, Tier::cpu);
  entry.page_rows = tier_rows(frame, Tier::page);
  entry.disk_rows = tier_rows(frame, Tier::disk);
  encode_batch_frame(frame, raw_);
  entry.frame_raw_bytes = checked_u32(raw_.size(), key);
  batch.frame = compress_bytes(raw_);
  entry.frame_bytes = checked_u32(batch.frame.size(), key);
  entry.frame_xxh3 = checksum(batch.frame);
  encode_input_frame(input_nodes, raw_);
  entry.inputs_raw_bytes = checked_u32(raw_.size(), key);
  batch.inputs = compress_bytes(raw_);
  entry.inputs_bytes = checked_u32(batch.inputs.size(), key);
  entry.inputs_xxh3 = checksum(batch.inputs);
  return batch;
}

SamplePoolWriter::SamplePoolWriter(const std::filesystem::path& path, std::uint64_t made_from,
                                   Unfinished unfinished)
    : file_(path, pool_magic, made_from, unfinished) {
  file_.begin({.kind = SectionKind::batch_frames, .dtype = Dtype::u8});
}

SamplePoolWriter::SamplePoolWriter(const std::filesystem::path& path, std::uint64_t made_from,
                                   CheckpointReader& numbers)
    : file_(path, pool_magic, made_from, Unfinished::go_on) {
  SectionState state{.bytes = numbers.take(), .checksums = {}};
  state.checksums = numbers.take_many(state.bytes > 0 ? 1 : 0);
  const std::uint64_t count = numbers.take(0xFFFFFFFF);
  const auto entries = numbers.take_many(count * (sizeof(BatchEntry) / sizeof(std::uint64_t)));
  entries_.resize(count);
  if (count > 0) {
    std::memcpy(std::as_writable_bytes(std::span(entries_)).data(), entries.data(),
                count * sizeof(BatchEntry));
  }
  file_.go_on({.kind = SectionKind::batch_frames, .dtype = Dtype::u8}, state);
}

void SamplePoolWriter::save(std::vector<std::uint64_t>& numbers) {
  const SectionState state = file_.save();
  numbers.push_back(state.bytes);
  numbers.insert(numbers.end(), state.checksums.begin(), state.checksums.end());
  numbers.push_back(entries_.size());
  const std::size_t first = numbers.size();
  numbers.resize(first + entries_.size() * (sizeof(BatchEntry) / sizeof(std::uint64_t)));
  if (!entries_.empty()) {
    std::memcpy(numbers.data() + first, entries_.data(), entries_.size() * sizeof(BatchEntry));
  }
}

std::uint64_t SamplePoolWriter::append_frame(std::span<const std::byte> bytes) {
  const std::uint64_t offset = file_.position();
  GNEISS_ASSERT(offset % file_section_alignment == 0);
  file_.append(bytes);
  static constexpr std::array<std::byte, file_section_alignment> zeros{};
  file_.append(std::span(zeros).first(round_up(bytes.size(), file_section_alignment) - bytes.size()));
  return offset;
}

void SamplePoolWriter::append(const CompressedBatch& batch) {
  entries_.push_back(batch.entry);
  entries_.back().frame_offset = append_frame(batch.frame);
  entries_.back().inputs_offset = append_frame(batch.inputs);
}

std::uint64_t SamplePoolWriter::finish() {
  file_.end();
  file_.begin({.kind = SectionKind::batch_index, .dtype = Dtype::u32, .columns = sizeof(BatchEntry) / 4});
  file_.append_values(std::span<const BatchEntry>(entries_));
  file_.end();
  return file_.finish();
}

SamplePool::SamplePool(const std::filesystem::path& path) : file_(path, pool_magic, is_pool_section) {
  const SectionEntry& index = file_.require(SectionKind::batch_index);
  expect_shape(index, Dtype::u32, index.rows, sizeof(BatchEntry) / 4, file_.name());
  const AlignedBuffer bytes = file_.read_section(index);
  entries_.resize(index.rows);
  if (!entries_.empty()) std::memcpy(entries_.data(), bytes.data(), bytes.size());
  const SectionEntry& frames = file_.require(SectionKind::batch_frames);
  const auto lies_in_frames = [&](std::uint64_t offset, std::uint64_t size) {
    return offset % file_section_alignment == 0 && offset >= frames.offset &&
           offset <= frames.offset + frames.bytes && size <= frames.offset + frames.bytes - offset;
  };
  for (const BatchEntry& entry : entries_) {
    if (!lies_in_frames(entry.frame_offset, entry.frame_bytes) ||
        !lies_in_frames(entry.inputs_offset, entry.inputs_bytes) || !has_sound_counts(entry)) {
      fail(Kind::corruption, "{}: an entry of the index is damaged; prepare it again", file_.name());
    }
  }
}

std::size_t SamplePool::find(const BatchKey& key) const {
  const auto found = std::ranges::find(entries_, key, &BatchEntry::key);
  if (found == entries_.end()) {
    std::uint32_t epochs = 0;
    std::uint32_t batches = 0;
    for (const BatchEntry& entry : entries_) {
      if (entry.key.split != key.split) continue;
      epochs = std::max(epochs, entry.key.epoch + 1);
      batches = std::max(batches, entry.key.batch + 1);
    }
    fail(Kind::config, "there is no {}; the preparation has {} epochs of {} {} batches, counted from 0",
         to_string(key), epochs, batches, name_of(key.split));
  }
  return static_cast<std::size_t>(found - entries_.begin());
}

AlignedBuffer SamplePool::read_compressed(std::uint64_t offset, std::uint32_t bytes, std::uint32_t raw_bytes,
                                          std::uint64_t xxh3, const BatchKey& key) const {
  std::vector<std::byte> compressed(bytes);
  file_.file().read_at(offset, compressed);
  if (ZSTD_getFrameContentSize(compressed.data(), compressed.size()) != raw_bytes) {
    fail(Kind::corruption, "{}: {} does not decompress to {} bytes; prepare it again", file_.name(),
         to_string(key), raw_bytes);
  }
  AlignedBuffer raw(raw_bytes);
  FrameDecompressor().decompress(compressed, xxh3, raw.bytes(),
                                 fmt::format("{}: {}", file_.name(), to_string(key)));
  return raw;
}

std::vector<NodeId> SamplePool::read_input_nodes(const BatchEntry& entry) const {
  const AlignedBuffer raw = read_compressed(entry.inputs_offset, entry.inputs_bytes, entry.inputs_raw_bytes,
                                            entry.inputs_xxh3, entry.key);
  const auto nodes = parse_input_frame(raw.bytes(), file_.name());
  if (nodes.size() != entry.input_count) {
    fail(Kind::corruption, "{}: {} has {} input nodes, its index says {}", file_.name(), to_string(entry.key),
         nodes.size(), entry.input_count);
  }
  return {nodes.begin(), nodes.end()};
}

AlignedBuffer SamplePool::read_frame(const BatchEntry& entry) const {
  return read_compressed(entry.frame_offset, entry.frame_bytes, entry.frame_raw_bytes, entry.frame_xxh3,
                         entry.key);
}

FrameDecompressor::FrameDecompressor() : context_(ZSTD_createDCtx()) {
  if (!context_) throw std::bad_alloc();
}
void FrameDecompressor::Free::operator()(ZSTD_DCtx_s* context) const noexcept { ZSTD_freeDCtx(context); }

void FrameDecompressor::decompress(std::span<const std::byte> compressed, std::uint64_t xxh3,
                                   std::span<std::byte> raw, std::string_view name) {
  if (checksum(compressed) != xxh3) {
    fail(Kind::corruption, "{} does not match its checksum; prepare it again", name);
  }
  const std::size_t bytes =
      ZSTD_decompressDCtx(context_.get(), raw.data(), raw.size(), compressed.data(), compressed.size());
  if (ZSTD_isError(bytes) || bytes != raw.size()) {
    fail(Kind::corruption, "{} does not decompress to {} bytes; prepare it again", name, raw.size());
  }
}

}  // namespace gneiss
