// The named parameters of a model: values, gradients and the optimizer's moments, each contiguous.
//
// Why:    an optimizer, a checkpoint and a wrapper in another language need names and memory, not models.
// State:  what a model keeps and no optimizer steps over, such as batch norm's running statistics, is a
//         parameter that is not trained: saved, restored and kept with the best epoch as the others are,
//         and behind them in memory.
// Memory: taken once by allocate(), on the backend's device. A parameter may be some columns of a wider
//         matrix (lin_l and lin_r of SAGE are one product): its view then has a stride.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/compute/backend.h"
#include "engine/compute/matrix_view.h"
#include "engine/nn/parameter_list.h"

namespace gneiss {

class ParameterSet : public ParameterList {
 public:
  explicit ParameterSet(Backend& backend) : backend_(&backend) {}

  // After all are declared.
  void allocate();

  // Draws the first values: each is a function of (seed, parameter, element).
  void initialize(std::uint64_t seed);

  MatrixView value(const Parameter& parameter) const;
  MatrixView gradient(const Parameter& parameter) const;
  MatrixView stacked_value(std::size_t group) const;  // what add_stacked or add_vector declared, whole
  MatrixView stacked_gradient(std::size_t group) const;

  // All of them, in the order of declaration: what a resume restores, and, trained_count() of them, what an
  // optimizer steps over.
  std::span<float> values() const noexcept { return values_.span(); }
  std::span<float> gradients() const noexcept { return gradients_.span(); }
  std::span<float> first_moments() const noexcept { return first_moments_.span(); }
  std::span<float> second_moments() const noexcept { return second_moments_.span(); }

  // Copies elements of one parameter, dense from `first` on, between the device and host memory.
  void read(const Parameter& parameter, std::span<float> host, std::size_t first = 0) const;
  void write(const Parameter& parameter, std::span<const float> host, std::size_t first = 0);

  Backend& backend() const noexcept { return *backend_; }

 private:
  Backend* backend_;
  Buffer values_;
  Buffer gradients_;
  Buffer first_moments_;
  Buffer second_moments_;
};

}  // namespace gneiss
