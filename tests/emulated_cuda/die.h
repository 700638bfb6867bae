// The emulator's last words: what a device would make of the mistake is undefined.
#pragma once

#include <string_view>

namespace gneiss::emulated_cuda {

// Prints "emulated CUDA: MESSAGE", with the kernel, the block and the thread that run, if one does; aborts.
[[noreturn]] void die(std::string_view message);

}  // namespace gneiss::emulated_cuda
