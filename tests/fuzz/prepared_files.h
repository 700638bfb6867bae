// A small dataset with three preparations ("own", "belady", "shared") and their files, to be changed and put
// back.
#pragma once

#include <array>
#include <filesystem>

#include "storage/format/preparation.h"

namespace gneiss::test {

inline constexpr std::array<const char*, 3> preparation_kinds{"own", "belady", "shared"};
inline constexpr std::array<const char*, 4> preparation_files{pool_file_name, pack_file_name,
                                                              cpu_tier_file_name, gpu_tier_file_name};

PreparationOptions fuzz_preparation_options();
// A dataset of 200 nodes at `folder`, in place of an older one.
void write_fuzz_dataset(const std::filesystem::path& folder);
// Prepares it as preparation_kinds. Batches of "shared" share rows: its budget is less than "own" takes.
void prepare_fuzz_dataset(const std::filesystem::path& folder);
// So few bytes that batches must share rows.
std::uint64_t sharing_budget(const std::filesystem::path& folder);

}  // namespace gneiss::test
