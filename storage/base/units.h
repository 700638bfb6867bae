// Sizes, counts and durations as people write and read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace gneiss {

// "10GiB", "100 MB", "1.5g", "4096": binary for KiB/MiB/GiB/TiB and the bare letters k/m/g/t, decimal for
// KB/MB/GB/TB, bytes without a unit. Throws Error(config) that names `what` and shows what is expected.
std::uint64_t parse_bytes(std::string_view text, std::string_view what);

std::string format_bytes(double bytes);  // "1.50 GiB"
// At least `bytes`, in whole MiB and as parse_bytes() takes it: for "... would do".
std::string format_bytes_up(std::uint64_t bytes);  // "59MiB"
std::string format_count(std::uint64_t count);     // "1,166,243"
std::string format_seconds(double seconds);        // "420 ms", "12.3 s", "1 h 02 min"
std::string format_rate(double bytes_per_second);  // "1.60 GB/s", decimal as drives are sold

}  // namespace gneiss
