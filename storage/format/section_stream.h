// Streams a section in order through direct reads, and checks it against its checksums on the way.
//
// Errors: io, corruption. A section with one checksum for all is known to be right when its last byte is
// read.
#pragma once

#include "storage/format/section_file.h"
#include "storage/io/sequential_reader.h"

namespace gneiss {

//   file   outlives the reader
//   ahead  a piece is at least the section's checksum block, of which it becomes a multiple
SequentialReader stream_section(const SectionFile& file, const SectionEntry& entry, ReadAhead ahead);

}  // namespace gneiss
