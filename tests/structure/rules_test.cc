// The rules on made-up trees: each lets what is right pass and names what is not.
#include "tests/structure/rules.h"

#include <doctest/doctest.h>

#include "tests/structure/source_tree.h"

namespace gneiss::test {
namespace {

SourceFile file_that_includes(const std::string& path, const std::string& target) {
  return {path, "#include \"" + target + "\"\n"};
}

std::size_t breaches_of_edge(const std::string& from, const std::string& to) {
  return check_include_directions({file_that_includes(from + "/a.h", to + "/b.h")}).size();
}

TEST_CASE("includes are read as the preprocessor reads them") {
  const SourceFile file{
      "a.cc", "#include <vector>\n  #  include \"x/y.h\"  // why\n// #include \"no.h\"\n#include\"z.h\""};
  CHECK(file.includes() == std::vector<std::string>{"x/y.h", "z.h"});
  CHECK(file.line_count() == 4);
}

TEST_CASE("includes that follow the data pass") {
  CHECK(breaches_of_edge("tools", "engine/train") == 0);
  CHECK(breaches_of_edge("tools", "sampler") == 0);
  CHECK(breaches_of_edge("bench", "storage/io") == 0);
  CHECK(breaches_of_edge("engine/tiers", "storage/format") == 0);
  CHECK(breaches_of_edge("engine/train", "engine/nn") == 0);
  CHECK(breaches_of_edge("sampler", "storage/pack") == 0);
  CHECK(breaches_of_edge("storage/pack", "storage/format") == 0);
  CHECK(breaches_of_edge("storage/import", "storage/io") == 0);
  CHECK(breaches_of_edge("tests/e2e", "tests/support") == 0);
}

TEST_CASE("includes against the data are named") {
  CHECK(breaches_of_edge("storage/base", "storage/io") == 1);
  CHECK(breaches_of_edge("storage/io", "storage/format") == 1);
  CHECK(breaches_of_edge("storage/format", "storage/pack") == 1);
  CHECK(breaches_of_edge("storage/pack", "storage/import") == 1);
  CHECK(breaches_of_edge("storage/import", "storage/pack") == 1);
  CHECK(breaches_of_edge("storage/pack", "sampler") == 1);
  CHECK(breaches_of_edge("storage/format", "engine/compute") == 1);
  CHECK(breaches_of_edge("sampler", "engine/compute") == 1);
  CHECK(breaches_of_edge("engine/pipeline", "sampler") == 1);
  CHECK(breaches_of_edge("engine/train", "tools") == 1);
  CHECK(breaches_of_edge("tools", "tests/support") == 1);
  CHECK(breaches_of_edge("storage/new_part", "storage/base") == 1);
  const Breaches told =
      check_include_directions({file_that_includes("storage/io/a.h", "storage/format/b.h")});
  CHECK(told.at(0) == "storage/io/a.h includes storage/format/b.h: storage/io may include storage/base only");
}

TEST_CASE("folders that include each other are named, however long the way") {
  const auto a_to_b = file_that_includes("engine/a/x.h", "engine/b/x.h");
  const auto b_to_c = file_that_includes("engine/b/x.h", "engine/c/x.h");
  CHECK(check_folder_cycles({a_to_b, b_to_c}).empty());
  const Breaches told =
      check_folder_cycles({a_to_b, b_to_c, file_that_includes("engine/c/y.h", "engine/a/y.h")});
  REQUIRE(told.size() == 1);
  CHECK(told[0] == "folders include each other: engine/a -> engine/b -> engine/c -> engine/a");
}

TEST_CASE("an include that is no path from the root is named") {
  const SourceFile target{"storage/base/error.h", ""};
  CHECK(check_includes_exist({target, file_that_includes("tools/a.cc", "storage/base/error.h")}).empty());
  CHECK(check_includes_exist({target, file_that_includes("storage/base/a.cc", "error.h")}).size() == 1);
}

TEST_CASE("a folder with code needs a README that names each file") {
  const SourceFile code{"sampler/pool.cc", ""};
  const SourceFile header{"sampler/pool.h", ""};
  CHECK(check_readmes({code}) == Breaches{"sampler has no README.md"});
  CHECK(check_readmes({code, header, {"sampler/README.md", "- `pool.h`, `pool.cc` samples"}}).empty());
  CHECK(check_readmes({code, header, {"sampler/README.md", "- `whirlpool.h` water"}}).size() == 1);
  CHECK(check_readmes({{"sampler/CMakeLists.txt", ""}}).empty());
}

TEST_CASE("tests are described by their names, once tests/README.md names their folder") {
  const SourceFile test{"tests/storage/io_test.cc", ""};
  CHECK(check_readmes({test, {"tests/README.md", "- `storage/` a program for each area"}}).empty());
  CHECK(check_readmes({test, {"tests/README.md", "- `engine/`"}}) ==
        Breaches{"tests/storage has no README.md"});
  CHECK(check_readmes({{"tests/storage/faults.cc", ""}, {"tests/README.md", "`storage/`"}}).size() == 1);
}

TEST_CASE("a file over 500 lines is named") {
  CHECK(check_file_sizes({{"tools/a.cc", std::string(500, '\n')}}).empty());
  CHECK(check_file_sizes({{"tools/a.cc", std::string(501, '\n')}}).size() == 1);
}

TEST_CASE("a type that two files define is named, unless it is theirs alone") {
  const auto file_with = [](const std::string& path, const std::string& space, const std::string& line) {
    return SourceFile{path, "namespace gneiss {\n" + space + line + "\n}  // namespace gneiss\n"};
  };
  const SourceFile stream = file_with("storage/a.h", "", "class Stream {");
  CHECK(check_unique_types({stream, file_with("engine/b.h", "", "class Stream;")}).empty());
  CHECK(check_unique_types({stream, file_with("engine/b.h", "", "class Streams {")}).empty());
  CHECK(check_unique_types({stream, file_with("engine/b.cc", "namespace {\n", "class Stream {")}).empty());
  CHECK(check_unique_types({stream, file_with("engine/b.h", "namespace cpu {\n", "class Stream {")}).empty());
  CHECK(check_unique_types({stream, file_with("engine/b.cc", "namespace {\n}  // namespace\n",
                                              "struct Stream final : public Base {")}) ==
        Breaches{"storage/a.h and engine/b.cc both define gneiss::Stream"});
  for (const std::string line :
       {"enum class Stream : char { in, out };", "enum Stream {", "struct alignas(64) Stream {",
        "class Stream final : public Base {", "union Stream {", "struct Stream {};"}) {
    CAPTURE(line);
    CHECK(check_unique_types({stream, file_with("engine/b.h", "", line)}).size() == 1);
  }
  const auto uses = file_with("engine/b.h", "", "struct Stream table[] = {");
  CHECK(check_unique_types({stream, uses}).empty());
  const auto inner = file_with("engine/b.h", "", "class Stream::Part {");
  CHECK(check_unique_types({stream, inner}).empty());
}

TEST_CASE("words for unfinished work are named, and words that hold them are not") {
  const std::string word = std::string("TO") + "DO";
  CHECK(check_unfinished_words({{"tools/a.cc", "// " + word + ": later"}}).size() == 1);
  CHECK(check_unfinished_words({{"tools/a.cc", "mkdtemp(\"gneiss-XXXXXX\"); MAS" + word + "N"}}).empty());
}

}  // namespace
}  // namespace gneiss::test
