// Gzip streams, one member or several.
#include "storage/import/gz_source.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/storage/import_fixtures.h"

namespace gneiss::test {
namespace {

std::vector<std::string> seeds() {
  return {gzip("0,1\n1,2\n"), gzip("") + gzip("a second member"), gzip(std::string(5000, 'x')),
          gzip("cut off").substr(0, 12), gzip("and more") + "behind it"};
}

void run(std::string_view input) {
  const MemoryFile file(input);
  GzSource source(file.path());
  std::vector<std::byte> piece(4096);
  while (source.read(piece) > 0) {
  }
}

}  // namespace

const FuzzTarget gz_target{.name = "gz", .seeds = seeds, .run = run};

}  // namespace gneiss::test
