#include "bench/micro/ceilings.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "bench/micro/setup.h"
#include "storage/base/aligned_buffer.h"

namespace gneiss::micro {

namespace {

// Copies rows one by one, those to come fetched ahead into the first cache (Locality 3) or the second (2).
template <int Locality>
double gather_seconds(std::span<const std::byte* const> rows, std::size_t bytes, std::size_t ahead) {
  const std::size_t piece = 2560;
  const std::size_t pieces = (rows.size() + piece - 1) / piece;
  return best_seconds(15, [&] {
    pool().parallel_for(pieces, [&](std::size_t p, std::size_t) {
      std::vector<std::byte> sink(bytes);
      const std::size_t last = std::min(rows.size(), (p + 1) * piece);
      for (std::size_t i = p * piece; i < last; ++i) {
        const std::size_t next = i + ahead;
        if (next < last) {
          for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(rows[next] + at, 0, Locality);
        }
        std::memcpy(sink.data(), rows[i], bytes);
        benchmark::DoNotOptimize(sink.data());
        benchmark::ClobberMemory();
      }
    });
  });
}

}  // namespace

double gather_ceiling(const TieredRows& rows, std::span<const std::uint32_t> row_ids) {
  std::vector<const std::byte*> pointers;
  pointers.reserve(row_ids.size());
  for (const std::uint32_t row : row_ids) pointers.push_back(rows.row(row));
  const std::size_t bytes = rows.row_bytes();
  const double seconds =
      std::min(gather_seconds<3>(pointers, bytes, 16), gather_seconds<2>(pointers, bytes, 16));
  return static_cast<double>(row_ids.size() * bytes) / seconds;
}

double copy_ceiling() {
  static const double ceiling = [] {
    constexpr std::size_t bytes = std::size_t{256} << 20;
    constexpr std::size_t piece = std::size_t{1} << 20;
    const AlignedBuffer from(bytes);
    AlignedBuffer to(bytes);
    const double seconds = best_seconds(8, [&] {
      pool().parallel_for(bytes / piece, [&](std::size_t p, std::size_t) {
        std::memcpy(to.data() + p * piece, from.data() + p * piece, piece);
      });
    });
    return 2.0 * static_cast<double>(bytes) / seconds;
  }();
  return ceiling;
}

double product_ceiling() {
  static const double ceiling = [] {
    constexpr std::size_t n = 2048;
    const std::vector<float> a = random_values(n * n);
    const std::vector<float> b = random_values(n * n);
    std::vector<float> c(n * n);
    const double seconds =
        best_seconds(5, [&] { backend().linear({a.data(), n, n}, {b.data(), n, n}, {}, {c.data(), n, n}); });
    return 2.0 * n * n * n / seconds;
  }();
  return ceiling;
}

void report_bytes(benchmark::State& state, double bytes, double seconds, double ceiling) {
  state.counters["ms"] = seconds * 1e3;
  state.counters["GB/s"] = bytes / seconds * 1e-9;
  state.counters["ceiling_GB/s"] = ceiling * 1e-9;
  state.counters["share"] = bytes / seconds / ceiling;
}

void report_product(benchmark::State& state, double operations, double seconds) {
  state.counters["ms"] = seconds * 1e3;
  state.counters["GFLOP"] = operations * 1e-9;
  state.counters["GFLOP/s"] = operations / seconds * 1e-9;
  state.counters["ceiling_GFLOP/s"] = product_ceiling() * 1e-9;
  state.counters["share"] = operations / seconds / product_ceiling();
}

}  // namespace gneiss::micro
