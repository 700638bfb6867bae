// samples.zst: every sampled mini-batch of a preparation, a Zstandard frame each, and an index.
//
// Why:     frames start at 4 KiB, so that training reads one with a direct read and nothing else;
//          the index tells every size beforehand, so that buffers are taken once.
// Threads: compress_batch() is pure and runs in parallel; a writer belongs to one thread.
// Format:  storage/FORMAT.md, "Sample pool".
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "storage/format/batch_frame.h"
#include "storage/format/batch_key.h"
#include "storage/format/checkpoint.h"
#include "storage/format/dataset.h"
#include "storage/format/section_file.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace gneiss {

inline constexpr Magic pool_magic{'G', 'N', 'E', 'I', 'S', 'S', 'M', 'P'};
inline constexpr const char* pool_file_name = "samples.zst";

struct BatchEntry {  // on disk, and in memory: 96 bytes a batch
  BatchKey key;
  std::uint64_t frame_offset;   // from the beginning of the file, a multiple of 4096
  std::uint64_t inputs_offset;  // the frame with the input nodes
  std::uint64_t frame_xxh3;     // of the compressed bytes
  std::uint64_t inputs_xxh3;
  std::uint32_t frame_bytes;  // compressed
  std::uint32_t frame_raw_bytes;
  std::uint32_t inputs_bytes;
  std::uint32_t inputs_raw_bytes;
  std::uint32_t seed_count;
  std::uint32_t hidden_count;
  std::uint32_t input_count;
  std::uint32_t edge_count;
  std::uint32_t cpu_rows;
  std::uint32_t page_rows;
  std::uint32_t disk_rows;
  std::uint32_t inner_edge_count;  // of all blocks but the one next to the input

  // The rest. Precondition: the entry was checked by SamplePool, or made by BatchCompressor.
  std::uint32_t gpu_rows() const noexcept { return input_count - cpu_rows - page_rows - disk_rows; }
};
static_assert(sizeof(BatchEntry) == 96);
static_assert(std::has_unique_object_representations_v<BatchEntry>);

// The largest of each over the batches of a pool: what a slot and a model are sized by.
struct PoolMaxima {
  std::uint64_t seed_count = 0;
  std::uint64_t hidden_count = 0;
  std::uint64_t input_count = 0;
  std::uint64_t edge_count = 0;
  std::uint64_t inner_edge_count = 0;
  std::uint64_t page_rows = 0;
  std::uint64_t frame_bytes = 0;
  std::uint64_t frame_raw_bytes = 0;

  void take(const BatchEntry& entry) noexcept;
};
PoolMaxima maxima_of(std::span<const BatchEntry> entries) noexcept;
// The most seeds of any one epoch of training, or of a split.
std::uint64_t largest_split(std::span<const BatchEntry> entries);

struct CompressedBatch {
  BatchEntry entry{};  // offsets are set when it is appended
  std::vector<std::byte> frame;
  std::vector<std::byte> inputs;
};

// Reusable compression state: one a thread.
class BatchCompressor {
 public:
  BatchCompressor();
  ~BatchCompressor();
  BatchCompressor(BatchCompressor&&) noexcept = default;
  // Throws Error(config) when the batch is beyond what the format holds (4 GiB a frame).
  CompressedBatch compress(const BatchKey& key, const BatchFrame& frame, std::span<const NodeId> input_nodes);

 private:
  std::vector<std::byte> compress_bytes(std::span<const std::byte> raw);
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const noexcept;
  };
  std::unique_ptr<ZSTD_CCtx_s, Free> context_;
  std::vector<std::byte> raw_;
  std::vector<std::byte> compressed_;
};

class SamplePoolWriter {
 public:
  SamplePoolWriter(const std::filesystem::path& path, std::uint64_t made_from,
                   Unfinished unfinished = Unfinished::remove);
  // Behind the batches that an earlier writer has saved. Throws Error(corruption) unless they are there.
  SamplePoolWriter(const std::filesystem::path& path, std::uint64_t made_from, CheckpointReader& numbers);
  void save(std::vector<std::uint64_t>& numbers);  // makes what was appended durable
  void append(const CompressedBatch& batch);       // in the order of the index
  std::uint64_t finish();                          // returns the file's fingerprint
  std::span<const BatchEntry> entries() const noexcept { return entries_; }

 private:
  std::uint64_t append_frame(std::span<const std::byte> bytes);
  SectionWriter file_;
  std::vector<BatchEntry> entries_;
};

class SamplePool {
 public:
  explicit SamplePool(const std::filesystem::path& path);

  const SectionFile& file() const noexcept { return file_; }
  std::span<const BatchEntry> entries() const& noexcept { return entries_; }
  void entries() const&& = delete;  // they live as long as the pool
  // Index of the batch's entry. Throws Error(config) naming what exists.
  std::size_t find(const BatchKey& key) const;

  // Reads and decompresses with its own buffers: for tools. Training uses FrameDecompressor.
  std::vector<NodeId> read_input_nodes(const BatchEntry& entry) const;
  AlignedBuffer read_frame(const BatchEntry& entry) const;

 private:
  AlignedBuffer read_compressed(std::uint64_t offset, std::uint32_t bytes, std::uint32_t raw_bytes,
                                std::uint64_t xxh3, const BatchKey& key) const;
  SectionFile file_;
  std::vector<BatchEntry> entries_;
};

// Checks compressed bytes against their checksum and decompresses them into `raw` (raw.size() bytes).
// Throws Error(corruption) naming `name`.
class FrameDecompressor {
 public:
  FrameDecompressor();
  void decompress(std::span<const std::byte> compressed, std::uint64_t xxh3, std::span<std::byte> raw,
                  std::string_view name);

 private:
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const noexcept;
  };
  std::unique_ptr<ZSTD_DCtx_s, Free> context_;
};

}  // namespace gneiss
