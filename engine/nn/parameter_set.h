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
#include <string>
#include <string_view>
#include <vector>

#include "engine/compute/backend.h"
#include "engine/compute/matrix_view.h"

namespace gneiss {

// How far from 0 a parameter starts: uniform within +- a bound.
enum class FirstValues : std::uint8_t {
  linear,  // 1 / sqrt(inputs): PyTorch's Linear, PyG's SAGEConv
  glorot,  // sqrt(6 / (inputs + outputs)): PyG's GCNConv
  zero,
  one,  // all of them
};

struct Parameter {
  std::string name;      // PyG's: "convs.0.lin_l.weight"
  std::size_t rows = 0;  // [rows, columns]; a bias is [1, columns], of one dimension outside
  std::size_t columns = 0;
  std::size_t offset = 0;  // of its first element in values()
  std::size_t stride = 0;
  double first_center = 0;
  double first_bound = 0;                    // no first value is further from the center
  std::vector<std::uint64_t> outer_shape{};  // how files show it; empty: as [rows, columns]
  bool is_trained = true;

  std::vector<std::uint64_t> shape() const;
  std::size_t element_count() const noexcept { return rows * columns; }
};

class ParameterSet {
 public:
  explicit ParameterSet(Backend& backend) : backend_(&backend) {}

  // Declares matrices that lie side by side in one of [rows, sum of columns]: returns the index of the
  // group for stacked_value(). Before allocate().
  struct Part {
    std::string name;
    std::size_t columns = 0;
  };
  std::size_t add_stacked(std::size_t rows, std::span<const Part> parts,
                          FirstValues first = FirstValues::linear);
  // `fan_in`: the inputs of its layer.
  std::size_t add_vector(std::string name, std::size_t columns, std::size_t fan_in,
                         FirstValues first = FirstValues::linear);
  // Declares parameters of equal shape that lie below each other, each a row of one matrix: attention's
  // vectors, a head's beside the next one's, are [1, heads, columns] outside. `fan_in`, `fan_out`: for the
  // first values.
  std::size_t add_rows(std::span<const std::string> names, const std::vector<std::uint64_t>& shape,
                       std::size_t fan_in, std::size_t fan_out, FirstValues first);
  // A vector that is not trained. After all that are.
  std::size_t add_state(std::string name, std::size_t columns, FirstValues first);
  void allocate();

  // Draws the first values: each is a function of (seed, parameter, element).
  void initialize(std::uint64_t seed);

  std::span<const Parameter> parameters() const noexcept { return parameters_; }
  const Parameter* find(std::string_view name) const noexcept;  // nullptr when there is none
  std::size_t element_count() const noexcept { return element_count_; }
  std::size_t trained_count() const noexcept { return trained_count_; }  // of elements: the first ones

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

  // Copies one parameter between the device and dense host memory of element_count() floats.
  void read(const Parameter& parameter, std::span<float> host) const;
  void write(const Parameter& parameter, std::span<const float> host);

  Backend& backend() const noexcept { return *backend_; }

 private:
  struct Group {
    std::size_t offset = 0;
    std::size_t rows = 0;
    std::size_t columns = 0;
  };
  Backend* backend_;
  std::vector<Parameter> parameters_;
  std::vector<Group> groups_;
  std::size_t element_count_ = 0;
  std::size_t trained_count_ = 0;
  Buffer values_;
  Buffer gradients_;
  Buffer first_moments_;
  Buffer second_moments_;
};

}  // namespace gneiss
