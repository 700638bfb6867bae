// gneiss bench io --dataset D --preparation P: the reads of an epoch, as training will ask for them, against
// what the drive can do.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace gneiss {

struct BenchSegmentsOptions {
  std::string dataset;
  std::string preparation;
  double seconds = 2;  // for each point of the drive's profile
};

// Measures, prints unless `quiet`, keeps the drive's profile in the catalog where it can be written, and
// returns what was measured.
nlohmann::json bench_segments(const BenchSegmentsOptions& options, bool quiet);

}  // namespace gneiss
