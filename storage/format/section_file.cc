#include "storage/format/section_file.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "storage/base/error.h"

namespace gneiss {
namespace {

// 1 MiB per write keeps a drive busy; larger only costs memory.
constexpr std::size_t write_buffer_bytes = 1U << 20;
constexpr std::size_t sections_at_most = 60;  // of a file that is written here
// What was written is pushed out and dropped from the page cache in steps, so that a memory control group
// never fills with dirty pages that it cannot reclaim.
constexpr std::uint64_t drop_step_bytes = 32ULL << 20;

// A file of ours that is not there was lost: damage, not a wrong path of the user's.
File open_own(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) {
    fail(Kind::corruption, "{} is missing; import or prepare again, or put it back", path.string());
  }
  return File::open_for_reading(path);
}

File open_unfinished(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) fail(Kind::corruption, "{} is missing", path.string());
  return File::open_existing(path);
}

}  // namespace

SectionWriter::SectionWriter(std::filesystem::path path, Magic magic, std::uint64_t made_from,
                             Unfinished unfinished)
    : path_(std::move(path)),
      temporary_(path_.string() + ".tmp"),
      magic_(magic),
      made_from_(made_from),
      header_bytes_(header_bytes_for(sections_at_most, file_section_alignment)),
      unfinished_(unfinished),
      file_(unfinished == Unfinished::go_on ? open_unfinished(temporary_) : File::create(temporary_)),
      position_(header_bytes_),
      buffer_(write_buffer_bytes) {}

