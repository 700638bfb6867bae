#include "engine/train/checkpoint.h"

#include <cstring>
#include <functional>

#include "storage/base/error.h"

namespace gneiss {
namespace {

// Says that the file is ours, and so has a checksum: two names, for one of them may be what is damaged.
constexpr const char* writer_key = "written_by";
constexpr const char* writer = "gneiss";

// Elements of a parameter, dense from `first` on.
using ReadElements = std::function<void(const Parameter&, std::size_t first, std::span<float>)>;

void write(const std::filesystem::path& path, const ParameterList& parameters, const ReadElements& read,
           const CheckpointFacts& facts) {
  std::vector<TensorSource> tensors;
  for (const Parameter& parameter : parameters.parameters()) {
    tensors.push_back({.name = parameter.name,
                       .dtype = Dtype::f32,
                       .shape = parameter.shape(),
                       .copy = [&parameter, &read](std::uint64_t first_byte, std::span<std::byte> piece) {
                         read(parameter, first_byte / sizeof(float), floats_of(piece));
                       }});
  }
  TensorMetadata metadata{{"format", "pt"}, {"epoch", std::to_string(facts.epoch)}, {writer_key, writer}};
  if (facts.valid_score) {
    metadata[fmt::format("valid_{}", name_of(facts.metric))] = fmt::format("{:.6f}", *facts.valid_score);
  }
  write_checked_safetensors(path, tensors, metadata);
}

void expect_checksum(const SafetensorsFile& file, const std::string& found,
                     const std::filesystem::path& path) {
  const auto sum = file.metadata().find(checksum_key);
  const bool has_sum = sum != file.metadata().end();
  if (!has_sum && !file.metadata().contains(writer_key)) return;
  if (has_sum && sum->second == found) return;
  fail(Kind::corruption, "{}: its checksum does not fit; take another checkpoint, or train again",
       path.string());
}

}  // namespace

void write_checkpoint(const std::filesystem::path& path, const ParameterSet& parameters,
                      const CheckpointFacts& facts) {
  write(
      path, parameters,
      [&](const Parameter& parameter, std::size_t first, std::span<float> target) {
        parameters.read(parameter, target, first);
      },
      facts);
}

void write_checkpoint(const std::filesystem::path& path, const ParameterList& parameters,
                      std::span<const float> values, const CheckpointFacts& facts) {
  GNEISS_ASSERT(values.size() == parameters.element_count());
  write(
      path, parameters,
      [&](const Parameter& parameter, std::size_t first, std::span<float> target) {
        for_each_part(parameter, first, target.size(),
                      [&](std::size_t at, std::size_t count, std::size_t done) {
                        std::ranges::copy(values.subspan(at, count), target.begin() + done);
                      });
      },
      facts);
}

SafetensorsFile open_checkpoint(const std::filesystem::path& path) {
  SafetensorsFile file = SafetensorsFile::open(path);
  expect_checksum(file, file.stream(), path);
  return file;
}

void read_checkpoint(const std::filesystem::path& path, ParameterSet& parameters) {
  const SafetensorsFile file = open_checkpoint(path);
  for (const Parameter& parameter : parameters.parameters()) {
    file.require(parameter.name, Dtype::f32, parameter.shape());
  }
  // The drive may give other bytes than before.
  const std::string sum = file.stream(
      [&](const StoredTensor& tensor, std::uint64_t first_byte, std::span<const std::byte> piece) {
        const Parameter* parameter = parameters.find(tensor.name);
        if (parameter == nullptr) return;
        parameters.write(*parameter, floats_of(piece), first_byte / sizeof(float));
      });
  expect_checksum(file, sum, path);
}

}  // namespace gneiss
