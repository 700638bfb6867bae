// The three cores, each in its own file; make_io_engine() chooses.
#pragma once

#include <cstdint>
#include <memory>

#include "storage/io/io_core.h"

namespace gneiss {

// One ring, registered files and, where the system lets us pin memory, registered buffers. Throws Error(io)
// with the reason where io_uring is refused: an old kernel, a sysctl, a container's seccomp filter.
std::unique_ptr<IoCore> make_uring_core(std::uint32_t queue_depth);

// Threads that each wait in one pread(): started as they are needed, at most min(queue_depth, 128).
std::unique_ptr<IoCore> make_pread_core(std::uint32_t queue_depth);

// The baseline: copies out of a mapping inside start(), page fault by page fault, with the kernel's default
// readahead, as a memory-mapped array is read. A file that was cut short is an error, not a SIGBUS.
std::unique_ptr<IoCore> make_mmap_core(std::uint32_t queue_depth);

}  // namespace gneiss