SectionWriter::~SectionWriter() {
  if (finished_ || unfinished_ != Unfinished::remove) return;
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

void SectionWriter::flush() {
  if (buffered_ == 0) return;
  file_.write_at(position_ - buffered_, buffer_.bytes().first(buffered_));
  buffered_ = 0;
  if (position_ - dropped_until_ >= drop_step_bytes) {
    file_.write_back(dropped_until_, position_ - dropped_until_);
    dropped_until_ = position_;
  }
}

void SectionWriter::begin(const SectionShape& shape) {
  GNEISS_ASSERT(!open_section_ && !finished_);
  flush();
  position_ = round_up(position_, file_section_alignment);
  SectionEntry entry{};
  entry.kind = shape.kind;
  entry.dtype = shape.dtype;
  entry.store = shape.store;
  entry.columns = shape.columns;
  entry.checksum_block_bytes = shape.checksum_block_bytes;
  entry.offset = position_;
  entries_.push_back(entry);
  open_section_ = true;
  stream_.reset();
  block_checksums_.clear();
  bytes_in_block_ = 0;
}

void SectionWriter::close_checksum_block() {
  block_checksums_.push_back(stream_.value());
  stream_.reset();
  bytes_in_block_ = 0;
}

void SectionWriter::append(std::span<const std::byte> bytes) {
  GNEISS_ASSERT(open_section_);
  const std::uint64_t block_bytes = entries_.back().checksum_block_bytes;
  while (!bytes.empty()) {
    std::size_t take = std::min(bytes.size(), buffer_.size() - buffered_);
    if (block_bytes != 0) take = std::min<std::size_t>(take, block_bytes - bytes_in_block_);
    const auto piece = bytes.first(take);
    std::memcpy(buffer_.data() + buffered_, piece.data(), take);
    stream_.update(piece);
    buffered_ += take;
    position_ += take;
    bytes_in_block_ += take;
    if (block_bytes != 0 && bytes_in_block_ == block_bytes) close_checksum_block();
    if (buffered_ == buffer_.size()) flush();
    bytes = bytes.subspan(take);
  }
}

void SectionWriter::end() {
  GNEISS_ASSERT(open_section_);
  SectionEntry& entry = entries_.back();
  entry.bytes = position_ - entry.offset;
  const std::uint64_t row_bytes = entry.columns * size_of(entry.dtype);
  GNEISS_ASSERT(row_bytes > 0 && entry.bytes % row_bytes == 0);
  entry.rows = entry.bytes / row_bytes;
  entry.xxh3 = stream_.value();
  flush();
  open_section_ = false;
  if (entry.checksum_block_bytes == 0) return;
  if (bytes_in_block_ > 0) close_checksum_block();
  const auto table = std::as_bytes(std::span(block_checksums_));
  position_ = round_up(position_, file_section_alignment);
  entry.checksums_offset = position_;
  entry.xxh3 = checksum(table);
  file_.write_at(position_, table);
  position_ += table.size();
}

SectionState SectionWriter::save() {
  GNEISS_ASSERT(open_section_);
  flush();
  file_.sync();
  SectionState state{.bytes = position_ - entries_.back().offset, .checksums = block_checksums_};
  if (state.bytes > 0 && (entries_.back().checksum_block_bytes == 0 || bytes_in_block_ > 0)) {
    state.checksums.push_back(stream_.value());
  }
  return state;
}

void SectionWriter::go_on(const SectionShape& shape, const SectionState& state) {
  const std::uint64_t block_bytes = shape.checksum_block_bytes;
  begin(shape);
  if (state.bytes == 0 && state.checksums.empty()) return;
  const std::uint64_t blocks = block_bytes == 0
                                   ? std::min<std::uint64_t>(state.bytes, 1)
                                   : state.bytes / block_bytes + (state.bytes % block_bytes != 0);
  const std::uint64_t first = block_bytes == 0 ? 0 : round_down(state.bytes - 1, block_bytes);
  const bool fits =
      state.checksums.size() == blocks && state.bytes <= file_.size() - std::min(file_.size(), position_);
  // What the last block holds goes through the checksum again; those before it are done with.
  for (std::uint64_t at = first; fits && at < state.bytes; at += buffer_.size()) {
    const auto bytes = buffer_.bytes().first(std::min<std::uint64_t>(buffer_.size(), state.bytes - at));
    file_.read_at(position_ + at, bytes);
    stream_.update(bytes);
  }
  if (!fits || stream_.value() != state.checksums.back()) {
    open_section_ = false;
    entries_.pop_back();
    fail(Kind::corruption, "{} is not what was written", temporary_.string());
  }
  position_ += state.bytes;
  dropped_until_ = position_;
  if (block_bytes == 0) return;
  block_checksums_.assign(state.checksums.begin(), state.checksums.end() - 1);
  bytes_in_block_ = state.bytes - first;
  if (bytes_in_block_ == block_bytes) close_checksum_block();
}

std::uint64_t SectionWriter::reserve(const SectionShape& shape, std::uint64_t bytes) {
  begin(shape);
  open_section_ = false;
  SectionEntry& entry = entries_.back();
  entry.checksum_block_bytes = self_checked;
  entry.rows = 0;
  entry.bytes = bytes;
  position_ += bytes;
  dropped_until_ = position_;
  file_.reserve(position_);
  return entry.offset;
}

std::uint64_t SectionWriter::finish() {
  GNEISS_ASSERT(!open_section_ && !finished_);
  flush();
  const std::uint64_t file_bytes = round_up(position_, file_section_alignment);
  file_.resize(file_bytes);
  const auto header = build_section_table(magic_, file_section_alignment, file_bytes, made_from_, entries_);
  GNEISS_ASSERT(header.size() <= header_bytes_);
  file_.write_at(0, header);
  file_.sync();
  file_.drop_cache();
  publish(temporary_, path_);
  finished_ = true;
  return checksum(header);
}

SectionFile::SectionFile(const std::filesystem::path& path, Magic magic, bool (*is_known)(SectionKind))
    : file_(open_own(path)) {
  const std::uint64_t bytes = file_.size();
  std::vector<std::byte> first(std::min<std::uint64_t>(bytes, sizeof(SectionHeader)));
  file_.read_at(0, first);
  std::vector<std::byte> header(checked_header_bytes(first, magic, bytes, name()));
  file_.read_at(0, header);
  table_ = parse_section_table(header, magic, bytes, name(), is_known);
  fingerprint_ = checksum(header);
}

const SectionEntry& SectionFile::require(SectionKind kind, std::uint16_t store) const {
  const SectionEntry* entry = find(kind, store);
  if (entry == nullptr) {
    fail(Kind::corruption, "{} lacks its section of kind {}; the file is damaged", name(),
         static_cast<std::uint32_t>(kind));
  }
  return *entry;
}

AlignedBuffer SectionFile::read_section(const SectionEntry& entry) const {
  AlignedBuffer buffer(entry.bytes);
  file_.read_at(entry.offset, buffer.bytes());
  if (entry.checksum_block_bytes == 0) {
    if (checksum(buffer.bytes()) != entry.xxh3) {
      fail(Kind::corruption, "{}: section {} at byte {} does not match its checksum; the file is damaged",
           name(), static_cast<std::uint32_t>(entry.kind), entry.offset);
    }
  } else if (entry.checksum_block_bytes != self_checked) {
    check_blocks(entry, block_checksums(entry), 0, buffer.bytes());
  }
  return buffer;
}

void SectionFile::read_rows(const SectionEntry& entry, std::uint64_t first_row,
                            std::span<std::byte> target) const {
  const std::uint64_t row_bytes = entry.columns * size_of(entry.dtype);
  GNEISS_ASSERT(target.size() % row_bytes == 0 && first_row + target.size() / row_bytes <= entry.rows);
  file_.read_at(entry.offset + first_row * row_bytes, target);
}

std::vector<std::uint64_t> SectionFile::block_checksums(const SectionEntry& entry) const {
  std::vector<std::uint64_t> checksums(divide_up(entry.bytes, entry.checksum_block_bytes));
  const auto bytes = std::as_writable_bytes(std::span(checksums));
  file_.read_at(entry.checksums_offset, bytes);
  if (checksum(bytes) != entry.xxh3) {
    fail(Kind::corruption, "{}: the checksums at byte {} are damaged", name(), entry.checksums_offset);
  }
  return checksums;
}

void SectionFile::check_blocks(const SectionEntry& entry, std::span<const std::uint64_t> checksums,
                               std::uint64_t offset, std::span<const std::byte> bytes) const {
  const std::uint64_t block_bytes = entry.checksum_block_bytes;
  GNEISS_ASSERT(offset % block_bytes == 0);
  for (std::uint64_t at = 0; at < bytes.size(); at += block_bytes) {
    const auto block = bytes.subspan(at, std::min<std::uint64_t>(block_bytes, bytes.size() - at));
    if (checksum(block) != checksums[(offset + at) / block_bytes]) {
      fail(Kind::corruption, "{}: {} bytes at byte {} do not match their checksum; the file is damaged",
           name(), block.size(), entry.offset + offset + at);
    }
  }
}

}  // namespace gneiss
