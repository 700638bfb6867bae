// Weights from anywhere.
#include "engine/train/safetensors.h"

#include "storage/io/file.h"
#include "tests/fuzz/fuzz_target.h"

namespace gneiss::test {
namespace {

std::vector<std::string> seeds() {
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  const auto bytes = std::as_bytes(std::span(values));
  const std::vector<NamedTensor> tensors{
      {.name = "convs.0.lin_l.weight", .dtype = Dtype::f32, .shape = {2, 2}, .bytes = bytes.first(16)},
      {.name = "convs.0.lin_l.bias", .dtype = Dtype::bf16, .shape = {4}, .bytes = bytes.last(8)},
      {.name = "empty", .dtype = Dtype::u8, .shape = {0, 7}, .bytes = {}}};
  std::vector<std::string> files;
  const std::filesystem::path path = fuzz_folder() / "t.safetensors";
  write_safetensors(path, tensors, {{"format", "pt"}});
  files.push_back(read_text_file(path));
  write_safetensors(path, {});
  files.push_back(read_text_file(path));
  files.push_back(std::string("\x08\0\0\0\0\0\0\0[[[[[[[[", 16));
  return files;
}

void run(std::string_view input) {
  const MemoryFile memory(input);
  const SafetensorsFile file = SafetensorsFile::open(memory.path());
  std::uint64_t sum = 0;
  for (const NamedTensor& tensor : file.tensors()) {
    for (const std::byte byte : tensor.bytes) sum += std::to_integer<std::uint64_t>(byte);
    static_cast<void>(file.require(tensor.name, tensor.dtype, tensor.shape));
  }
  static_cast<void>(sum);
}

}  // namespace

const FuzzTarget safetensors_target{.name = "safetensors", .seeds = seeds, .run = run};

}  // namespace gneiss::test
