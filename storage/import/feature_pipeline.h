// Feature rows from a source to features.bin: checked, normalised and converted as they stream by.
//
// Memory: a block of rows and one or two numbers a column.
// Errors: input (the source), io (the disk), cancelled.
#pragma once

#include <cstdint>
#include <string_view>

#include "storage/base/dtype.h"
#include "storage/format/section_file.h"
#include "storage/import/graph_source.h"

namespace gneiss {

enum class Normalization {
  none,
  // PyG's NormalizeFeatures: the smallest value of the whole matrix is subtracted, then each row divided by
  // its sum, or by 1 where that is smaller. For features that are nowhere negative and somewhere zero (bags
  // of words) it is the division alone.
  row,
  l2,           // each row divided by its Euclidean norm, rows of zeros kept
  standardize,  // each column shifted to mean 0 and scaled to standard deviation 1, constant ones to 0
};
Normalization parse_normalization(std::string_view name);  // throws Error(config)
std::string_view name_of(Normalization normalization) noexcept;

struct FeatureReport {
  std::uint64_t nan_values = 0;         // kept as they are
  std::uint64_t infinite_values = 0;    // in the source
  std::uint64_t overflowed_values = 0;  // finite in the source, beyond the range of f16
};

// Appends the one section feature_rows to `writer`. Statistics for normalising leave out NaN and infinity.
FeatureReport write_features(RowSource& rows, Dtype dtype, Normalization normalization,
                             SectionWriter& writer);

}  // namespace gneiss
