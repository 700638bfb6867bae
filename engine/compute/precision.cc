#include "engine/compute/precision.h"

#include "storage/base/error.h"

namespace gneiss {

std::string_view name_of(Precision precision) noexcept {
  return precision == Precision::bf16 ? "bf16" : "f32";
}

Precision parse_precision(std::string_view name) {
  if (name == "f32") return Precision::f32;
  if (name == "bf16") return Precision::bf16;
  fail(Kind::config, "there is no precision '{}'; use f32 or bf16", name);
}

}  // namespace gneiss
