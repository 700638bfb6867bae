#include "engine/compute/activation.h"

#include "storage/base/error.h"

namespace gneiss {

std::string_view name_of(Activation activation) noexcept {
  switch (activation) {
    case Activation::relu:
      return "relu";
    case Activation::leaky_relu:
      return "leaky_relu";
    case Activation::elu:
      return "elu";
    case Activation::tanh:
      return "tanh";
    default:
      return "none";
  }
}

Activation parse_activation(std::string_view name) {
  for (const Activation activation :
       {Activation::none, Activation::relu, Activation::leaky_relu, Activation::elu, Activation::tanh}) {
    if (name == name_of(activation)) return activation;
  }
  fail(Kind::config, "there is no activation '{}'; use relu, leaky_relu, elu, tanh or none", name);
}

}  // namespace gneiss
