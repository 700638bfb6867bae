// The drive's profile, kept in a dataset's catalog: measured once, quoted beside every speed from then on.
//
// Format: storage/FORMAT.md, "Catalog", key drive/profile.
#pragma once

#include <optional>

#include "storage/format/dataset.h"
#include "storage/io/drive_profile.h"

namespace gneiss {

// Empty when the drive was never measured. Throws Error(corruption) for an entry that is damaged.
std::optional<DriveProfile> stored_drive_profile(const Dataset& dataset);

// Needs a dataset that was opened for writing.
void store_drive_profile(Dataset& dataset, const DriveProfile& profile);

}  // namespace gneiss
