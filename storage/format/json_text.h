// JSON of a file or of the catalog, from whoever wrote it.
//
// Why: what copies, compares and prints JSON descends as deep as it is nested: a megabyte of brackets would
//      end the program.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace gneiss {

// The discarded value where `text` is not JSON, or nests deeper than 64 levels: ours has 5 at most.
nlohmann::json parse_json(std::string_view text);

}  // namespace gneiss
