#include <liburing.h>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "storage/base/error.h"
#include "storage/io/cores.h"

namespace gneiss {
namespace {

// Files beyond the table are read through their descriptors: a few tens of nanoseconds more each.
constexpr unsigned registered_files_max = 64;

std::string_view explain(int error) {
  switch (error) {
    case ENOSYS:
      return "the kernel has none, or a filter hides it";
    case EPERM:
    case EACCES:
      return "a container's filter or the sysctl kernel.io_uring_disabled forbids it";
    case ENOMEM:
      return "its memory does not fit the limit on locked memory, see ulimit -l";
    default:
      return "the system gave no other reason";
  }
}

// What may pass: a signal, or a kernel that lacks memory or room for a moment.
constexpr int tries_max = 1000;
constexpr std::chrono::milliseconds pause_between_tries{1};

bool may_pass(int error) { return error == EINTR || error == EAGAIN || error == EBUSY; }

struct Refused {
  int error;
};

[[noreturn]] void fail_refused(int error) {
  fail(Kind::io, "io_uring is refused: {} ({})", std::generic_category().message(error), explain(error));
}

// A ring that one thread uses. DEFER_TASKRUN completes reads inside that thread's own calls instead of
// interrupting it; both it and SINGLE_ISSUER are newer (Linux 6.1) than what else we need (5.6).
class Ring {
 public:
  explicit Ring(std::uint32_t queue_depth) {
    // R_DISABLED: the thread that first submits, not the one that sets up, becomes the single issuer.
    constexpr std::array<unsigned, 3> flag_choices{
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0};
    int error = 0;
    for (const unsigned flags : flag_choices) {
      io_uring_params parameters{};
      parameters.flags = flags;
      error = -io_uring_queue_init_params(queue_depth, &ring_, &parameters);
      if (error == 0) {
        is_disabled_ = (flags & IORING_SETUP_R_DISABLED) != 0;
        return;
      }
      if (error != EINVAL) break;
    }
    throw Refused{error};
  }
  ~Ring() { io_uring_queue_exit(&ring_); }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  io_uring* get() noexcept { return &ring_; }
  void enable() {
    if (!is_disabled_) return;
    // liburing 2.3 declares io_uring_enable_rings() but its shared library does not have it.
    if (::syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) < 0) {
      throw Refused{errno};
    }
    is_disabled_ = false;
  }

 private:
  io_uring ring_{};
  bool is_disabled_ = false;
};

class UringCore final : public IoCore {
 public:
  explicit UringCore(std::uint32_t queue_depth) : queue_depth_(queue_depth) {
    if (const char* wish = std::getenv("GNEISS_IO_URING");
        wish != nullptr && std::string_view(wish) == "off") {
      fail_refused(EPERM);
    }
    try {
      make_ring();
    } catch (const Refused& refused) {
      fail_refused(refused.error);
    }
    io_uring_probe* probe = io_uring_get_probe_ring(ring_->get());
    const bool can_read = probe != nullptr && io_uring_opcode_supported(probe, IORING_OP_READ) != 0;
    io_uring_free_probe(probe);
    if (!can_read) fail_refused(ENOSYS);
  }

  ~UringCore() override {
    std::array<Outcome, 16> ignored;
    try {
      while (in_flight_ > 0) collect(ignored, without_end);
    } catch (const Error& error) {
      // Targets may be freed after us while the kernel still writes to them: there is no safe way on.
      spdlog::critical("{}; reads are on their way and cannot be waited for: gneiss ends here", error.what());
      std::_Exit(exit_code(Kind::io));
    }
  }

  std::string_view name() const noexcept override { return "io_uring"; }

  void attach(FileId id, const File& file) override {
    GNEISS_ASSERT(static_cast<std::size_t>(id) == descriptors_.size());
    descriptors_.push_back(file.descriptor());
    register_file(descriptors_.size() - 1);
  }

  void register_buffers(std::span<const std::span<std::byte>> buffers) override {
    for (const std::span<std::byte> buffer : buffers) {
      // The kernel takes at most 1 GiB a buffer.
      for (std::size_t start = 0; start < buffer.size(); start += transfer_bytes_max) {
        const std::size_t bytes = std::min(transfer_bytes_max, buffer.size() - start);
        buffers_.push_back({.iov_base = buffer.data() + start, .iov_len = bytes});
      }
    }
    std::ranges::sort(buffers_, {}, &iovec::iov_base);
    pin_buffers();
  }

