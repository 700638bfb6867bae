#include "tests/support/faulty_core.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <thread>

namespace gneiss::test {

FaultyCore::FaultyCore(std::unique_ptr<IoCore> inner, Faults faults)
    : inner_(std::move(inner)), faults_(faults), random_(mix64(faults.seed)) {}

void FaultyCore::unregister_buffers() { inner_->unregister_buffers(); }
void FaultyCore::register_buffers(std::span<const std::span<std::byte>> buffers) {
  inner_->register_buffers(buffers);
}

void FaultyCore::start(std::span<const Transfer> transfers) {
  for (Transfer transfer : transfers) {
    if (faults_.stalls > 0 && stalls_ < faults_.stalls_max && random_.uniform() < faults_.stalls) {
      ++stalls_;
      ++faults_struck;
      silent_until_ = Clock::now() + faults_.stall_time;
    }
    double draw = random_.uniform();
    const auto strikes = [&draw](double probability) {
      const bool is_struck = (draw -= probability) < 0;
      if (is_struck) ++faults_struck;
      return is_struck;
    };
    if (strikes(faults_.interrupted)) {
      held_.push_back({.slot = transfer.slot, .result = -EINTR});
    } else if (strikes(faults_.again)) {
      held_.push_back({.slot = transfer.slot, .result = -EAGAIN});
    } else if (strikes(faults_.errors)) {
      held_.push_back({.slot = transfer.slot, .result = -EIO});
    } else {
      if (strikes(faults_.short_reads) && transfer.target.size() > 1024) {
        const std::size_t bytes = 512 * (1 + random_.below(transfer.target.size() / 512 - 1));
        std::memset(transfer.target.data() + bytes, 0xA5, transfer.target.size() - bytes);
        transfer.target = transfer.target.first(bytes);
      }
      inner_->start(std::span(&transfer, 1));
      ++inner_in_flight_;
    }
  }
}

Outcome FaultyCore::release(std::size_t held) {
  const Outcome outcome = held_[held];
  held_[held] = held_.back();
  held_.pop_back();
  return outcome;
}

bool FaultyCore::sit_out_stall(Patience& patience) const {
  const auto left = std::chrono::ceil<Patience>(silent_until_ - Clock::now());
  if (left <= no_wait) return true;
  std::this_thread::sleep_for(std::min(left, patience));
  if (left > patience) return false;
  if (patience != without_end) patience -= left;
  return true;
}

std::size_t FaultyCore::collect(std::span<Outcome> outcomes, Patience patience) {
  if (!sit_out_stall(patience)) return 0;
  if (inner_in_flight_ > 0) {
    std::array<Outcome, 64> arrived;
    const std::size_t count = inner_->collect(arrived, held_.empty() ? patience : no_wait);
    inner_in_flight_ -= count;
    held_.insert(held_.end(), arrived.begin(), arrived.begin() + static_cast<std::ptrdiff_t>(count));
  }
  std::size_t count = 0;
  const std::size_t draws = held_.size();
  for (std::size_t i = 0; i < draws && count < outcomes.size(); ++i) {
    if (random_.uniform() < faults_.late) continue;
    outcomes[count++] = release(random_.below(held_.size()));
  }
  if (patience > no_wait && count == 0 && !held_.empty()) {
    outcomes[count++] = release(random_.below(held_.size()));
  }
  return count;
}

}  // namespace gneiss::test
