// The rows of a tier's image, read once, in order, with their checksums verified.
//
// Memory: piece by piece past the page cache, so that it never holds a second copy.
// Errors: io, corruption (naming the file and the place of the damage).
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "storage/format/section_file.h"

namespace gneiss {

// Into memory.
//   rows  of all the image's bytes, or more
void sweep_image(const SectionFile& image, std::span<std::byte> rows);

// Through a buffer of one piece of 8 MiB: for memory that the host cannot write.
//   take  gets each piece, and at which byte of the rows it begins; not kept beyond the call
using TakeTierBytes = std::function<void(std::uint64_t offset, std::span<const std::byte> bytes)>;
void sweep_image(const SectionFile& image, const TakeTierBytes& take);

// From one row of an image to the next.
std::uint64_t image_row_bytes(const SectionFile& image);

}  // namespace gneiss
