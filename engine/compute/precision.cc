#include "engine/compute/precision.h"

#include "storage/base/error.h"

namespace gneiss {

std::string_view name_of(Precision precision) noexcept {
  switch (precision) {
    case Precision::tf32:
      return "tf32";
    case Precision::bf16:
      return "bf16";
    default:
      return "f32";
  }
}

Precision parse_precision(std::string_view name) {
  for (const Precision precision : {Precision::f32, Precision::tf32, Precision::bf16}) {
    if (name == name_of(precision)) return precision;
  }
  fail(Kind::config, "there is no precision '{}'; use f32, tf32 or bf16", name);
}

}  // namespace gneiss
