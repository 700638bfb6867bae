// The operators on the processor: oneDNN for products, Highway for the rest.
//
// Threads: the work is cut into pieces whose shape depends on the data alone, each done by one thread of
//          the pool; the caller's thread works too, and must be the pool's one caller.
// Memory:  operators take none of their own; oneDNN keeps packing buffers inside its products.
#pragma once

#include <memory>

#include "engine/compute/backend.h"

namespace gneiss {

class ThreadPool;

// `pool` outlives the backend and all buffers that the backend made.
std::unique_ptr<Backend> make_cpu_backend(ThreadPool& pool);

}  // namespace gneiss
