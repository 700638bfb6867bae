// Makes the checksums of files and frames of sections right again after their bytes were changed.
//
// What an offset or a length says of the file is believed only where it lies within it; all else stays as
// wrong as it is.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace gneiss::test {

// Size, section checksums and header checksum of a file or a frame.
void seal_sections(std::span<std::byte> file);
// The same of samples.zst, the compressed frames' checksums in its index first.
void seal_pool(std::span<std::byte> file);
// The same of pack.bin, the trailers of its batches' own segments first.
void seal_pack(std::span<std::byte> file);
// The header, each entry of the table, and each section.
std::vector<std::span<std::byte>> parts_of_sections(std::span<std::byte> file);

}  // namespace gneiss::test
