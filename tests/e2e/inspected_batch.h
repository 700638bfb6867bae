// A mini-batch as `gneiss inspect` wrote it, held against the source's arrays.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace gneiss::test {

// In-edges by destination, as the dataset has them: sorted sources.
using Neighbors = std::map<std::uint32_t, std::vector<std::uint32_t>>;

// Of an edge_index.npy of shape (2, E), int64.
//   undirected  both directions of each edge, equal edges once, as `import --undirected` makes them
Neighbors read_neighbors(const std::filesystem::path& edge_index, bool undirected);

// What is wrong with the batch in `folder`, or nothing.
//   rows      the source's rows as `inspect` should write them, row_bytes each
//   fanouts   from the seeds outwards, -1: all
std::string find_fault(const std::filesystem::path& folder, const std::string& rows, std::size_t row_bytes,
                       const std::vector<std::int64_t>& labels, const Neighbors& neighbors,
                       const std::vector<int>& fanouts);

}  // namespace gneiss::test
