#include "sampler/graph_sweep.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "storage/base/cancel.h"
#include "storage/base/checksum.h"
#include "storage/base/error.h"
#include "storage/base/progress.h"

namespace gneiss {
namespace {

constexpr std::uint64_t block_bytes = graph_checksum_block_bytes;

template <class T>
std::span<const T> values_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
}

}  // namespace

void BlockSet::mark(std::uint64_t begin, std::uint64_t end) noexcept {
  for (std::uint64_t block = begin / block_bytes; block * block_bytes < end; ++block) {
    const std::atomic_ref wanted(wanted_[block]);
    // Asked first: all want the same few, and a line that is only read is shared.
    if (wanted.load(std::memory_order_relaxed) == 0) wanted.store(1, std::memory_order_relaxed);
  }
}

void BlockSet::clear() noexcept { std::ranges::fill(wanted_, std::uint8_t{0}); }

std::uint64_t GraphSweep::memory_bytes(const DatasetInfo& info, GraphSweepOptions options) noexcept {
  const std::uint64_t blocks = divide_up(8 * (info.node_count + 1), block_bytes) +  //
                               divide_up(4 * info.edge_count, block_bytes);
  return options.pieces * options.piece_bytes + 9 * blocks;
}

GraphSweep::GraphSweep(const Dataset& dataset, GraphSweepOptions options)
    : info_(dataset.info()),
      file_(dataset.graph()),
      options_(options),
      offsets_(open_section(SectionKind::csc_indptr)),
      edges_(open_section(SectionKind::csc_indices)),
      memory_(options.pieces * options.piece_bytes),
      pieces_(options.pieces),
      requests_(options.pieces),
      engine_(make_io_engine("auto", {.queue_depth = options.pieces})),
      graph_(engine_->open(file_.name())) {
  GNEISS_ASSERT(options.pieces > 0 && options.piece_bytes > 0 && options.piece_bytes % block_bytes == 0);
}

GraphSweep::Section GraphSweep::open_section(SectionKind kind) {
  SectionEntry entry = file_.require(kind);
  std::vector<std::uint64_t> checksums;
  if (entry.checksum_block_bytes == block_bytes) {
    checksums = file_.block_checksums(entry);
  } else if (entry.checksum_block_bytes == 0) {
    checksums = check_whole(entry);
    entry.checksum_block_bytes = block_bytes;
  } else {
    fail(Kind::corruption, "{}: its sections have a checksum per {} bytes, expected one per {}", file_.name(),
         entry.checksum_block_bytes, block_bytes);
  }
  return {.entry = entry, .checksums = std::move(checksums), .wanted = BlockSet(entry.bytes)};
}

std::vector<std::uint64_t> GraphSweep::check_whole(const SectionEntry& entry) {
  std::vector<std::uint64_t> checksums;
  StreamChecksum whole;
  AlignedBuffer buffer(options_.piece_bytes);
  Progress progress("checking graph.csc", entry.bytes, Progress::Unit::bytes);
  for (std::uint64_t at = 0; at < entry.bytes; at += buffer.size()) {
    throw_if_interrupted();
    const auto bytes = buffer.bytes().first(std::min<std::uint64_t>(buffer.size(), entry.bytes - at));
    file_.file().read_at(entry.offset + at, bytes);
    file_.file().drop_cache(entry.offset + at, bytes.size());
    whole.update(bytes);
    for (std::uint64_t block = 0; block < bytes.size(); block += block_bytes) {
      checksums.push_back(checksum(bytes.subspan(block, std::min(block_bytes, bytes.size() - block))));
    }
    bytes_read_ += bytes.size();
    progress.advance(bytes.size());
  }
  if (whole.value() != entry.xxh3) {
    fail(Kind::corruption, "{}: section {} at byte {} does not match its checksum; the file is damaged",
         file_.name(), static_cast<std::uint32_t>(entry.kind), entry.offset);
  }
  return checksums;
}

// The read of the next run of wanted blocks from `block` on, which it advances; none left: an empty target.
ReadRequest GraphSweep::next_request(const Section& section, std::uint64_t& block, std::uint64_t tag) {
  const std::uint64_t slot = tag % options_.pieces;
  while (block < section.wanted.size() && !section.wanted.contains(block)) ++block;
  const std::uint64_t first = block;
  const std::uint64_t end = std::min(section.wanted.size(), first + options_.piece_bytes / block_bytes);
  while (block < end && section.wanted.contains(block)) ++block;
  const std::uint64_t offset = first * block_bytes;
  const std::uint64_t bytes =
      std::min(block * block_bytes, section.entry.bytes) - std::min(offset, section.entry.bytes);
  pieces_[slot] = {.offset = offset, .bytes = bytes, .done = false};
  return {
      .file = graph_,
      .offset = section.entry.offset + offset,
      .target = memory_.bytes().subspan(slot * options_.piece_bytes, round_up(bytes, direct_io_alignment)),
      .tag = tag};
}

void GraphSweep::await_piece(std::uint64_t tag) {
  std::array<ReadCompletion, 16> completions;
  while (!pieces_[tag % options_.pieces].done) {
    const std::size_t count = engine_->reap(completions, 1);
    for (const ReadCompletion& completion : std::span(completions).first(count)) {
      const std::uint64_t slot = completion.tag % options_.pieces;
      if (completion.error != 0) fail_read(*engine_, requests_[slot], completion.error);
      pieces_[slot].done = true;
    }
  }
}

void GraphSweep::read(const Section& section, const UseBytes& use,
                      const std::function<void(std::uint64_t)>& passed) {
  std::uint64_t block = 0;
  std::uint64_t submitted = 0;
  std::uint64_t told = 0;
  bool more = true;
  for (std::uint64_t tag = 0;; ++tag) {
    while (more && submitted < tag + options_.pieces) {
      const ReadRequest request = next_request(section, block, submitted);
      more = !request.target.empty();
      if (!more) break;
      requests_[submitted % options_.pieces] = request;
      engine_->submit(request);
      ++submitted;
    }
    if (tag == submitted) break;
    throw_if_interrupted();
    await_piece(tag);
    const Piece& piece = pieces_[tag % options_.pieces];
    const auto bytes = requests_[tag % options_.pieces].target.first(piece.bytes);
    file_.check_blocks(section.entry, section.checksums, piece.offset, bytes);
    use(piece.offset, bytes);
    bytes_read_ += piece.bytes;
    passed(piece.offset + piece.bytes - told);
    told = piece.offset + piece.bytes;
  }
  passed(section.entry.bytes - told);
}

void GraphSweep::read_offsets(const std::function<void(std::uint64_t, std::span<const std::uint64_t>)>& use,
                              const std::function<void(std::uint64_t)>& passed) {
  read(
      offsets_,
      [&](std::uint64_t offset, std::span<const std::byte> bytes) {
        use(offset / sizeof(std::uint64_t), values_of<std::uint64_t>(bytes));
      },
      passed);
}

void GraphSweep::read_edges(const std::function<void(std::uint64_t, std::span<const NodeId>)>& use,
                            const std::function<void(std::uint64_t)>& passed) {
  read(
      edges_,
      [&](std::uint64_t offset, std::span<const std::byte> bytes) {
        use(offset / sizeof(NodeId), values_of<NodeId>(bytes));
      },
      passed);
}

}  // namespace gneiss
