// Writes shared rows: each group's in the order of its layout, and each batch's trailer.
//
// How:     as much of pack.bin as fits in half of the memory is filled in one ordered scan of features.bin,
//          whose rows go to their places, and then written in one sweep; the next scan fills the next part.
// Memory:  memory_bytes, of which half is the part being filled, and its index of 8 bytes a row; 8 bytes for
//          each 4 KiB of pack.bin.
// Crash:   as packer.h, recorded after each scan.
#pragma once

#include "storage/pack/packer.h"
#include "storage/pack/shared_layout.h"

namespace gneiss {

// Scans of features.bin that pack_shared_features() will make.
std::uint32_t count_shared_scans(const SharedLayout& layout, std::uint64_t row_bytes,
                                 std::uint64_t memory_bytes);

// As pack_features(), for the batches of `layout`.
PackResult pack_shared_features(const PackTask& task, const SharedLayout& layout, ThreadPool& pool);

}  // namespace gneiss
