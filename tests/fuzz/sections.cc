// Files of sections: graph.csc, features.bin, labels.bin, cpu.bin, and whatever else begins like one.
#include <cstring>

#include "storage/format/dataset.h"
#include "storage/format/section_stream.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/seal.h"
#include "tests/support/small_dataset.h"

namespace gneiss::test {
namespace {

std::vector<std::string> seeds() {
  const std::filesystem::path folder = fuzz_folder() / "sections";
  std::filesystem::remove_all(folder);
  write_small_dataset(folder, {.nodes = 20, .edges = 60, .dim = 3, .train = 5, .valid = 2, .test = 2});
  std::vector<std::string> files;
  for (const char* name : {graph_file_name, features_file_name, labels_file_name})
    files.push_back(read_text_file(folder / name));
  SectionWriter blocks(folder / "blocks", labels_magic);
  blocks.write<std::byte>(
      {.kind = SectionKind::label_columns, .dtype = Dtype::u8, .checksum_block_bytes = 512},
      std::vector<std::byte>(1300, std::byte{1}));
  blocks.finish();
  files.push_back(read_text_file(folder / "blocks"));
  return files;
}

void stream(const SectionFile& file, const SectionEntry& entry) {
  SequentialReader reader = stream_section(file, entry, {.piece_bytes = 4096, .pieces = 2});
  std::vector<std::byte> piece(1000);
  while (reader.left() > 0)
    reader.read(std::span(piece).first(std::min<std::uint64_t>(reader.left(), piece.size())));
}

void run(std::string_view input) {
  Magic magic{};
  std::memcpy(magic.data(), input.data(), std::min(input.size(), magic.size()));
  const MemoryFile memory(input);
  const SectionFile file(memory.path(), magic, [](SectionKind) { return true; });
  attempt([&] { verify_sections(file, nullptr); });
  for (const SectionEntry& entry : file.table().entries) {
    attempt([&] { file.read_section(entry); });
    attempt([&] { stream(file, entry); });
  }
}

}  // namespace

const FuzzTarget sections_target{
    .name = "sections", .seeds = seeds, .run = run, .seal = seal_sections, .parts = parts_of_sections};

}  // namespace gneiss::test
