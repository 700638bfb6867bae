#include "storage/import/graph_writer.h"

#include <vector>

#include "storage/format/section_file.h"
#include "storage/io/scratch_file.h"

namespace gneiss {

std::uint64_t write_graph(CscBuilder& builder, const std::filesystem::path& path, std::uint64_t memory_bytes,
                          DegreeCounter& degrees) {
  SectionWriter writer(path, graph_magic);
  // Offsets and sources come together but are sections of their own: the smaller one waits in a scratch file.
  ScratchFile scratch(path.parent_path(), memory_bytes / 8);
  std::vector<ScratchPiece> offsets;
  writer.begin({.kind = SectionKind::csc_indices,
                .dtype = Dtype::u32,
                .checksum_block_bytes = graph_checksum_block_bytes});
  const std::uint64_t edge_count = builder.finish({
      .indptr =
          [&](std::span<const std::uint64_t> values) {
            offsets.push_back(scratch.append(std::as_bytes(values)));
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
  std::vector<std::byte> values;
  for (const ScratchPiece& piece : offsets) {
    values.resize(piece.bytes);
    scratch.read(piece, values);
    writer.append(values);
  }
  writer.end();
  writer.finish();
  return edge_count;
}

}  // namespace gneiss
