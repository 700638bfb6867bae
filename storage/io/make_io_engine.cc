#include <spdlog/spdlog.h>

#include <mutex>

#include "storage/base/error.h"
#include "storage/io/cores.h"
#include "storage/io/io_engine.h"

namespace gneiss {
namespace {

constexpr std::uint32_t queue_depth_max = 4096;

std::unique_ptr<IoCore> make_core(std::string_view name, std::uint32_t queue_depth) {
  if (name == "io_uring") return make_uring_core(queue_depth);
  if (name == "pread") return make_pread_core(queue_depth);
  if (name == "mmap") return make_mmap_core(queue_depth);
  if (name != "auto") {
    fail(Kind::config, "there is no read engine '{}'; choose auto, io_uring, pread or mmap", name);
  }
  try {
    return make_uring_core(queue_depth);
  } catch (const Error& refusal) {
    static std::once_flag said;
    std::call_once(said, [&] { spdlog::info("{}; reading with pread threads instead", refusal.what()); });
    return make_pread_core(queue_depth);
  }
}

}  // namespace

std::unique_ptr<IoEngine> make_io_engine(std::string_view name, IoOptions options) {
  if (options.queue_depth == 0 || options.queue_depth > queue_depth_max) {
    fail(Kind::config, "the queue depth is {}; choose 1 to {}", options.queue_depth, queue_depth_max);
  }
  return std::make_unique<IoEngine>(make_core(name, options.queue_depth), options);
}

}  // namespace gneiss
