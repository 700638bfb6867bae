// .npy arrays: edges, features, labels and splits of `import npy`.
#include "storage/import/npy_sources.h"
#include "tests/fuzz/drain.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/storage/import_fixtures.h"

namespace gneiss::test {
namespace {

std::vector<std::string> seeds() {
  const std::vector<std::int64_t> edges{0, 1, 1, 2, 2, 0};
  return {npy<std::int64_t>({2, 3}, edges),
          npy<std::int64_t>({3, 2}, edges, {.fortran_order = true, .version = 2}),
          npy<std::int32_t>({3}, {0, 1, 2}, {.version = 3}),
          npy<float>({3, 2}, {1, 2, 3, 4, 5, 6}),
          npy<double>({2, 3}, {1, 2, 3, 4, 5, 6}, {.fortran_order = true}),
          npy<std::uint64_t>({2}, {1, ~std::uint64_t{0}}),
          npy<std::uint8_t>({4, 1}, {1, 0, 1, 255}),
          npy_file("<f2", std::vector<std::uint64_t>{2, 2}, "12345678"),
          npy_file("|b1", std::vector<std::uint64_t>{3}, std::string("\0\1\0", 3)),
          npy_file("|O", std::vector<std::uint64_t>{1}, "cos\nsystem\n(S'true'\ntR.")};
}

void run(std::string_view input) {
  const MemoryFile file(input);
  const NpyArray array = NpyArray::open_file(file.path());
  attempt([&] { drain(*make_npy_edges(array)); });
  attempt([&] { drain(*make_npy_rows(array)); });
  attempt([&] { drain(*make_npy_labels(array)); });
  attempt([&] { drain(*make_npy_split(array, 1000)); });
}

}  // namespace

const FuzzTarget npy_target{.name = "npy", .seeds = seeds, .run = run};

}  // namespace gneiss::test
