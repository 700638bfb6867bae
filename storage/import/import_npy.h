// A folder of .npy files as a graph: edge_index, node_feat, node_label, {train, val | valid, test}_idx.
#pragma once

#include <filesystem>

#include "storage/import/graph_source.h"

namespace gneiss {

// Throws Error(input) naming the file that is missing or does not fit the others.
GraphSource open_npy_folder(const std::filesystem::path& folder);

}  // namespace gneiss
