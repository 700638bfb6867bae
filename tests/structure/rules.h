// The rules of the tree; each takes the sources and returns one sentence for each breach.
#pragma once

#include <string>
#include <vector>

#include "tests/structure/source_tree.h"

namespace gneiss::test {

using Breaches = std::vector<std::string>;

// Includes point one way: tools, tests, bench → engine, sampler → storage; inside storage
// base ← io ← format ← import, pack. The table stands in rules.cc.
Breaches check_include_directions(const std::vector<SourceFile>& files);

// No folder includes, by whatever way, a folder that includes it.
Breaches check_folder_cycles(const std::vector<SourceFile>& files);

// What is included in quotes exists, and is named from the root.
Breaches check_includes_exist(const std::vector<SourceFile>& files);

// A folder with code has a README.md that names each of its files; a pair like file.h, file.cc once.
// For tests alone (tests/AREA/*_test.cc) it is enough that tests/README.md names their folder.
Breaches check_readmes(const std::vector<SourceFile>& files);

// A file holds one idea: 500 lines at most.
Breaches check_file_sizes(const std::vector<SourceFile>& files);

// A type has one definition: the linker takes either of two that have the same name, and does not tell.
// In which namespace it stands, and whether that is anonymous, is read from lines that begin with
// `namespace`.
Breaches check_unique_types(const std::vector<SourceFile>& files);

// What is left to do is an issue, not a word in the code.
Breaches check_unfinished_words(const std::vector<SourceFile>& files);

}  // namespace gneiss::test
