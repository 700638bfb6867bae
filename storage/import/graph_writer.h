// Writes graph.csc from a CscBuilder, and counts degrees on the way.
#pragma once

#include <cstdint>
#include <filesystem>

#include "storage/import/csc_builder.h"
#include "storage/import/statistics.h"

namespace gneiss {

// Finishes `builder` into `path`. Returns the number of edges.
//   memory_bytes  bounds what of the scratch file may wait in the page cache
std::uint64_t write_graph(CscBuilder& builder, const std::filesystem::path& path, std::uint64_t memory_bytes,
                          DegreeCounter& degrees);

}  // namespace gneiss
