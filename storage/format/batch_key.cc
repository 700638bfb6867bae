#include "storage/format/batch_key.h"

#include <fmt/format.h>

namespace gneiss {

std::string_view name_of(Split split) noexcept {
  switch (split) {
    case Split::train:
      return "train";
    case Split::valid:
      return "valid";
    case Split::test:
      return "test";
  }
  return "unknown";
}

std::string to_string(const BatchKey& key) {
  std::string text = fmt::format("{} epoch {} batch {}", name_of(key.split), key.epoch, key.batch);
  if (key.worker != 0) text += fmt::format(" worker {}", key.worker);
  return text;
}

}  // namespace gneiss
