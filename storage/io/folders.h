// Folders that survive a power cut: a name is durable only once the folder that holds it was synced.
#pragma once

#include <filesystem>
#include <vector>

namespace gneiss {

// Makes the folder and those above it that are missing, durably. Throws Error(io).
void make_folders(const std::filesystem::path& folder);

// All that lies in the folder, in any order. Throws Error(io).
std::vector<std::filesystem::path> entries_of(const std::filesystem::path& folder);

// Throws Error(config) when `path` is a link: what is written or removed below it would be someone else's.
void refuse_link(const std::filesystem::path& path);

}  // namespace gneiss
