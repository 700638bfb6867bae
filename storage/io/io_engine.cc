#include "storage/io/io_engine.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <system_error>
#include <utility>

#include "storage/base/aligned_buffer.h"
#include "storage/base/error.h"
#include "storage/base/stopwatch.h"
#include "storage/base/units.h"

namespace gneiss {
namespace {

// What the kernel says direct reads of this file must be aligned to; 0 where it refuses them.
std::uint32_t ask_alignment(const File& file) {
#ifdef STATX_DIOALIGN
  struct statx status{};
  if (::statx(file.descriptor(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
      (status.stx_mask & STATX_DIOALIGN) != 0) {
    return std::max(status.stx_dio_mem_align, status.stx_dio_offset_align);
  }
#endif
  static_cast<void>(file);
  return direct_io_alignment;
}

// Whether the file has been cut since it was opened.
bool ends_before(const File& file, std::uint64_t offset) {
  struct stat status{};
  return ::fstat(file.descriptor(), &status) == 0 && static_cast<std::uint64_t>(status.st_size) < offset;
}

bool is_retried(std::int64_t result) { return result == -EINTR || result == -EAGAIN; }

}  // namespace

IoEngine::IoEngine(std::unique_ptr<IoCore> core, IoOptions options)
    : options_(options), slots_(options.queue_depth), core_(std::move(core)) {
  GNEISS_ASSERT(options.queue_depth > 0);
  for (std::uint32_t slot = options.queue_depth; slot-- > 0;) free_slots_.push_back(slot);
  starting_.reserve(options.queue_depth);
  completed_.reserve(options.queue_depth);
  outcomes_.resize(options.queue_depth);
}

IoEngine::~IoEngine() = default;

FileId IoEngine::open(const std::filesystem::path& path, std::string name) {
  OpenFile opened;
  opened.name = name.empty() ? path.string() : std::move(name);
  opened.file = File::open_for_reading(path, opened.name);
  opened.bytes = opened.file.size();
  if (options_.direct && core_->can_bypass_cache()) {
    const std::uint32_t alignment = ask_alignment(opened.file);
    // Our files are laid out for 4 KiB; a drive that wants more is read through the cache.
    if (std::has_single_bit(alignment) && alignment <= direct_io_alignment) {
      if (File direct = opened.file.reopen_direct(false)) {
        opened.file = std::move(direct);
        opened.alignment = alignment;
        opened.direct = true;
      }
    }
  }
  const auto id = FileId(static_cast<std::uint32_t>(files_.size()));
  files_.push_back(std::move(opened));
  core_->attach(id, files_.back().file);
  return id;
}

const IoEngine::OpenFile& IoEngine::at(FileId file) const {
  const auto index = static_cast<std::uint32_t>(file);
  GNEISS_ASSERT(index < files_.size());
  return files_[index];
}

const std::string& IoEngine::path(FileId file) const { return at(file).name; }
std::uint64_t IoEngine::file_bytes(FileId file) const { return at(file).bytes; }
bool IoEngine::is_direct(FileId file) const { return at(file).direct; }
std::uint32_t IoEngine::alignment(FileId file) const { return at(file).alignment; }

void IoEngine::register_buffers(std::span<const std::span<std::byte>> buffers) {
  GNEISS_ASSERT(in_flight_ == 0);
  core_->register_buffers(buffers);
}

void IoEngine::unregister_buffers() {
  GNEISS_ASSERT(in_flight_ == 0);
  core_->unregister_buffers();
}

void IoEngine::check(const ReadRequest& request) const {
  const OpenFile& file = at(request.file);
  const std::uint64_t misaligned =
      request.offset | request.target.size() | reinterpret_cast<std::uintptr_t>(request.target.data());
  GNEISS_ASSERT(misaligned % file.alignment == 0);
  GNEISS_ASSERT(request.target.data() != nullptr || request.target.empty());
}

void IoEngine::submit(std::span<const ReadRequest> requests) {
  GNEISS_ASSERT(requests.size() <= options_.queue_depth - in_flight_);
  const Stopwatch watch;
  starting_.clear();
  for (const ReadRequest& request : requests) {
    check(request);
    const std::uint32_t slot = free_slots_.back();
    free_slots_.pop_back();
    ++in_flight_;
    const std::uint64_t file_bytes = at(request.file).bytes;
    const std::uint64_t readable = request.offset < file_bytes ? file_bytes - request.offset : 0;
    slots_[slot] = {.request = request,
                    .expected = std::min<std::uint64_t>(request.target.size(), readable),
                    .number = ++submitted_};
    if (request.target.empty()) {
      complete(slot, 0);
    } else if (readable == 0 || request.target.size() - slots_[slot].expected >= direct_io_alignment) {
      complete(slot, ENODATA);
    } else {
      starting_.push_back(next_transfer(slot));
    }
  }
  in_core_ += static_cast<std::uint32_t>(starting_.size());
  if (!starting_.empty()) core_->start(starting_);
  counters_.submit_seconds += watch.seconds();
}

Transfer IoEngine::next_transfer(std::uint32_t index) {
  Slot& slot = slots_[index];
  // A direct read goes on at an aligned place, so a short one reads its last partial block again.
  slot.filled = round_down(slot.filled, at(slot.request.file).alignment);
  const std::size_t left = slot.request.target.size() - slot.filled;
  slot.transfer_bytes = std::min(left, transfer_bytes_max);
  return {.slot = index,
          .file = slot.request.file,
          .offset = slot.request.offset + slot.filled,
          .target = slot.request.target.subspan(slot.filled, slot.transfer_bytes)};
}

void IoEngine::take_outcome(const Outcome& outcome) {
  --in_core_;
  Slot& slot = slots_[outcome.slot];
  if (outcome.result < 0 && !is_retried(outcome.result)) {
    return complete(outcome.slot, static_cast<int>(-outcome.result));
  }
  if (outcome.result == 0) return complete(outcome.slot, ENODATA);
  bool is_whole = false;
  if (outcome.result > 0) {
    const auto got = static_cast<std::uint64_t>(outcome.result);
    GNEISS_ASSERT(got <= slot.transfer_bytes);
    slot.filled += got;
    if (slot.filled >= slot.expected) return complete(outcome.slot, 0);
    is_whole = got == slot.transfer_bytes;  // the next piece of a huge request is no retry
  }
  if (!is_whole) {
    if (slot.retries == options_.retries_max) {
      // A direct read of the block in which a file now ends comes back short for ever.
      const int short_for =
          ends_before(at(slot.request.file).file, slot.request.offset + slot.expected) ? ENODATA : EIO;
      return complete(outcome.slot, outcome.result < 0 ? static_cast<int>(-outcome.result) : short_for);
    }
    ++slot.retries;
    ++counters_.retries;
    tell_of_retry(slot, outcome.result);
  }
  starting_.push_back(next_transfer(outcome.slot));
}

void IoEngine::complete(std::uint32_t index, int error) {
  Slot& slot = slots_[index];
  slot.number = 0;
  ++counters_.reads;
  counters_.bytes += std::min(slot.filled, slot.expected);
  if (error != 0) ++counters_.failures;
  completed_.push_back({.tag = slot.request.tag, .error = error});
  free_slots_.push_back(index);
}

void IoEngine::tell_of_retry(const Slot& slot, std::int64_t result) {
  if (std::exchange(has_told_of_retry_, true)) return;
  spdlog::info("{}: a read at offset {} {}; it is tried again, and so are others like it",
               path(slot.request.file), slot.request.offset,
               result > 0 ? "came back short"
                          : "failed: " + std::generic_category().message(static_cast<int>(-result)));
}

// At least 1 ms, so that what is left of the time is never no wait at all.
Patience IoEngine::patience_after(double silent_seconds) const {
  if (has_told_of_stall_) return without_end;
  const double left = (options_.stall_notice_seconds - silent_seconds) * 1000;
  return std::max(Patience{1}, Patience{static_cast<Patience::rep>(left)});
}

void IoEngine::tell_of_stall(double silent_seconds) {
  has_told_of_stall_ = true;
  const Slot* oldest = nullptr;
  for (const Slot& slot : slots_) {
    if (slot.number != 0 && (oldest == nullptr || slot.number < oldest->number)) oldest = &slot;
  }
  GNEISS_ASSERT(oldest != nullptr);
  spdlog::warn(
      "the drive has answered nothing for {}; waiting for {} reads, the oldest of {} bytes at offset {} of "
      "{}",
      format_seconds(silent_seconds), in_core_, oldest->request.target.size(), oldest->request.offset,
      path(oldest->request.file));
}

std::size_t IoEngine::reap(std::span<ReadCompletion> completions, std::size_t least) {
  GNEISS_ASSERT(least <= completions.size());
  const Stopwatch watch;
  least = std::min<std::size_t>(least, in_flight_);
  Stopwatch silence;
  do {
    const Patience patience = completed_.size() < least ? patience_after(silence.seconds()) : no_wait;
    const std::size_t count = in_core_ > 0 ? core_->collect(outcomes_, patience) : 0;
    GNEISS_ASSERT(count > 0 || patience != without_end);
    if (count > 0) silence.restart();
    if (silence.seconds() >= options_.stall_notice_seconds && !has_told_of_stall_ && patience != no_wait) {
      tell_of_stall(silence.seconds());
    }
    starting_.clear();
    for (const Outcome& outcome : std::span(outcomes_).first(count)) take_outcome(outcome);
    in_core_ += static_cast<std::uint32_t>(starting_.size());
    if (!starting_.empty()) core_->start(starting_);
  } while (completed_.size() < least);
  const std::size_t count = std::min(completed_.size(), completions.size());
  std::copy_n(completed_.begin(), count, completions.begin());
  completed_.erase(completed_.begin(), completed_.begin() + static_cast<std::ptrdiff_t>(count));
  in_flight_ -= static_cast<std::uint32_t>(count);
  counters_.wait_seconds += watch.seconds();
  return count;
}

void read_blocking(IoEngine& engine, FileId file, std::uint64_t offset, std::span<std::byte> target) {
  GNEISS_ASSERT(engine.in_flight() == 0);
  constexpr std::size_t piece_bytes = std::size_t{1} << 20;
  const std::size_t piece_count = divide_up(target.size(), piece_bytes);
  const auto request_of = [&](std::size_t piece) {
    const std::size_t start = piece * piece_bytes;
    return ReadRequest{.file = file,
                       .offset = offset + start,
                       .target = target.subspan(start, std::min(piece_bytes, target.size() - start)),
                       .tag = piece};
  };
  // The failure reported is that of the lowest piece, whatever the order of completions.
  std::size_t failed_piece = piece_count;
  int failure = 0;
  std::size_t next = 0;
  while (next < piece_count || engine.in_flight() > 0) {
    while (next < piece_count && failure == 0 && engine.in_flight() < engine.queue_depth()) {
      engine.submit(request_of(next++));
    }
    if (failure != 0) next = piece_count;
    ReadCompletion completion;
    if (engine.reap(std::span(&completion, 1), 1) == 0) break;
    if (completion.error != 0 && completion.tag < failed_piece) {
      failed_piece = completion.tag;
      failure = completion.error;
    }
  }
  if (failure != 0) fail_read(engine, request_of(failed_piece), failure);
}

void fail_read(const IoEngine& engine, const ReadRequest& request, int error) {
  if (error == ENODATA) {
    fail(Kind::corruption,
         "{}: {} bytes at offset {} were expected, but the file ends before; it was cut short, make it again",
         engine.path(request.file), request.target.size(), request.offset);
  }
  fail(Kind::io, "{}: reading {} bytes at offset {} failed: {}; check the drive and the system's log",
       engine.path(request.file), request.target.size(), request.offset,
       std::generic_category().message(error));
}

}  // namespace gneiss
