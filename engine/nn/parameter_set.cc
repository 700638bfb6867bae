#include "engine/nn/parameter_set.h"

#include <algorithm>
#include <vector>

#include "storage/base/random.h"

namespace gneiss {

namespace {

// A parameter may be as large as a model: what is made of it on the host is made in pieces.
constexpr std::size_t elements_a_piece = 256U << 10;

}  // namespace

void ParameterSet::allocate() {
  close();
  values_ = backend_->allocate(element_count());
  gradients_ = backend_->allocate(element_count());
  first_moments_ = backend_->allocate(element_count());
  second_moments_ = backend_->allocate(element_count());
}

void ParameterSet::initialize(std::uint64_t seed) {
  std::vector<float> host;
  for (std::size_t index = 0; index < parameters().size(); ++index) {
    const Parameter& parameter = parameters()[index];
    RandomStream draws(mix_key(seed, index));
    for (std::size_t first = 0; first < parameter.element_count(); first += elements_a_piece) {
      host.resize(std::min(elements_a_piece, parameter.element_count() - first));
      for (float& value : host) {
        value =
            static_cast<float>(parameter.first_center + (2 * draws.uniform() - 1) * parameter.first_bound);
      }
      write(parameter, host, first);
    }
  }
}

MatrixView ParameterSet::value(const Parameter& parameter) const {
  return {values_.data() + parameter.offset, parameter.rows, parameter.columns, parameter.stride};
}
MatrixView ParameterSet::gradient(const Parameter& parameter) const {
  return {gradients_.data() + parameter.offset, parameter.rows, parameter.columns, parameter.stride};
}
MatrixView ParameterSet::stacked_value(std::size_t group) const {
  const Group& g = this->group(group);
  return {values_.data() + g.offset, g.rows, g.columns};
}
MatrixView ParameterSet::stacked_gradient(std::size_t group) const {
  const Group& g = this->group(group);
  return {gradients_.data() + g.offset, g.rows, g.columns};
}

void ParameterSet::read(const Parameter& parameter, std::span<float> host, std::size_t first) const {
  for_each_part(parameter, first, host.size(), [&](std::size_t at, std::size_t count, std::size_t done) {
    backend_->copy_out(values_.data() + at, host.subspan(done, count));
  });
}

void ParameterSet::write(const Parameter& parameter, std::span<const float> host, std::size_t first) {
  for_each_part(parameter, first, host.size(), [&](std::size_t at, std::size_t count, std::size_t done) {
    backend_->copy_in(host.subspan(done, count), values_.data() + at);
  });
}

}  // namespace gneiss