  void unregister_buffers() override {
    GNEISS_ASSERT(in_flight_ == 0);
    // A single-issuer ring refuses other threads; then its end lets go of them, later.
    if (is_pinned_) io_uring_unregister_buffers(ring_->get());
    is_pinned_ = false;
    buffers_.clear();
  }

  void start(std::span<const Transfer> transfers) override {
    if (broken_ == 0) broken_ = move_to_this_thread();
    if (broken_ != 0) return refuse(transfers);
    for (const Transfer& transfer : transfers) {
      io_uring_sqe* entry = io_uring_get_sqe(ring_->get());
      GNEISS_ASSERT(entry != nullptr);  // the ring has queue_depth entries or more
      prepare(*entry, transfer);
    }
    refuse(transfers.subspan(submit(transfers.size())));
  }

  std::size_t collect(std::span<Outcome> outcomes, Patience patience) override {
    // Reads the shared memory first: where completions lie ready, no system call is made.
    std::size_t count = take_refused(outcomes);
    if (count == 0) count = take(outcomes);
    // Before Linux 5.11 the end of a wait would itself be a completion: there it has none.
    if (patience > no_wait && (ring_->get()->features & IORING_FEAT_EXT_ARG) == 0) patience = without_end;
    while (count == 0 && in_flight_ > 0) {
      const int result = wait_for_one(patience);
      count = take(outcomes);
      if (result >= 0 || result == -ETIME || result == -EINTR || count > 0) {
        failed_waits_ = 0;
      } else {
        if (++failed_waits_ >= tries_max) fail_ring(-result);
        std::this_thread::sleep_for(pause_between_tries);
      }
      if (patience != without_end) break;  // an interrupted wait is a short one
    }
    return count;
  }

 private:
  // Returns how many of the entries that the ring holds the kernel took: all, or it is broken.
  std::size_t submit(std::size_t entries) {
    std::size_t taken = 0;
    for (int tries = 0; taken < entries;) {
      const int result = io_uring_submit(ring_->get());
      if (result > 0) {
        taken += static_cast<std::size_t>(result);
        tries = 0;
        continue;
      }
      const int error = result < 0 ? -result : EAGAIN;
      if (!may_pass(error) || ++tries == tries_max) {
        broken_ = error;
        break;
      }
      if (error != EINTR) std::this_thread::sleep_for(pause_between_tries);
    }
    in_flight_ += taken;
    return taken;
  }

  // An outcome like any other, so that what is in flight stays known.
  void refuse(std::span<const Transfer> transfers) {
    for (const Transfer& transfer : transfers)
      refused_.push_back({.slot = transfer.slot, .result = -broken_});
  }

  std::size_t take_refused(std::span<Outcome> outcomes) {
    const std::size_t count = std::min(outcomes.size(), refused_.size());
    std::copy_n(refused_.begin(), count, outcomes.begin());
    refused_.erase(refused_.begin(), refused_.begin() + static_cast<std::ptrdiff_t>(count));
    return count;
  }

  // Submits nothing: a broken ring may hold what has been refused.
  int wait_for_one(Patience patience) {
    io_uring_cqe* first = nullptr;
    if (patience == no_wait) return io_uring_get_events(ring_->get());
    if (patience == without_end) return io_uring_wait_cqe(ring_->get(), &first);
    __kernel_timespec time{.tv_sec = patience.count() / 1000, .tv_nsec = patience.count() % 1000 * 1'000'000};
    return io_uring_wait_cqe_timeout(ring_->get(), &first, &time);
  }

  [[noreturn]] static void fail_ring(int error) {
    fail(Kind::io, "io_uring stopped working: {}; try again with the engine 'pread'",
         std::generic_category().message(error));
  }

  void make_ring() {
    ring_ = std::make_unique<Ring>(queue_depth_);  // where it is refused, the old one stays
    is_pinned_ = false;
    has_file_table_ = io_uring_register_files_sparse(ring_->get(), registered_files_max) == 0;
  }

