#include "storage/io/read_loop.h"

#include <sys/resource.h>

#include "storage/base/error.h"
#include "storage/base/stopwatch.h"

namespace gneiss {
namespace {

double process_cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double rate(double amount, double seconds) noexcept { return seconds > 0 ? amount / seconds : 0; }

}  // namespace

double ReadCost::bytes_per_second() const noexcept { return rate(static_cast<double>(bytes), seconds); }
double ReadCost::reads_per_second() const noexcept { return rate(static_cast<double>(reads), seconds); }
double ReadCost::cpu_seconds_per_gib() const noexcept {
  return rate(cpu_seconds, static_cast<double>(bytes) * 0x1p-30);
}

ReadLoop::ReadLoop(IoEngine& engine, std::uint64_t piece_bytes_max)
    : engine_(engine),
      piece_bytes_max_(round_up(piece_bytes_max, direct_io_alignment)),
      memory_(piece_bytes_max_ * engine.queue_depth()),
      flights_(engine.queue_depth()),
      completions_(engine.queue_depth()) {
  for (std::uint32_t slot = engine.queue_depth(); slot-- > 0;) free_slots_.push_back(slot);
  batch_.reserve(engine.queue_depth());
  const std::span<std::byte> whole = memory_.bytes();
  engine_.register_buffers(std::span(&whole, 1));
}

void ReadLoop::run(const std::function<bool(Piece&)>& next, const std::function<void(std::uint64_t)>& done,
                   ReadCost& cost) {
  const double cpu_before = process_cpu_seconds();
  const Stopwatch watch;
  int failure = 0;
  ReadRequest failed;
  for (bool has_more = true; has_more || engine_.in_flight() > 0;) {
    batch_.clear();
    while (has_more && failure == 0 && !free_slots_.empty()) {
      Piece piece;
      has_more = next(piece);
      if (!has_more) break;
      GNEISS_ASSERT(piece.bytes <= piece_bytes_max_);
      const std::uint32_t slot = free_slots_.back();
      free_slots_.pop_back();
      flights_[slot].request = {.file = piece.file,
                                .offset = piece.offset,
                                .target = memory_.bytes().subspan(slot * piece_bytes_max_, piece.bytes),
                                .tag = slot};
      flights_[slot].tag = piece.tag;
      batch_.push_back(flights_[slot].request);
    }
    if (failure != 0) has_more = false;
    const Clock::time_point submitted = Clock::now();
    for (const ReadRequest& request : batch_) flights_[request.tag].start = submitted;
    if (!batch_.empty()) engine_.submit(batch_);
    const std::size_t count = engine_.reap(completions_, 1);
    const Clock::time_point reaped = Clock::now();
    for (const ReadCompletion& completion : std::span(completions_).first(count)) {
      const Flight& flight = flights_[completion.tag];
      free_slots_.push_back(static_cast<std::uint32_t>(completion.tag));
      if (completion.error != 0) {
        failure = completion.error;
        failed = flight.request;
        continue;
      }
      ++cost.reads;
      cost.bytes += flight.request.target.size();
      cost.latency.record(static_cast<std::uint64_t>(
          std::chrono::duration_cast<std::chrono::nanoseconds>(reaped - flight.start).count()));
      done(flight.tag);
    }
  }
  cost.seconds += watch.seconds();
  cost.cpu_seconds += process_cpu_seconds() - cpu_before;
  if (failure != 0) fail_read(engine_, failed, failure);
}

}  // namespace gneiss
