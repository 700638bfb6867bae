// The operators of the CPU backend against this machine's ceilings, measured in the same run: those over rows
// of neighbors against a plain gather of the same rows, products against a large square product, what is done
// element by element against a plain copy.
//
//   build/release/bench_operators            (--benchmark_filter=step for some of them)
//   bench/operators.py build/release         the table of all
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "bench/micro/setup.h"
#include "engine/compute/cpu/kernels.h"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  fmt::print(stderr,
             "threads {}, instruction set {}; share is of the ceiling beside it, best of all repetitions\n",
             gneiss::micro::pool().thread_count(), gneiss::cpu::instruction_set());
#if !defined(__OPTIMIZE__) || defined(GNEISS_SANITIZED)
  fmt::print(stderr, "warning: this build is not optimized or has sanitizers on; its numbers mean nothing\n");
#endif
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
