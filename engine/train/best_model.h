// The parameters of the best epoch so far, in memory and, if wanted, on disk.
//
// Memory: one more copy of all parameters, in the host's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "engine/nn/parameter_set.h"
#include "engine/train/checkpoint.h"

namespace gneiss {

class BestModel {
 public:
  // Of host memory.
  static std::uint64_t bytes(std::uint64_t parameter_count) { return parameter_count * sizeof(float); }

  BestModel(ParameterSet& parameters, std::filesystem::path path, Metric metric)
      : parameters_(parameters),
        path_(std::move(path)),
        metric_(metric),
        values_(parameters.element_count()) {}

  void keep(std::uint32_t epoch, std::optional<double> valid_score) {
    Backend& backend = parameters_.backend();
    backend.copy_out(parameters_.values().data(), values_);
    write(epoch, valid_score);
  }
  void restore() { parameters_.backend().copy_in(values_, parameters_.values().data()); }
  std::span<float> values() noexcept { return values_; }

  // Takes as best what a state brought into values(); writes it, for the kill may have come before that.
  void take_over(std::uint32_t epoch, std::optional<double> valid_score) { write(epoch, valid_score); }

 private:
  void write(std::uint32_t epoch, std::optional<double> valid_score) const {
    if (path_.empty()) return;
    write_checkpoint(path_, parameters_, values_,
                     {.epoch = epoch, .metric = metric_, .valid_score = valid_score});
  }

  ParameterSet& parameters_;
  std::filesystem::path path_;
  Metric metric_;
  std::vector<float> values_;
};

}  // namespace gneiss
