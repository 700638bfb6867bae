#include "engine/train/checkpoint.h"

#include <cstring>

#include "storage/base/error.h"

namespace gneiss {
namespace {

// Says that the file is ours, and so has a checksum: two names, for one of them may be what is damaged.
constexpr const char* writer_key = "written_by";
constexpr const char* writer = "gneiss";

}  // namespace

void write_checkpoint(const std::filesystem::path& path, const ParameterSet& parameters, std::uint32_t epoch,
                      Metric metric, std::optional<double> valid_score) {
  std::vector<std::vector<float>> values;
  std::vector<NamedTensor> tensors;
  for (const Parameter& parameter : parameters.parameters()) {
    values.emplace_back(parameter.element_count());
    parameters.read(parameter, values.back());
    tensors.push_back({.name = parameter.name,
                       .dtype = Dtype::f32,
                       .shape = parameter.shape(),
                       .bytes = std::as_bytes(std::span<const float>(values.back()))});
  }
  std::map<std::string, std::string> metadata{
      {"format", "pt"}, {"epoch", std::to_string(epoch)}, {writer_key, writer}};
  if (valid_score) metadata[fmt::format("valid_{}", name_of(metric))] = fmt::format("{:.6f}", *valid_score);
  metadata[checksum_key] = content_checksum(tensors, metadata);
  write_safetensors(path, tensors, metadata);
}

SafetensorsFile open_checkpoint(const std::filesystem::path& path) {
  SafetensorsFile file = SafetensorsFile::open(path);
  const auto sum = file.metadata().find(checksum_key);
  const bool has_sum = sum != file.metadata().end();
  if (!has_sum && !file.metadata().contains(writer_key)) return file;
  if (!has_sum || sum->second != content_checksum(file.tensors(), file.metadata())) {
    fail(Kind::corruption, "{}: its checksum does not fit; take another checkpoint, or train again",
         path.string());
  }
  return file;
}

void read_checkpoint(const std::filesystem::path& path, ParameterSet& parameters) {
  const SafetensorsFile file = open_checkpoint(path);
  for (const Parameter& parameter : parameters.parameters()) {
    const NamedTensor& tensor = file.require(parameter.name, Dtype::f32, parameter.shape());
    std::vector<float> values(parameter.element_count());
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    parameters.write(parameter, values);
  }
}

}  // namespace gneiss
