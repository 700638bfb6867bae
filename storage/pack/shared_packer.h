// Writes shared rows: each group's in the order of its layout, and each batch's trailer.
//
// How:     one ordered scan of features.bin. Regions that fit in half of the memory are filled there and
//          written in one sweep (region_filler.h); larger ones are dealt to parts on the drive, which are
//          then put in order one by one (region_dealer.h).
// Memory:  memory_bytes; 8 bytes for each 4 KiB of pack.bin.
// Crash:   as packer.h: within the scan and between parts.
#pragma once

#include "storage/pack/packer.h"
#include "storage/pack/region_task.h"
#include "storage/pack/shared_layout.h"

namespace gneiss {

// As pack_features(), for the batches of `layout`.
PackResult pack_shared_features(const PackTask& task, const SharedLayout& layout, ThreadPool& pool);

}  // namespace gneiss
