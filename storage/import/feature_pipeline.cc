#include "storage/import/feature_pipeline.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/progress.h"

namespace gneiss {
namespace {

constexpr std::uint64_t block_bytes = 4U << 20;

struct ColumnStatistics {
  float smallest = std::numeric_limits<float>::infinity();  // of the whole matrix
  std::vector<double> shift;                                // per column: to subtract
  std::vector<double> scale;                                // per column: to multiply by
};

// Calls visit(rows of one block) from the first row to the last, then checks the source's end.
template <class Visit>
void for_each_block(RowSource& rows, const char* label, Visit visit) {
  const std::uint64_t columns = rows.column_count();
  const std::uint64_t block_rows = std::max<std::uint64_t>(1, block_bytes / sizeof(float) / columns);
  std::vector<float> block(std::min(block_rows, rows.row_count()) * columns);
  Progress progress(label, rows.row_count() * columns * sizeof(float), Progress::Unit::bytes);
  rows.rewind();
  for (std::uint64_t row = 0; row < rows.row_count(); row += block_rows) {
    throw_if_interrupted();
    const auto part = std::span(block).first(std::min(block_rows, rows.row_count() - row) * columns);
    rows.read(part);
    visit(part);
    progress.advance(part.size_bytes());
  }
  rows.finish();
}

ColumnStatistics measure(RowSource& rows, Normalization normalization) {
  ColumnStatistics statistics;
  if (normalization == Normalization::row) {
    for_each_block(rows, "measuring features", [&](std::span<const float> values) {
      for (const float value : values) {
        if (std::isfinite(value)) statistics.smallest = std::min(statistics.smallest, value);
      }
    });
    if (!std::isfinite(statistics.smallest)) statistics.smallest = 0;
  }
  if (normalization == Normalization::standardize) {
    // Welford's update, a column at a time: no cancellation however far the mean is from zero.
    const std::size_t columns = rows.column_count();
    std::vector<double> count(columns);
    std::vector<double> mean(columns);
    std::vector<double> squares(columns);
    for_each_block(rows, "measuring features", [&](std::span<const float> values) {
      for (std::size_t first = 0; first < values.size(); first += columns) {
        for (std::size_t column = 0; column < columns; ++column) {
          const double value = values[first + column];
          if (!std::isfinite(value)) continue;
          count[column] += 1;
          const double delta = value - mean[column];
          mean[column] += delta / count[column];
          squares[column] += delta * (value - mean[column]);
        }
      }
    });
    statistics.shift = mean;
    statistics.scale.resize(columns);
    for (std::size_t column = 0; column < columns; ++column) {
      const double deviation = count[column] > 0 ? std::sqrt(squares[column] / count[column]) : 0;
      statistics.scale[column] = deviation > 0 ? 1 / deviation : 1;
    }
  }
  return statistics;
}

void normalize_row(std::span<float> row, Normalization normalization, const ColumnStatistics& statistics) {
  switch (normalization) {
    case Normalization::none:
      return;
    case Normalization::row: {
      double sum = 0;
      for (float& value : row) {
        value -= statistics.smallest;
        if (std::isfinite(value)) sum += value;
      }
      const auto divisor = static_cast<float>(std::max(sum, 1.0));
      for (float& value : row) value /= divisor;
      return;
    }
    case Normalization::l2: {
      double squares = 0;
      for (const float value : row) {
        if (std::isfinite(value)) squares += double{value} * value;
      }
      const auto norm = static_cast<float>(std::max(std::sqrt(squares), 1e-12));
      for (float& value : row) value /= norm;
      return;
    }
    case Normalization::standardize:
      for (std::size_t column = 0; column < row.size(); ++column) {
        row[column] = static_cast<float>((row[column] - statistics.shift[column]) * statistics.scale[column]);
      }
      return;
  }
}

void count_unusual(std::span<const float> values, FeatureReport& report) {
  for (const float value : values) {
    // One comparison for the common case: it is false for NaN and infinity.
    if (std::abs(value) <= std::numeric_limits<float>::max()) continue;
    ++(std::isnan(value) ? report.nan_values : report.infinite_values);
  }
}

std::uint64_t count_beyond_f16(std::span<const float> values) {
  constexpr float first_to_round_to_infinity = 65520.0F;
  std::uint64_t count = 0;
  for (const float value : values) {
    if (std::isfinite(value) && std::abs(value) >= first_to_round_to_infinity) ++count;
  }
  return count;
}

}  // namespace

Normalization parse_normalization(std::string_view name) {
  for (const auto normalization :
       {Normalization::none, Normalization::row, Normalization::l2, Normalization::standardize}) {
    if (name == name_of(normalization)) return normalization;
  }
  fail(Kind::config, "'{}' is not a way to normalize features; use none, row, l2 or standardize", name);
}

std::string_view name_of(Normalization normalization) noexcept {
  switch (normalization) {
    case Normalization::none:
      return "none";
    case Normalization::row:
      return "row";
    case Normalization::l2:
      return "l2";
    case Normalization::standardize:
      return "standardize";
  }
  return "unknown";
}

FeatureReport write_features(RowSource& rows, Dtype dtype, Normalization normalization,
                             SectionWriter& writer) {
  const ColumnStatistics statistics = measure(rows, normalization);
  const std::size_t columns = rows.column_count();
  FeatureReport report;
  std::vector<std::byte> converted;
  writer.begin({.kind = SectionKind::feature_rows,
                .dtype = dtype,
                .columns = columns,
                .checksum_block_bytes = feature_checksum_block_bytes});
  for_each_block(rows, "writing features", [&](std::span<float> values) {
    count_unusual(values, report);
    for (std::size_t first = 0; first < values.size(); first += columns) {
      normalize_row(values.subspan(first, columns), normalization, statistics);
    }
    if (dtype == Dtype::f32) return writer.append(std::as_bytes(values));
    if (dtype == Dtype::f16) report.overflowed_values += count_beyond_f16(values);
    converted.resize(values.size() * size_of(dtype));
    convert(Dtype::f32, std::as_bytes(values).data(), dtype, converted.data(), values.size());
    writer.append(converted);
  });
  writer.end();
  return report;
}

}  // namespace gneiss
