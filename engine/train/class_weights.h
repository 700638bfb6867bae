// The weights of classes in the loss, from what --class-weights says.
#pragma once

#include <string>
#include <vector>

#include "storage/format/dataset.h"

namespace gneiss {

// The numbers of a list "1,2,0.5"; none for "none" and "balanced". Throws Error(config) when it is none of
// these.
std::vector<float> parse_class_weights(const std::string& text);

// The same, and for "balanced" training nodes / (classes among them * training nodes of the class), 0 for a
// class that no training node has: as scikit-learn's compute_class_weight("balanced"). Reads the labels in
// pieces. Throws Error: config, corruption (a label that cannot be), io.
std::vector<float> resolve_class_weights(const std::string& text, const Dataset& dataset);

}  // namespace gneiss
