// The name of a kernel, from its address.
#pragma once

#include <string>

namespace gneiss::emulated_cuda {

// "gneiss::(anonymous namespace)::scale<float>(float*, int)", or the address where the program has no
// symbols. Kernels are mostly local to their file, so this reads the program's symbol table, once.
std::string kernel_name(const void* function);
// "scale"
std::string bare_name(const std::string& kernel_name);

}  // namespace gneiss::emulated_cuda
