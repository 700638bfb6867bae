// Checksums in text that people read too: a run's config.yaml and its metrics.jsonl.
//
// Why:    what is read back, by infer and by a run that goes on, must not be other numbers than were
//         written.
// Format: storage/FORMAT.md, "Texts of a run".
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace gneiss {

// The text below a comment line with its checksum.
std::string with_checksum_line(std::string_view text);
// Throws Error(corruption) that names the file when its text has such a line and is another. Without one it
// is a person's.
void check_checksum_line(std::string_view text, const std::string& file);

// The object with its checksum, as one line.
std::string checked_line(nlohmann::json object);
// Takes the checksum out of the object. False when there was one and it does not fit.
bool take_checksum(nlohmann::json& object);

}  // namespace gneiss
