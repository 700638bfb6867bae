#include "storage/import/graph_writer.h"

#include "storage/base/aligned_buffer.h"
#include "storage/format/section_file.h"

namespace gneiss {

std::uint64_t write_graph(CscBuilder& builder, const std::filesystem::path& path, std::uint64_t memory_bytes,
                          DegreeCounter& degrees) {
  SectionWriter writer(path, graph_magic);
  // Offsets and sources come together but are sections of their own: the smaller one waits in a scratch file.
  ScratchFile offsets(path.parent_path(), memory_bytes / 8);
  writer.begin({.kind = SectionKind::csc_indices,
                .dtype = Dtype::u32,
                .checksum_block_bytes = graph_checksum_block_bytes});
  const std::uint64_t edge_count = builder.finish({
      .indptr =
          [&](std::span<const std::uint64_t> values) {
            offsets.append(std::as_bytes(values));
            degrees.add_offsets(values);
          },
      .indices =
          [&](std::span<const std::uint32_t> values) {
            writer.append_values(values);
            degrees.add_sources(values);
          },
  });
  writer.end();
  writer.begin({.kind = SectionKind::csc_indptr,
                .dtype = Dtype::u64,
                .checksum_block_bytes = graph_checksum_block_bytes});
  AlignedBuffer piece(1U << 20);
  for (std::uint64_t at = 0; at < offsets.bytes_written(); at += piece.size()) {
    const auto part =
        piece.bytes().first(std::min<std::uint64_t>(piece.size(), offsets.bytes_written() - at));
    offsets.read_at(at, part);
    writer.append(part);
  }
  writer.end();
  writer.finish();
  return edge_count;
}

}  // namespace gneiss
