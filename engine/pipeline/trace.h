// The timeline of a run: when each batch was read, assembled, computed and waited for.
//
// Why:     times summed up say which stage bounds a run; a timeline says why, batch by batch.
// Format:  trace events as Perfetto (https://ui.perfetto.dev) and chrome://tracing open them.
// Threads: any number record.
// Memory:  limit * 56 bytes, taken at construction; what comes after is counted and left out.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "storage/format/batch_key.h"

namespace gneiss {

class Trace {
 public:
  using Clock = std::chrono::steady_clock;
  // A line of the timeline: the computing thread, the assembling thread, each slot while the drive fills it,
  // and, where a device computes, its copies and its computation.
  static constexpr std::uint32_t compute_lane = 1;
  static constexpr std::uint32_t assemble_lane = 2;
  static constexpr std::uint32_t first_slot_lane = 3;
  static constexpr std::uint32_t upload_lane = 1000;  // behind any number of slots
  static constexpr std::uint32_t device_lane = 1001;

  static constexpr std::size_t usual_limit = 200'000;
  explicit Trace(std::size_t limit = usual_limit);

  // `name` must be a literal: it is kept by address.
  void add(std::uint32_t lane, const char* name, Clock::time_point begin, Clock::time_point end,
           std::optional<BatchKey> key = {}) noexcept;
  std::size_t event_count() const noexcept;
  std::size_t left_out_count() const noexcept;

  // Once all stages have ended: the first events, at most so many, as trace-event JSON.
  std::string text(std::size_t event_count_max = ~std::size_t{0}) const;
  // The same into a file that the user named. Throws Error(io).
  void write(const std::filesystem::path& path) const;

 private:
  struct Event {
    const char* name = nullptr;
    std::uint32_t lane = 0;
    bool has_key = false;
    std::int64_t begin_ns = 0;  // after the start of the trace
    std::int64_t duration_ns = 0;
    BatchKey key;
  };
  const Clock::time_point start_ = Clock::now();
  std::vector<Event> events_;
  std::atomic<std::size_t> taken_{0};
};

// Records from its construction to its end; does nothing without a trace.
class TraceSpan {
 public:
  TraceSpan(Trace* trace, std::uint32_t lane, const char* name, std::optional<BatchKey> key = {})
      : trace_(trace), lane_(lane), name_(name), key_(key) {
    if (trace_ != nullptr) begin_ = Trace::Clock::now();
  }
  ~TraceSpan() {
    if (trace_ != nullptr) trace_->add(lane_, name_, begin_, Trace::Clock::now(), key_);
  }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

 private:
  Trace* trace_;
  std::uint32_t lane_;
  const char* name_;
  std::optional<BatchKey> key_;
  Trace::Clock::time_point begin_;
};

}  // namespace gneiss
