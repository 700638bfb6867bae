#include "engine/pipeline/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>

#include "storage/io/file.h"

namespace gneiss {
namespace {

std::string lane_name(std::uint32_t lane) {
  if (lane == Trace::compute_lane) return "compute";
  if (lane == Trace::assemble_lane) return "assemble";
  if (lane == Trace::upload_lane) return "upload";
  if (lane == Trace::device_lane) return "device";
  return fmt::format("drive, slot {}", lane - Trace::first_slot_lane);
}

}  // namespace

Trace::Trace(std::size_t limit) : events_(limit) {}

void Trace::add(std::uint32_t lane, const char* name, Clock::time_point begin, Clock::time_point end,
                std::optional<BatchKey> key) noexcept {
  const std::size_t index = taken_.fetch_add(1, std::memory_order_relaxed);
  if (index >= events_.size()) return;
  const auto nanoseconds = [](Clock::duration time) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
  };
  events_[index] = {.name = name,
                    .lane = lane,
                    .has_key = key.has_value(),
                    .begin_ns = nanoseconds(begin - start_),
                    .duration_ns = nanoseconds(end - begin),
                    .key = key.value_or(BatchKey{})};
}

std::size_t Trace::event_count() const noexcept { return std::min(taken_.load(), events_.size()); }
std::size_t Trace::left_out_count() const noexcept { return taken_.load() - event_count(); }

void Trace::write(const std::filesystem::path& path) const { write_text_file(path, text()); }

std::string Trace::text(std::size_t event_count_max) const {
  std::string text = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
  auto out = std::back_inserter(text);
  fmt::format_to(out, R"({{"ph":"M","pid":1,"name":"process_name","args":{{"name":"gneiss train"}}}})");
  const auto events = std::span(events_).first(std::min(event_count(), event_count_max));
  std::vector<std::uint32_t> lanes;
  for (const Event& event : events) {
    if (std::ranges::find(lanes, event.lane) == lanes.end()) lanes.push_back(event.lane);
  }
  for (const std::uint32_t lane : lanes) {
    fmt::format_to(out,
                   ",\n"
                   R"({{"ph":"M","pid":1,"tid":{},"name":"thread_name","args":{{"name":"{}"}}}})",
                   lane, lane_name(lane));
    fmt::format_to(out,
                   ",\n"
                   R"({{"ph":"M","pid":1,"tid":{0},"name":"thread_sort_index","args":{{"sort_index":{0}}}}})",
                   lane);
  }
  for (const Event& event : events) {
    // Microseconds, as the format has them, with nanoseconds behind the point.
    fmt::format_to(out,
                   ",\n"
                   R"({{"ph":"X","pid":1,"tid":{},"name":"{}","ts":{:.3f},"dur":{:.3f})",
                   event.lane, event.name, static_cast<double>(event.begin_ns) / 1000,
                   static_cast<double>(event.duration_ns) / 1000);
    if (event.has_key) fmt::format_to(out, R"(,"args":{{"batch":"{}"}})", to_string(event.key));
    text += '}';
  }
  return text + "\n]}\n";
}

}  // namespace gneiss
