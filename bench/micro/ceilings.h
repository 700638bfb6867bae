// What this machine reaches without any of our kernels' work, in the same process: what operators are held
// against.
#pragma once

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/compute/tiered_rows.h"

namespace gneiss::micro {

// Bytes a second of copying the named rows, in their order, into memory that stays in a core's L1: nothing is
// summed and nothing written back. Lines ahead are prefetched, as a careful gather would.
double gather_ceiling(const TieredRows& rows, std::span<const std::uint32_t> row_ids);

// Bytes a second, those read and those written, of copying an array of 256 MiB.
double copy_ceiling();

// Floating-point operations a second of a square product of 2,048, rows shared out over the threads.
double product_ceiling();

// The counters of a benchmark: the rate reached, the ceiling, and the share of it.
void report_bytes(benchmark::State& state, double bytes, double seconds, double ceiling);
void report_product(benchmark::State& state, double operations, double seconds);

}  // namespace gneiss::micro
