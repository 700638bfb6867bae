// The rules on these very sources.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/structure/rules.h"
#include "tests/structure/source_tree.h"

namespace gneiss::test {
namespace {

const std::vector<SourceFile>& sources() {
  static const std::vector<SourceFile> files = read_source_tree(GNEISS_SOURCE_FOLDER);
  return files;
}

void expect_none(const Breaches& breaches) {
  for (const std::string& breach : breaches) FAIL_CHECK(breach);
}

TEST_CASE("the sources are found") {
  CHECK(sources().size() > 50);
  CHECK(std::ranges::count(sources(), "storage/base/error.h", &SourceFile::path) == 1);
}

TEST_CASE("includes point one way") { expect_none(check_include_directions(sources())); }

TEST_CASE("no folders include each other") { expect_none(check_folder_cycles(sources())); }

TEST_CASE("every include is a path from the root") { expect_none(check_includes_exist(sources())); }

TEST_CASE("every folder has a README that names its files") { expect_none(check_readmes(sources())); }

TEST_CASE("no file is longer than one idea") { expect_none(check_file_sizes(sources())); }

TEST_CASE("no two types have one name") { expect_none(check_unique_types(sources())); }

TEST_CASE("no source holds words for unfinished work") { expect_none(check_unfinished_words(sources())); }

}  // namespace
}  // namespace gneiss::test
