// The machine and the build that a number was measured with.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace gneiss {

std::string describe_machine();  // in a line
// processor, system, cores, memory_limit, gneiss (version and build): all text.
nlohmann::json machine_json();

}  // namespace gneiss
