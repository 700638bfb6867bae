// The operators on the processor: oneDNN for products, Highway for the rest.
//
// Threads: the work is cut into pieces whose shape depends on the data alone, each done by one thread of
//          the pool; the caller's thread works too, and must be the pool's one caller.
// Memory:  operators take none of their own, but for packed operands: oneDNN keeps them inside its products,
//          those in bf16 and a weight that is turned over are counted by working_bytes().
#pragma once

#include <memory>

#include "engine/compute/backend.h"

namespace gneiss {

class ThreadPool;

// `pool` outlives the backend and all buffers that the backend made.
// Throws Error(config) for tf32, and when this processor lacks the instructions for the precision.
std::unique_ptr<Backend> make_cpu_backend(ThreadPool& pool, Precision precision = Precision::f32);

}  // namespace gneiss
