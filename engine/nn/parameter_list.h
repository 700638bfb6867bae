// The parameters that a model declares: names, shapes and where each lies, without memory.
//
// Why: what a model will take, and whether a file holds its parameters, is known from its options alone,
//      before anything is taken.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "storage/base/error.h"

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
  std::size_t offset = 0;  // of its first element among all
  std::size_t stride = 0;
  double first_center = 0;
  double first_bound = 0;                    // no first value is further from the center
  std::vector<std::uint64_t> outer_shape{};  // how files show it; empty: as [rows, columns]
  bool is_trained = true;

  std::vector<std::uint64_t> shape() const;
  std::size_t element_count() const noexcept { return rows * columns; }
};

// What a linear layer declares: indices of groups.
struct LinearGroups {
  std::size_t weight = 0;
  std::size_t bias = 0;
};

class ParameterList {
 public:
  // Declares matrices that lie side by side in one of [rows, sum of columns]: returns the index of the group.
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

  std::span<const Parameter> parameters() const noexcept { return parameters_; }
  const Parameter* find(std::string_view name) const noexcept;  // nullptr when there is none
  std::size_t element_count() const noexcept { return element_count_; }
  std::size_t trained_count() const noexcept { return trained_count_; }  // of elements: the first ones

 protected:
  struct Group {
    std::size_t offset = 0;
    std::size_t rows = 0;
    std::size_t columns = 0;
  };
  const Group& group(std::size_t index) const { return groups_[index]; }
  void close() noexcept { is_closed_ = true; }  // nothing is declared any more

 private:
  std::vector<Parameter> parameters_;
  std::vector<Group> groups_;
  std::size_t element_count_ = 0;
  std::size_t trained_count_ = 0;
  bool is_closed_ = false;
};

// Elements [first, first + count) of a dense parameter, as they lie among all: visit(place, elements, those
// before them).
template <class Visit>
void for_each_part(const Parameter& parameter, std::size_t first, std::size_t count, const Visit& visit) {
  GNEISS_ASSERT(first <= parameter.element_count() && count <= parameter.element_count() - first);
  // Rows without a gap between them are one.
  const std::size_t columns =
      parameter.stride == parameter.columns ? parameter.element_count() : parameter.columns;
  for (std::size_t done = 0; done < count;) {
    const std::size_t row = (first + done) / columns;
    const std::size_t column = (first + done) % columns;
    const std::size_t part = std::min(columns - column, count - done);
    visit(parameter.offset + row * parameter.stride + column, part, done);
    done += part;
  }
}

}  // namespace gneiss
