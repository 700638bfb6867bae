// What the catalog keeps of a file, to tell it from another of its name.
#pragma once

#include <nlohmann/json.hpp>

#include "storage/format/section_file.h"

namespace gneiss {

inline nlohmann::json describe_file(const SectionFile& file) {
  return {{"bytes", file.file_bytes()}, {"fingerprint", file.fingerprint()}};
}

}  // namespace gneiss
