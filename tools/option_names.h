// The names of long options, however they are spelt.
#pragma once

#include <string>
#include <vector>

namespace gneiss {

// Makes `-` and `_` alike in the names of long options: "--batch_size=1_0" becomes "--batch-size=1_0".
// What follows a bare "--" and every value stays as it is.
void normalise_option_names(std::vector<std::string>& arguments);

}  // namespace gneiss
