// Edges, rows and labels out of .npy arrays, in files or in archives.
#pragma once

#include <memory>

#include "storage/import/graph_source.h"
#include "storage/import/npy_array.h"

namespace gneiss {

// (2, E) or (E, 2), C or Fortran order, of integers; (2, 2) is taken as (2, E), PyG's layout.
std::unique_ptr<EdgeSource> make_npy_edges(NpyArray array);
// (N, F) of numbers; (N,) is taken as (N, 1). Fortran order needs an array that can seek.
std::unique_ptr<RowSource> make_npy_rows(NpyArray array);
// (N,), or (N, C) in C or Fortran order; integers, or floats with NaN for "no label". What the values may be
// says write_labels().
std::unique_ptr<LabelSource> make_npy_labels(NpyArray array);
// (n,) or (n, 1) of integers, at most node_count.
std::unique_ptr<SplitSource> make_npy_split(NpyArray array, std::uint64_t node_count);

}  // namespace gneiss
