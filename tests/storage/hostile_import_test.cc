// Archives and tables that claim more than they hold, or hold more than they show.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <nlohmann/json.hpp>

#include "storage/import/import_ogb.h"
#include "storage/import/label_table.h"
#include "storage/import/npy_sources.h"
#include "storage/import/statistics.h"
#include "storage/import/zip_source.h"
#include "tests/storage/import_fixtures.h"
#include "tests/support/expect_error.h"
#include "tests/support/in_child.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

using namespace gneiss::test;

template <class T>
void patch(std::string& bytes, std::size_t at, T value) {
  bytes.replace(at, sizeof(T), reinterpret_cast<const char*>(&value), sizeof(T));
}

// Changes the field at `offset` of the only entry, in the archive's directory and before the entry's bytes.
template <class T>
std::string with_field(std::string archive, std::size_t offset, T value) {
  constexpr std::size_t shift = 2;  // the directory has one field more in front
  patch(archive, offset, value);
  patch(archive, archive.find("PK\x01\x02") + offset + shift, value);
  return archive;
}
constexpr std::size_t method_offset = 8;
constexpr std::size_t compressed_offset = 18;
constexpr std::size_t size_offset = 22;

// One label a row, and as many rows as it likes to claim.
class ClaimedLabels final : public LabelSource {
 public:
  const std::string& name() const noexcept override { return name_; }
  std::uint64_t row_count() const noexcept override { return max_node_count; }
  std::uint64_t column_count() const noexcept override { return 1; }
  void read(std::span<double>) override { fail(Kind::input, "{} ends here", name_); }
  void finish() override {}

 private:
  std::string name_ = "labels";
};

std::uint64_t peak_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) << 10;
}

}  // namespace

TEST_CASE("an entry that claims more than its bytes can unpack to is refused before it is read") {
  const TemporaryFolder folder;
  const std::vector<float> values(30'000);
  const auto expect_refused = [&](const std::string& archive, const char* words) {
    write_file(folder / "a.npz", archive);
    EXPECT_ERROR(NpyArray::open_zip_entry(folder / "a.npz", "x.npy"), Kind::input, words);
  };
  const std::string deflated = zip_file({{"x.npy", npy({30'000}, values)}}, {.deflated = true});
  const std::string stored = zip_file({{"x.npy", npy<float>({2}, {1, 2})}});
  write_file(folder / "a.npz", deflated);
  CHECK(NpyArray::open_zip_entry(folder / "a.npz", "x.npy").header().element_count == 30'000);
  // A header in front of nothing that names a matrix of 3 GB.
  expect_refused(with_field(deflated, size_offset, 3'000'000'128U), "claims 3000000128 bytes out of");
  expect_refused(with_field(stored, size_offset, 4096U), "claims 4096 bytes out of 136");
  expect_refused(with_field(with_field(stored, size_offset, 4096U), compressed_offset, 4096U),
                 "in an archive of");
  expect_refused(with_field<std::uint16_t>(stored, method_offset, 93), "number 93");
}

TEST_CASE("the names of an archive's entries are compared, and never become paths") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "in/raw");
  const auto array = npy<std::int64_t>({1}, {1});
  write_file(folder / "in/raw/a.npz", zip_file({{"../../escaped.npy", array}, {"/tmp/escaped.npy", array}}));
  CHECK(zip_has_entry(folder / "in/raw/a.npz", "../../escaped.npy"));
  EXPECT_ERROR(NpyArray::open_zip_entry(folder / "in/raw/a.npz", "escaped.npy"), Kind::input, "no entry");
  const NpyArray read = NpyArray::open_zip_entry(folder / "in/raw/a.npz", "../../escaped.npy");
  const auto split = make_npy_split(read, 5);
  std::int64_t id = 0;
  REQUIRE(split->id_count() == 1);
  split->read(std::span(&id, 1));
  CHECK(id == 1);
  CHECK_FALSE(std::filesystem::exists(folder / "escaped.npy"));
}

TEST_CASE("statistics of any type are told without a failure") {
  CHECK(format_statistics({{"nodes", 7U}}).find("nodes             7") != std::string::npos);
  for (const char* key :
       {"nodes", "degree_average", "feature_dtype", "nan_values", "label_columns", "graph_bytes"}) {
    for (const nlohmann::json& value : {nlohmann::json("words"), nlohmann::json(-1),
                                        nlohmann::json::array({1}), nlohmann::json(1.5), nlohmann::json()}) {
      CAPTURE(key);
      CHECK_NOTHROW(format_statistics({{key, value}}));
    }
  }
}

TEST_CASE("pickled objects are refused in words, and stay asleep") {
  const TemporaryFolder folder;
  const std::string pickle = "cos\nsystem\n(S'touch " + (folder / "woken").string() + "'\ntR.";
  for (const char* type : {"|O", "O"}) {
    write_file(folder / "x.npy", npy_file(type, std::vector<std::uint64_t>{1}, pickle));
    EXPECT_ERROR(NpyArray::open_file(folder / "x.npy"), Kind::input, "pickled Python objects");
  }
  CHECK_FALSE(std::filesystem::exists(folder / "woken"));
}

TEST_CASE("a number of nodes is a claim: no memory is taken for it before the rows are there") {
  const TemporaryFolder folder;
  CHECK(run_in_child([&] {
          const std::uint64_t before = peak_bytes();
          ClaimedLabels labels;
          try {
            write_labels(labels, max_node_count, folder / "labels.bin");
          } catch (const Error&) {
          }
          return peak_bytes() - before < (64U << 20) ? 0 : 1;
        }) == 0);
}

TEST_CASE("a split that unpacks to more ids than there can be is refused while it does") {
  const TemporaryFolder folder;
  const auto write = [&](const std::string& train) {
    for (const char* file : {"raw/edge", "raw/node-feat", "raw/node-label", "split/s/valid", "split/s/test"})
      write_file(folder / (std::string(file) + ".csv.gz"), gzip("0,0\n"));
    write_file(folder / "raw/num-node-list.csv.gz", gzip("4000000000\n"));
    write_file(folder / "raw/num-edge-list.csv.gz", gzip("1\n"));
    write_file(folder / "split/s/train.csv.gz", gzip(train));
  };
  std::string bomb;
  for (int i = 0; i < 500'000; ++i) bomb += "1\n";
  write(bomb);
  EXPECT_ERROR(open_ogb_folder(folder / "", {}), Kind::input, "more ids than its bytes can hold");
  std::string dense;  // as well compressed as distinct ids can be
  for (int i = 1'000'000; i < 1'200'000; ++i) dense += std::to_string(i) + "\n";
  write(dense);
  write_file(folder / "split/s/valid.csv.gz", gzip("7\n"));
  write_file(folder / "split/s/test.csv.gz", gzip("8\n"));
  CHECK(open_ogb_folder(folder / "", {}).splits[0]->id_count() == 200'000);
}

}  // namespace gneiss
