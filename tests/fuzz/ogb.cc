// A folder of OGB's tables, unpacked: counts, edges, features, labels and splits that contradict one another.
#include "storage/import/import_ogb.h"
#include "storage/import/label_table.h"
#include "tests/fuzz/drain.h"
#include "tests/fuzz/fuzz_target.h"

namespace gneiss::test {
namespace {

constexpr std::array<const char*, 8> names{
    "raw/num-node-list.csv", "raw/num-edge-list.csv", "raw/edge.csv",         "raw/node-feat.csv",
    "raw/node-label.csv",    "split/time/train.csv",  "split/time/valid.csv", "split/time/test.csv"};

std::vector<std::string> seeds() {
  return {
      join_input({"3\n", "4\n", "0,1\n1,2\n2,0\n0,0\n", "1,2\n3,4\n5,6\n", "0\n1\n1\n", "0\n", "1\n", "2\n"}),
      join_input({"2\n", "1\n", "1,0\n", "nan,1e9\n-0,2\n", "0,1\nnan,nan\n", "0\n", "", ""}),
      join_input({"4294967295\n", "9223372036854775807\n", "0,1\n", "1\n", "0\n", "0\n", "0\n", "0\n"})};
}

void run(std::string_view input) {
  const std::filesystem::path folder = fuzz_folder() / "ogb";
  std::filesystem::create_directories(folder / "raw");
  std::filesystem::create_directories(folder / "split/time");
  const auto files = split_input(input, names.size());
  for (std::size_t i = 0; i < names.size(); ++i) put_file(folder / names[i], files[i]);
  const GraphSource source = open_ogb_folder(folder, {});
  attempt([&] { drain(*source.edges); });
  attempt([&] { drain(*source.features); });
  const LabelTable labels = write_labels(*source.labels, source.node_count, fuzz_folder() / "labels.bin");
  read_splits(source.splits, labels);
}

}  // namespace

const FuzzTarget ogb_target{.name = "ogb", .seeds = seeds, .run = run};

}  // namespace gneiss::test
