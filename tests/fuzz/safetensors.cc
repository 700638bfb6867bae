// Weights from anywhere.
#include "engine/train/safetensors.h"

#include "storage/io/file.h"
#include "tests/fuzz/fuzz_target.h"

namespace gneiss::test {
namespace {

std::vector<std::string> seeds() {
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  const auto bytes = std::as_bytes(std::span(values));
  const std::vector<TensorSource> tensors{
      tensor_of("convs.0.lin_l.weight", Dtype::f32, {2, 2}, bytes.first(16)),
      tensor_of("convs.0.lin_l.bias", Dtype::bf16, {4}, bytes.last(8)),
      tensor_of("empty", Dtype::u8, {0, 7}, {})};
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
  for (const StoredTensor& tensor : file.tensors()) {
    static_cast<void>(file.require(tensor.name, tensor.dtype, tensor.shape));
  }
  file.stream([&](const StoredTensor&, std::uint64_t, std::span<const std::byte> piece) {
    for (const std::byte byte : piece) sum += std::to_integer<std::uint64_t>(byte);
  });
  static_cast<void>(sum);
}

}  // namespace

const FuzzTarget safetensors_target{.name = "safetensors", .seeds = seeds, .run = run};

}  // namespace gneiss::test
