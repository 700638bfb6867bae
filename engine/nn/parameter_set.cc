#include "engine/nn/parameter_set.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "storage/base/random.h"

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

std::size_t ParameterSet::add_stacked(std::size_t rows, std::span<const Part> parts, FirstValues first) {
  GNEISS_ASSERT(values_.size() == 0 && trained_count_ == element_count_);
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

std::size_t ParameterSet::add_vector(std::string name, std::size_t columns, std::size_t fan_in,
                                     FirstValues first) {
  const std::array<std::string, 1> names{std::move(name)};
  return add_rows(names, {columns}, fan_in, columns, first);
}

std::size_t ParameterSet::add_rows(std::span<const std::string> names,
                                   const std::vector<std::uint64_t>& shape, std::size_t fan_in,
                                   std::size_t fan_out, FirstValues first) {
  GNEISS_ASSERT(values_.size() == 0 && trained_count_ == element_count_);
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

std::size_t ParameterSet::add_state(std::string name, std::size_t columns, FirstValues first) {
  const std::size_t trained = trained_count_;
  trained_count_ = element_count_;  // states may follow states
  const std::size_t group = add_vector(std::move(name), columns, 1, first);
  parameters_.back().is_trained = false;
  trained_count_ = trained;
  return group;
}

void ParameterSet::allocate() {
  values_ = backend_->allocate(element_count_);
  gradients_ = backend_->allocate(element_count_);
  first_moments_ = backend_->allocate(element_count_);
  second_moments_ = backend_->allocate(element_count_);
}

void ParameterSet::initialize(std::uint64_t seed) {
  std::vector<float> host;
  for (std::size_t index = 0; index < parameters_.size(); ++index) {
    const Parameter& parameter = parameters_[index];
    RandomStream draws(mix_key(seed, index));
    host.resize(parameter.element_count());
    for (float& value : host) {
      value = static_cast<float>(parameter.first_center + (2 * draws.uniform() - 1) * parameter.first_bound);
    }
    write(parameter, host);
  }
}

const Parameter* ParameterSet::find(std::string_view name) const noexcept {
  const auto found = std::ranges::find(parameters_, name, &Parameter::name);
  return found == parameters_.end() ? nullptr : &*found;
}

MatrixView ParameterSet::value(const Parameter& parameter) const {
  return {values_.data() + parameter.offset, parameter.rows, parameter.columns, parameter.stride};
}
MatrixView ParameterSet::gradient(const Parameter& parameter) const {
  return {gradients_.data() + parameter.offset, parameter.rows, parameter.columns, parameter.stride};
}
MatrixView ParameterSet::stacked_value(std::size_t group) const {
  const Group& g = groups_[group];
  return {values_.data() + g.offset, g.rows, g.columns};
}
MatrixView ParameterSet::stacked_gradient(std::size_t group) const {
  const Group& g = groups_[group];
  return {gradients_.data() + g.offset, g.rows, g.columns};
}

void ParameterSet::read(const Parameter& parameter, std::span<float> host) const {
  GNEISS_ASSERT(host.size() == parameter.element_count());
  const MatrixView view = value(parameter);
  for (std::size_t row = 0; row < parameter.rows; ++row) {
    backend_->copy_out(view.row(row), host.subspan(row * parameter.columns, parameter.columns));
  }
}

void ParameterSet::write(const Parameter& parameter, std::span<const float> host) {
  GNEISS_ASSERT(host.size() == parameter.element_count());
  const MatrixView view = value(parameter);
  for (std::size_t row = 0; row < parameter.rows; ++row) {
    backend_->copy_in(host.subspan(row * parameter.columns, parameter.columns), view.row(row));
  }
}

}  // namespace gneiss