  // The kernel ties a single-issuer ring to one thread. Our callers may hand an idle engine to another
  // (an evaluation after an epoch): that thread gets a ring of its own. Returns why it gets none; 0: it has.
  int move_to_this_thread() {
    // Not std::this_thread::get_id(): a new thread may have the id of one that ended.
    thread_local const pid_t self = ::gettid();
    if (owner_ == self) return 0;
    try {
      if (owner_ != 0) {
        GNEISS_ASSERT(in_flight_ == 0);
        make_ring();
        for (std::size_t file = 0; file < descriptors_.size(); ++file) register_file(file);
        pin_buffers();
      }
      ring_->enable();
    } catch (const Refused& refused) {
      return refused.error;
    }
    owner_ = self;
    return 0;
  }

  void register_file(std::size_t file) {
    if (!has_file_table_ || file >= registered_files_max) return;
    const int result =
        io_uring_register_files_update(ring_->get(), static_cast<unsigned>(file), &descriptors_[file], 1);
    if (result != 1) has_file_table_ = false;
  }

  void pin_buffers() {
    if (buffers_.empty()) return;
    const int result =
        io_uring_register_buffers(ring_->get(), buffers_.data(), static_cast<unsigned>(buffers_.size()));
    is_pinned_ = result == 0;
    if (!is_pinned_) {
      spdlog::debug("io_uring: {} read buffers stay unregistered: {}", buffers_.size(),
                    std::generic_category().message(-result));
    }
  }

  // The registered buffer that holds all of `target`, or -1.
  int find_buffer(std::span<std::byte> target) const {
    if (!is_pinned_) return -1;
    const auto after =
        std::ranges::upper_bound(buffers_, static_cast<void*>(target.data()), {}, &iovec::iov_base);
    if (after == buffers_.begin()) return -1;
    const iovec& buffer = *(after - 1);
    const std::byte* end = static_cast<std::byte*>(buffer.iov_base) + buffer.iov_len;
    return target.data() + target.size() <= end ? static_cast<int>(after - buffers_.begin()) - 1 : -1;
  }

  void prepare(io_uring_sqe& entry, const Transfer& transfer) {
    const auto file = static_cast<std::size_t>(transfer.file);
    const bool is_registered = has_file_table_ && file < registered_files_max;
    const int descriptor = is_registered ? static_cast<int>(file) : descriptors_[file];
    const auto bytes = static_cast<unsigned>(transfer.target.size());
    if (const int buffer = find_buffer(transfer.target); buffer >= 0) {
      io_uring_prep_read_fixed(&entry, descriptor, transfer.target.data(), bytes, transfer.offset, buffer);
    } else {
      io_uring_prep_read(&entry, descriptor, transfer.target.data(), bytes, transfer.offset);
    }
    if (is_registered) entry.flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(&entry, transfer.slot);
  }

  std::size_t take(std::span<Outcome> outcomes) {
    std::size_t count = 0;
    unsigned head = 0;
    io_uring_cqe* entry = nullptr;
    io_uring_for_each_cqe(ring_->get(), head, entry) {
      if (count == outcomes.size()) break;
      outcomes[count++] = {.slot = static_cast<std::uint32_t>(entry->user_data), .result = entry->res};
    }
    io_uring_cq_advance(ring_->get(), static_cast<unsigned>(count));
    GNEISS_ASSERT(count <= in_flight_);
    in_flight_ -= count;
    return count;
  }

  const std::uint32_t queue_depth_;
  std::vector<int> descriptors_;  // by FileId
  std::vector<iovec> buffers_;    // by address
  std::unique_ptr<Ring> ring_;
  bool has_file_table_ = false;
  bool is_pinned_ = false;
  pid_t owner_ = 0;               // the thread the ring is tied to; 0 before the first start()
  std::size_t in_flight_ = 0;     // taken by the kernel, and not yet taken from it
  int broken_ = 0;                // why the ring takes nothing any more
  std::vector<Outcome> refused_;  // of a broken ring
  int failed_waits_ = 0;          // one after another
};

}  // namespace

std::unique_ptr<IoCore> make_uring_core(std::uint32_t queue_depth) {
  return std::make_unique<UringCore>(queue_depth);
}

}  // namespace gneiss
