// Fills memory with a whole range of a file, several reads at once, each straight into its place.
//
// Why:     what is wanted as a whole needs no copy out of pieces that were read ahead.
// Threads: one.
// Errors:  io, corruption (the file ended first).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "storage/io/sequential_reader.h"

namespace gneiss {

//   target   the range's bytes, aligned and rounded up to direct_io_alignment; what is behind them is
//            unspecified then
//   arrived  told again and again, in ascending order, how many of the first bytes are there; may change them
void load_range(const FileRange& range, ReadAhead ahead, std::span<std::byte> target,
                const std::function<void(std::uint64_t bytes)>& arrived);

}  // namespace gneiss
