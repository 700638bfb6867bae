// How much memory this process may take, and how much it took.
#pragma once

#include <cstdint>
#include <string>

namespace gneiss {

// The smaller of 75 % of the memory the system calls available and the control group's limit (v1 and v2)
// less 32 MiB for the program itself: the default of --memory.
std::uint64_t default_memory_budget();

// The limit of the control group this process is in, or the system's memory where there is none.
//   root  below which /proc and /sys lie: a test's folder, or nothing
std::uint64_t control_group_limit(const std::string& root = "");

std::uint64_t peak_resident_bytes();  // VmHWM

// For main(): buffers of 1 MiB and more that are freed go back to the system at once. glibc by itself keeps
// them on its heaps, among blocks still in use, once it has seen a few: a program that plans its memory then
// holds the last step's buffers beside the next one's.
void keep_no_freed_buffers();
// Gives back what smaller blocks, freed by now, took: after a step that made many, before one that plans with
// their memory.
void give_back_freed_memory();

}  // namespace gneiss
