#include "storage/format/drive_record.h"

#include <nlohmann/json.hpp>

namespace gneiss {
namespace {
constexpr const char* profile_key = "drive/profile";
}

std::optional<DriveProfile> stored_drive_profile(const Dataset& dataset) {
  if (!dataset.catalog().contains(profile_key)) return std::nullopt;
  return drive_profile_from_json(dataset.catalog().get_json(profile_key));
}

void store_drive_profile(Dataset& dataset, const DriveProfile& profile) {
  dataset.catalog().apply({{profile_key, to_json(profile).dump()}});
}

}  // namespace gneiss
