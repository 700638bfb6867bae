#include "engine/train/checkpoint.h"

#include <cstring>

#include "engine/train/safetensors.h"

namespace gneiss {

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
  std::map<std::string, std::string> metadata{{"format", "pt"}, {"epoch", std::to_string(epoch)}};
  if (valid_score) metadata[fmt::format("valid_{}", name_of(metric))] = fmt::format("{:.6f}", *valid_score);
  write_safetensors(path, tensors, metadata);
}

void read_checkpoint(const std::filesystem::path& path, ParameterSet& parameters) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  for (const Parameter& parameter : parameters.parameters()) {
    const NamedTensor& tensor = file.require(parameter.name, Dtype::f32, parameter.shape());
    std::vector<float> values(parameter.element_count());
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    parameters.write(parameter, values);
  }
}

}  // namespace gneiss
