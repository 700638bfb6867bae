// What a training run tells: epoch lines, the table of where the time went, JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "engine/train/trainer.h"
#include "storage/io/drive_profile.h"

namespace gneiss {

// "Epoch: 02, Loss: 1.2345, Train: 70.12%, Valid: 69.50%  |  2.31 s, 1.63 GB read, computing 97 %"
// Another metric than accuracy is named: "Valid macro F1: 61.20%".
std::string epoch_line(const EpochResult& epoch, Metric metric);
// "Best epoch: 07, Valid: 69.50%, Test: 68.90%"
std::string best_line(const RunResult& run);
std::string metric_suffix(Metric metric);  // " macro F1"; nothing for accuracy
// What bound the training epochs, in words and shares.
//   drive_bytes_per_second  the drive's sequential speed as 'gneiss bench io' kept it; 0: never measured
std::string time_table(const RunResult& run, double drive_bytes_per_second);

nlohmann::json epoch_json(const EpochResult& epoch);
// `earlier`: the epochs, as epoch_json() gave them, that an interrupted process had done.
nlohmann::json run_json(const RunResult& run, const std::vector<nlohmann::json>& earlier);

// What the preparation has an epoch read, on average over the pool, and how long that takes this drive.
nlohmann::json plan_json(const Preparation& preparation, const std::optional<DriveProfile>& drive);

}  // namespace gneiss
