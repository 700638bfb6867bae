// Streams a section in order through direct reads, and checks it against its checksums on the way.
//
// Errors: io, corruption. A section with one checksum for all is known to be right when its last byte is
// read.
#pragma once

#include "storage/format/section_file.h"
#include "storage/io/sequential_reader.h"

namespace gneiss {

class Progress;

//   file   outlives the reader
//   ahead  a piece is at least the section's checksum block, of which it becomes a multiple
SequentialReader stream_section(const SectionFile& file, const SectionEntry& entry, ReadAhead ahead);

// Reads all sections of a file that carry checksums, at the drive's speed and past the page cache, which may
// hold what the drive does not. Advances `progress`, if there is one, by bytes. Throws Error(corruption) with
// the place of the damage, Error(cancelled) when interrupted.
void verify_sections(const SectionFile& file, Progress* progress);

}  // namespace gneiss
