# Of bench_gpu, besides its main(): compiled for real devices in bench, for the emulated one in tests/bench.
set(GNEISS_GPU_BENCH_SOURCES aggregates.cc attentions.cc ceilings.cu products.cc rig.cc sampled_blocks.cc)
list(TRANSFORM GNEISS_GPU_BENCH_SOURCES PREPEND bench/gpu/)
