// Zip archives of arrays: OGB's binary folders.
#include "storage/import/npy_sources.h"
#include "storage/import/zip_source.h"
#include "tests/fuzz/drain.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/storage/import_fixtures.h"

namespace gneiss::test {
namespace {

constexpr const char* edges_name = "edge_index.npy";
constexpr const char* rows_name = "node_feat.npy";

std::vector<std::string> seeds() {
  const std::vector<std::pair<std::string, std::string>> entries{
      {edges_name, npy<std::int64_t>({2, 3}, {0, 1, 1, 2, 2, 0})},
      {rows_name, npy<float>({3, 2}, {1, 2, 3, 4, 5, 6})},
      {"../../etc/passwd", "an entry that is never asked for"}};
  return {zip_file(entries), zip_file(entries, {.deflated = true}), zip_file(entries, {.zip64 = true}),
          zip_file(entries, {.deflated = true, .zip64 = true}), zip_file({})};
}

void run(std::string_view input) {
  const MemoryFile file(input);
  attempt([&] { zip_has_entry(file.path(), "label.npy"); });
  attempt([&] { drain(*make_npy_edges(NpyArray::open_zip_entry(file.path(), edges_name))); });
  attempt([&] { drain(*make_npy_rows(NpyArray::open_zip_entry(file.path(), rows_name))); });
  attempt([&] { drain(*make_npy_labels(NpyArray::open_zip_entry(file.path(), rows_name))); });
}

}  // namespace

const FuzzTarget npz_target{.name = "npz", .seeds = seeds, .run = run};

}  // namespace gneiss::test
