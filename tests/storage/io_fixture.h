// Files of known content and random reads of them, shared by the tests of the read engines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "storage/io/io_engine.h"
#include "tests/support/temporary_folder.h"

namespace gneiss::test {

bool has_io_uring();

std::vector<std::byte> write_random_file(const std::filesystem::path& path, std::size_t bytes,
                                         std::uint64_t seed);

struct RandomReads {
  std::size_t count = 0;
  std::uint64_t seed = 0;
};

// Keeps the queue as full as chance has it and checks each completed range against `content`.
// Returns how many completed with an error; those are not compared.
std::size_t read_random_ranges(IoEngine& engine, FileId file, const std::vector<std::byte>& content,
                               RandomReads reads);

}  // namespace gneiss::test
