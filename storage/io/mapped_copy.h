// Copies out of a mapped file, and survives what a read() would have told as an error.
//
// Why:     a page that the file does not have any more, or that the drive does not give, is no return value
//          there but SIGBUS, which ends the process.
// How:     the signal leads back out of the copy. It belongs to the thread that touched the page; one that
//          comes of anything else goes on to whoever handled it before.
// Threads: any.
#pragma once

#include <cstddef>
#include <span>

namespace gneiss {

// False where a page of `source` could not be had; what `target` then holds is unspecified.
bool copy_mapped(const std::byte* source, std::span<std::byte> target) noexcept;

}  // namespace gneiss
