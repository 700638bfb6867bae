#include "engine/nn/parameter_list.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace gneiss {

std::vector<std::uint64_t> Parameter::shape() const {
  if (!outer_shape.empty()) return outer_shape;
  return {rows, columns};
}

namespace {

double first_bound(FirstValues first, std::size_t inputs, std::size_t outputs) {
  const auto of = [](std::size_t count) { return static_cast<double>(std::max<std::size_t>(count, 1)); };
  switch (first) {
    case FirstValues::linear:
      return 1.0 / std::sqrt(of(inputs));
    case FirstValues::glorot:
      return std::sqrt(6.0 / of(inputs + outputs));
    case FirstValues::zero:
    case FirstValues::one:
      return 0.0;
  }
  return 0.0;
}

}  // namespace

std::size_t ParameterList::add_stacked(std::size_t rows, std::span<const Part> parts, FirstValues first) {
  GNEISS_ASSERT(!is_closed_ && trained_count_ == element_count_);
  std::size_t stride = 0;
  for (const Part& part : parts) stride += part.columns;
  std::size_t column = 0;
  for (const Part& part : parts) {
    parameters_.push_back({.name = part.name,
                           .rows = rows,
                           .columns = part.columns,
                           .offset = element_count_ + column,
                           .stride = stride,
                           .first_bound = first_bound(first, part.columns, rows)});
    column += part.columns;
  }
  groups_.push_back({element_count_, rows, stride});
  element_count_ += rows * stride;
  trained_count_ = element_count_;
  return groups_.size() - 1;
}

std::size_t ParameterList::add_vector(std::string name, std::size_t columns, std::size_t fan_in,
                                      FirstValues first) {
  const std::array<std::string, 1> names{std::move(name)};
  return add_rows(names, {columns}, fan_in, columns, first);
}

std::size_t ParameterList::add_rows(std::span<const std::string> names,
                                    const std::vector<std::uint64_t>& shape, std::size_t fan_in,
                                    std::size_t fan_out, FirstValues first) {
  GNEISS_ASSERT(!is_closed_ && trained_count_ == element_count_);
  std::size_t columns = 1;
  for (const std::uint64_t extent : shape) columns *= extent;
  groups_.push_back({element_count_, names.size(), columns});
  for (const std::string& name : names) {
    parameters_.push_back({.name = name,
                           .rows = 1,
                           .columns = columns,
                           .offset = element_count_,
                           .stride = columns,
                           .first_center = first == FirstValues::one ? 1.0 : 0.0,
                           .first_bound = first_bound(first, fan_in, fan_out),
                           .outer_shape = shape});
    element_count_ += columns;
  }
  trained_count_ = element_count_;
  return groups_.size() - 1;
}

std::size_t ParameterList::add_state(std::string name, std::size_t columns, FirstValues first) {
  const std::size_t trained = trained_count_;
  trained_count_ = element_count_;  // states may follow states
  const std::size_t group = add_vector(std::move(name), columns, 1, first);
  parameters_.back().is_trained = false;
  trained_count_ = trained;
  return group;
}

const Parameter* ParameterList::find(std::string_view name) const noexcept {
  const auto found = std::ranges::find(parameters_, name, &Parameter::name);
  return found == parameters_.end() ? nullptr : &*found;
}

}  // namespace gneiss
