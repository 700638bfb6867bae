#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "storage/base/dtype.h"
#include "storage/import/import_npy.h"
#include "storage/import/import_ogb.h"
#include "storage/import/importer.h"
#include "tests/storage/import_fixtures.h"
#include "tests/support/captured_log.h"
#include "tests/support/datasets.h"
#include "tests/support/expect_error.h"
#include "tests/support/skip.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

using namespace gneiss::test;

// Five nodes, six edges (one of them twice, one a self-loop), three features.
const std::vector<std::int64_t> sources{0, 1, 2, 2, 4, 0};
const std::vector<std::int64_t> destinations{1, 2, 0, 2, 1, 1};
const std::vector<float> rows{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};

template <class T = std::int64_t>
std::vector<T> row_after_row() {
  std::vector<T> values(sources.begin(), sources.end());
  values.insert(values.end(), destinations.begin(), destinations.end());
  return values;
}
template <class T = std::int64_t>
std::vector<T> pair_after_pair() {
  std::vector<T> values;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    values.push_back(static_cast<T>(sources[i]));
    values.push_back(static_cast<T>(destinations[i]));
  }
  return values;
}

void write_graph(const std::filesystem::path& folder) {
  write_file(folder / "edge_index.npy", npy({2, 6}, row_after_row()));
  write_file(folder / "node_feat.npy", npy({5, 3}, rows));
  write_file(folder / "node_label.npy", npy<std::int64_t>({5}, {0, 1, 2, 1, -1}));
  write_file(folder / "train_idx.npy", npy<std::int64_t>({2}, {3, 0}));
  write_file(folder / "val_idx.npy", npy<std::int32_t>({1}, {1}));
  write_file(folder / "test_idx.npy", npy<std::int64_t>({1}, {2}));
}

struct Imported {
  std::vector<std::uint64_t> indptr;
  std::vector<std::uint32_t> indices;
  std::vector<float> features;
  std::vector<std::int32_t> labels;
  std::vector<std::uint32_t> train;
  bool operator==(const Imported&) const = default;
};

Imported read_dataset(const std::filesystem::path& folder) {
  const Dataset dataset = Dataset::open(folder);
  Imported imported{.indptr = dataset.read_indptr(),
                    .indices = {},
                    .features = std::vector<float>(dataset.info().node_count * dataset.info().feature_dim),
                    .labels = dataset.read_labels().classes,
                    .train = {}};
  const AlignedBuffer indices =
      dataset.graph().read_section(dataset.graph().require(SectionKind::csc_indices));
  const auto values = indices.as<std::uint32_t>();
  imported.indices.assign(values.begin(), values.end());
  const AlignedBuffer features =
      dataset.features().read_section(dataset.features().require(SectionKind::feature_rows));
  convert(dataset.info().feature_dtype, features.data(), Dtype::f32,
          reinterpret_cast<std::byte*>(imported.features.data()), imported.features.size());
  for (const NodeId node : dataset.split(Split::train)) imported.train.push_back(to_index(node));
  return imported;
}

Imported import_npy(const TemporaryFolder& folder, ImportOptions options = {}) {
  options.force = true;
  options.thread_count = 2;
  import_graph(open_npy_folder(folder / "source"), folder / "out.gneiss", options);
  return read_dataset(folder / "out.gneiss");
}

std::string lines(const std::vector<std::string>& texts) {
  std::string all;
  for (const auto& text : texts) all += text + "\n";
  return all;
}

void write_ogb(const std::filesystem::path& folder) {
  const auto raw = folder / "raw";
  write_file(raw / "edge.csv.gz", gzip("0,1\n1,2\n2,0\n2,2\n4,1\n0,1\n"));
  write_file(raw / "node-feat.csv.gz", gzip("0,1,2\n3,4,5\n6,7,8\n9,10,11\n12,13,14\n"));
  write_file(raw / "node-label.csv.gz", gzip("0\n1\n2\n1\nnan\n"));
  write_file(raw / "num-node-list.csv.gz", gzip("5\n"));
  write_file(raw / "num-edge-list.csv.gz", gzip("6\n"));
  write_file(folder / "split" / "time" / "train.csv.gz", gzip("3\n0\n"));
  write_file(folder / "split" / "time" / "valid.csv.gz", gzip("1\n"));
  write_file(folder / "split" / "time" / "test.csv.gz", gzip("2\n"));
}

DatasetStatistics import_ogb(const TemporaryFolder& folder, const std::string& name, OgbOptions ogb = {},
                             ImportOptions options = {}) {
  options.force = true;
  options.thread_count = 1;
  return import_graph(open_ogb_folder(folder / name, ogb), folder / "out.gneiss", options);
}

}  // namespace

TEST_CASE("an npy folder becomes the dataset it describes") {
  const TemporaryFolder folder;
  write_graph(folder / "source");
  const Imported imported = import_npy(folder);
  CHECK(imported.indptr == std::vector<std::uint64_t>{0, 1, 4, 6, 6, 6});
  CHECK(imported.indices == std::vector<std::uint32_t>{2, 0, 0, 4, 1, 2});
  CHECK(imported.features == rows);
  CHECK(imported.labels == std::vector<std::int32_t>{0, 1, 2, 1, -1});
  CHECK(imported.train == std::vector<std::uint32_t>{3, 0});
  CHECK(!std::filesystem::exists(folder / "out.gneiss.partial"));
}

TEST_CASE("every layout of the same arrays gives the same dataset") {
  const TemporaryFolder folder;
  const auto source = folder / "source";
  write_graph(source);
  const Imported expected = import_npy(folder);
  const auto edges = source / "edge_index.npy";
  write_file(edges, npy({6, 2}, pair_after_pair()));
  CHECK(import_npy(folder) == expected);
  write_file(edges, npy({2, 6}, pair_after_pair(), {.fortran_order = true}));
  CHECK(import_npy(folder) == expected);
  write_file(edges, npy({6, 2}, row_after_row(), {.fortran_order = true}));
  CHECK(import_npy(folder) == expected);
  write_file(edges, npy({2, 6}, row_after_row<std::int32_t>()));
  CHECK(import_npy(folder) == expected);

  std::vector<double> by_column;
  for (std::size_t column = 0; column < 3; ++column) {
    for (std::size_t row = 0; row < 5; ++row) by_column.push_back(rows[row * 3 + column]);
  }
  write_file(source / "node_feat.npy", npy({5, 3}, by_column, {.fortran_order = true}));
  CHECK(import_npy(folder) == expected);
  std::string halves;
  for (const float value : rows) {
    const std::uint16_t half = to_f16(value);
    halves.append(reinterpret_cast<const char*>(&half), sizeof(half));
  }
  write_file(source / "node_feat.npy", npy_file("<f2", std::vector<std::uint64_t>{5, 3}, halves));
  CHECK(import_npy(folder) == expected);
  CHECK(Dataset::open(folder / "out.gneiss").info().feature_dtype == Dtype::f16);

  const float none = std::numeric_limits<float>::quiet_NaN();
  write_file(source / "node_label.npy", npy<float>({5, 1}, {0, 1, 2, 1, none}));
  CHECK(import_npy(folder) == expected);
  std::filesystem::rename(source / "val_idx.npy", source / "valid_idx.npy");
  CHECK(import_npy(folder) == expected);
}

TEST_CASE("reverse edges and self-loops are added as the options say") {
  const TemporaryFolder folder;
  write_graph(folder / "source");
  const Imported undirected = import_npy(folder, {.undirected = true, .feature_dtype = {}});
  CHECK(undirected.indptr == std::vector<std::uint64_t>{0, 2, 5, 8, 8, 9});
  CHECK(undirected.indices == std::vector<std::uint32_t>{1, 2, 0, 2, 4, 0, 1, 2, 1});
  const Imported loops = import_npy(folder, {.self_loops = true, .feature_dtype = {}});
  CHECK(loops.indptr == std::vector<std::uint64_t>{0, 2, 6, 8, 9, 10});
  CHECK(loops.indices == std::vector<std::uint32_t>{0, 2, 0, 0, 1, 4, 1, 2, 3, 4});
}

TEST_CASE("features are converted and normalised as their names promise") {
  const TemporaryFolder folder;
  const auto source = folder / "source";
  write_graph(source);
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    CHECK(import_npy(folder, {.feature_dtype = dtype}).features == rows);
  }
  // Row: less the smallest of all (-1), then by the row's sum, or by 1 where that is smaller.
  write_file(source / "node_feat.npy", npy<float>({5, 2}, {-1, 0, 3, 3, -1, -1, 0, 1, -0.5, -1}));
  const auto by_row = import_npy(folder, {.feature_dtype = {}, .normalization = Normalization::row}).features;
  const std::vector<float> row_expected{0, 1, 0.5, 0.5, 0, 0, 1.0F / 3, 2.0F / 3, 0.5, 0};
  CHECK(by_row == row_expected);
  write_file(source / "node_feat.npy", npy<float>({5, 2}, {3, 4, 0, 0, -5, 12, 1, 0, 0, -2}));
  const auto l2 = import_npy(folder, {.feature_dtype = {}, .normalization = Normalization::l2}).features;
  CHECK(l2 == std::vector<float>{0.6F, 0.8F, 0, 0, -5.0F / 13, 12.0F / 13, 1, 0, 0, -1});
  // Far from zero, where sums of squares would lose everything; a constant column; a NaN left out.
  const float none = std::numeric_limits<float>::quiet_NaN();
  write_file(source / "node_feat.npy",
             npy<float>({5, 2}, {1e7F, 7, 1e7F + 2, 7, 1e7F + 4, 7, 1e7F + 6, 7, none, 7}));
  const test::CapturedLog log;
  const auto standard =
      import_npy(folder, {.feature_dtype = {}, .normalization = Normalization::standardize}).features;
  CHECK(standard[0] == doctest::Approx(-3 / std::sqrt(5.0)));
  CHECK(standard[6] == doctest::Approx(3 / std::sqrt(5.0)));
  CHECK(standard[1] == 0);
  CHECK(std::isnan(standard[8]));
  CHECK(log.text().find("1 NaN and 0 infinite") != std::string::npos);
}

TEST_CASE("a folder that does not fit together is refused in one sentence, and nothing is left behind") {
  const TemporaryFolder folder;
  const auto source = folder / "source";
  const auto refuse = [&](const char* file, const std::string& bytes, const char* part) {
    write_graph(source);
    write_file(source / file, bytes);
    EXPECT_ERROR(import_npy(folder), Kind::input, part);
    CHECK(!std::filesystem::exists(folder / "out.gneiss"));
    CHECK(!std::filesystem::exists(folder / "out.gneiss.partial"));
  };
  using I = std::int64_t;
  refuse("edge_index.npy", npy<I>({2, 3}, {0, 1, 2, 3, 4, 5}), "edge 2 joins 2 and 5");
  refuse("edge_index.npy", npy<I>({2, 3}, {0, -1, 2, 3, 4, 0}), "edge 1 joins -1 and 4");
  refuse("edge_index.npy", npy<I>({3, 3}, std::vector<I>(9)), "shape (3, 3)");
  refuse("edge_index.npy", npy<I>({6}, std::vector<I>(6)), "shape (6,)");
  refuse("edge_index.npy", npy<float>({2, 2}, {0, 1, 2, 3}), "node ids must be integers");
  refuse("edge_index.npy", npy<I>({2, 3}, std::vector<I>(6)).substr(0, 150), "truncated");
  refuse("node_feat.npy", npy<float>({0, 3}, {}), "at least one node");
  refuse("node_feat.npy", npy<float>({5, 0}, {}), "0 columns");
  refuse("node_feat.npy", npy<float>({1, 5, 1}, std::vector<float>(5)), "shape (1, 5, 1)");
  refuse("node_feat.npy", std::string(60, '\0'), "without a header");
  refuse("node_label.npy", npy<I>({4}, {0, 1, 2, 1}), "4 labels");
  refuse("node_label.npy", npy<I>({5, 2, 1}, std::vector<I>(10)), "(nodes,) or (nodes, labels)");
  refuse("node_label.npy", npy<I>({5, 0}, {}), "0 labels a node");
  refuse("node_label.npy", npy<I>({4, 2}, std::vector<I>(8)), "4 labels");
  refuse("node_label.npy", npy<I>({5, 5000}, std::vector<I>(25'000)), "5000 labels a node");
  refuse("node_label.npy", npy<I>({5, 2}, {0, 1, 1, 2, 0, 0, 0, 0, 0, 0}), "row 1, column 1 is 2");
  refuse("node_label.npy", npy<I>({5, 2}, {0, 1, 1, 1, -1, 0, 0, 0, 0, 0}), "row 2, column 0 is -1");
  refuse("node_label.npy", npy<float>({5, 2}, {0, 1, 0.5F, 0, 0, 0, 0, 0, 0, 0}), "row 1, column 0 is 0.5");
  refuse("node_label.npy", npy<float>({5, 2}, {0, 1, 0, INFINITY, 0, 0, 0, 0, 0, 0}),
         "row 1, column 1 is inf");
  refuse("node_label.npy", npy<float>({5, 2}, std::vector<float>(10, NAN)), "gives no node a label");
  refuse("node_label.npy", npy<float>({5, 2}, {0, 1, 0, 1, NAN, NAN, 0, 1, 0, 1}),
         "node 2, which has no label");
  refuse("node_label.npy", npy<I>({5, 2}, std::vector<I>(10)).substr(0, 180), "truncated");
  refuse("node_label.npy", npy<float>({5}, {0, 1, 0.5, 1, 1}), "node 2 has the label 0.5");
  refuse("node_label.npy", npy<I>({5}, {0, 1, 99'999'999, 1, 1}), "node 2 has the label");
  refuse("node_label.npy", npy<I>({5}, {-1, -1, -1, -1, -1}), "gives no node a label");
  refuse("train_idx.npy", npy<I>({0}, {}), "train_idx.npy is empty");
  refuse("train_idx.npy", npy<I>({2}, {0, 5}), "entry 1 names node 5");
  refuse("train_idx.npy", npy<I>({2}, {-1, 0}), "entry 0 names node -1");
  refuse("train_idx.npy", npy<I>({3}, {0, 1, 0}), "a second time");
  refuse("test_idx.npy", npy<I>({1}, {4}), "node 4, which has no label");
  refuse("test_idx.npy", npy<float>({1}, {1}), "list of node ids");
  refuse("test_idx.npy", npy<I>({6}, {0, 1, 2, 3, 4, 5}), "lists 6 nodes");
  for (const char* file : {"edge_index.npy", "node_feat.npy", "node_label.npy", "train_idx.npy",
                           "val_idx.npy", "test_idx.npy"}) {
    write_graph(source);
    std::filesystem::remove(source / file);
    EXPECT_ERROR(import_npy(folder), Kind::input, "is missing");
  }
  EXPECT_ERROR(open_npy_folder(folder / "none"), Kind::input, "is not a folder");
}

TEST_CASE("labels of several columns are imported from any type and order, NaN as none") {
  const TemporaryFolder folder;
  const float none = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> values{0, 1, none, 1, 1, 0, none, none, 1, none, 0, 0, none, none, none};
  const std::vector<std::uint8_t> expected{0, 1, 255, 1, 1, 0, 255, 255, 1, 255, 0, 0, 255, 255, 255};
  std::vector<double> by_column;
  for (std::size_t column = 0; column < 3; ++column) {
    for (std::size_t row = 0; row < 5; ++row)
      by_column.push_back(static_cast<double>(values[row * 3 + column]));
  }
  const auto labels_of = [&](const std::string& file) {
    write_graph(folder / "source");
    write_file(folder / "source" / "node_label.npy", file);
    ImportOptions options;
    options.force = true;
    options.thread_count = 1;
    const auto statistics = import_graph(open_npy_folder(folder / "source"), folder / "out.gneiss", options);
    CHECK(statistics.info.label_columns == 3);
    CHECK(statistics.info.class_count == 0);
    CHECK(to_json(statistics).at("task") == "multi-label");
    CHECK(to_json(statistics).at("metric") == "rocauc");
    CHECK(format_statistics(to_json(statistics)).find("3 columns of 0 and 1") != std::string::npos);
    const Dataset dataset = Dataset::open(folder / "out.gneiss");
    CHECK(dataset.info().label_columns == 3);
    return dataset.read_labels().entries;
  };
  CHECK(labels_of(npy<float>({5, 3}, values)) == expected);
  CHECK(labels_of(npy<double>({5, 3}, by_column, {.fortran_order = true})) == expected);
  std::vector<std::uint8_t> whole{0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 0, 1};
  CHECK(labels_of(npy<std::uint8_t>({5, 3}, whole)) == whole);
  CHECK(labels_of(npy<std::int64_t>({5, 3}, {whole.begin(), whole.end()})) == whole);
  const std::vector<std::uint64_t> shape{5, 3};
  CHECK(labels_of(npy_file("|b1", shape, std::string(whole.begin(), whole.end()))) == whole);

  // OGB's tables and archives, as ogbn-proteins has its labels.
  write_ogb(folder / "ogbn_proteins");
  write_file(folder / "ogbn_proteins/raw/node-label.csv.gz",
             gzip("0,1,nan\n1,1,0\nnan,nan,1\nnan,0,0\nnan,nan,nan\n"));
  CHECK(import_ogb(folder, "ogbn_proteins").labelled_nodes == 4);
  CHECK(Dataset::open(folder / "out.gneiss").read_labels().entries == expected);
  write_file(folder / "ogbn_proteins/raw/node-label.csv.gz", gzip("0,1\n1,1\n1\n0,0\n0,0\n"));
  EXPECT_ERROR(import_ogb(folder, "ogbn_proteins"), Kind::input, "line 3: 2 numbers were expected");
  write_file(folder / "ogbn_proteins/raw/node-label.csv.gz", gzip("0,1\n1,1\n1,3\n0,0\n0,0\n"));
  EXPECT_ERROR(import_ogb(folder, "ogbn_proteins"), Kind::input, "row 2, column 1 is 3");
}

TEST_CASE("odd but usable splits are warned of") {
  const TemporaryFolder folder;
  write_graph(folder / "source");
  write_file(folder / "source" / "val_idx.npy", npy<std::int64_t>({0}, {}));
  write_file(folder / "source" / "test_idx.npy", npy<std::int64_t>({1}, {3}));
  const test::CapturedLog log;
  import_npy(folder);
  CHECK(log.text().find("val_idx.npy is empty") != std::string::npos);
  CHECK(log.text().find("1 nodes are in more than one split") != std::string::npos);
}

TEST_CASE("an existing dataset is kept unless force is given") {
  const TemporaryFolder folder;
  write_graph(folder / "source");
  import_npy(folder);
  EXPECT_ERROR(import_graph(open_npy_folder(folder / "source"), folder / "out.gneiss", ImportOptions{}),
               Kind::config, "--force");
  EXPECT_ERROR(import_graph(open_npy_folder(folder / "source"), folder / "no" / "out", ImportOptions{}),
               Kind::input, "does not exist");
}

TEST_CASE("an OGB folder of tables gives the same dataset as its arrays") {
  const TemporaryFolder folder;
  write_graph(folder / "source");
  const Imported expected = import_npy(folder);
  write_ogb(folder / "ogbn_arxiv");
  const DatasetStatistics statistics = import_ogb(folder, "ogbn_arxiv");
  CHECK(read_dataset(folder / "out.gneiss") == expected);
  CHECK(statistics.labelled_nodes == 4);
  CHECK(statistics.degree_max == 3);
  CHECK(statistics.isolated_nodes == 1);

  // The binary layout of papers100M: the same, out of archives.
  for (const ZipStyle style : {ZipStyle{false, true}, ZipStyle{true, true}, ZipStyle{true, false}}) {
    const auto raw = folder / "ogbn_papers100M" / "raw";
    write_ogb(folder / "ogbn_papers100M");
    std::filesystem::remove_all(raw);
    write_file(raw / "data.npz", zip_file({{"edge_index.npy", npy({2, 6}, row_after_row())},
                                           {"node_feat.npy", npy({5, 3}, rows)},
                                           {"num_nodes_list.npy", npy<std::int64_t>({1}, {5})},
                                           {"num_edges_list.npy", npy<std::int64_t>({1}, {6})}},
                                          style));
    const float none = std::numeric_limits<float>::quiet_NaN();
    write_file(raw / "node-label.npz",
               zip_file({{"node_label.npy", npy<float>({5, 1}, {0, 1, 2, 1, none})}}, style));
    import_ogb(folder, "ogbn_papers100M");
    CHECK(read_dataset(folder / "out.gneiss") == expected);
    const std::string whole = read_file(raw / "data.npz");
    for (const std::size_t keep : {whole.size() / 3, whole.size() - 30, whole.size() - 1}) {
      write_file(raw / "data.npz", whole.substr(0, keep));
      EXPECT_ERROR(import_ogb(folder, "ogbn_papers100M"), Kind::input, "data.npz");
    }
  }
}

TEST_CASE("OGB's inverse edges follow the name of the folder, and an option overrules it") {
  const TemporaryFolder folder;
  for (const char* name : {"ogbn_products", "ogbn_arxiv", "mine"}) write_ogb(folder / name);
  CHECK(import_ogb(folder, "ogbn_arxiv").info.edge_count == 6);
  CHECK(import_ogb(folder, "mine").info.edge_count == 6);
  // As OGB's loader: every edge twice, none removed, a self-loop too.
  CHECK(import_ogb(folder, "ogbn_products").info.edge_count == 12);
  CHECK(read_dataset(folder / "out.gneiss").indptr == std::vector<std::uint64_t>{0, 3, 7, 11, 11, 12});
  CHECK(import_ogb(folder, "ogbn_products", {.split = "", .add_inverse_edges = false}).info.edge_count == 6);
  CHECK(import_ogb(folder, "mine", {.split = "", .add_inverse_edges = true}).info.edge_count == 12);
  ImportOptions undirected;
  undirected.undirected = true;
  CHECK(import_ogb(folder, "ogbn_products", {}, undirected).info.edge_count == 9);
  CHECK(ogb_adds_inverse_edges("ogbn-papers100M") == false);
  CHECK(ogb_adds_inverse_edges("ogbn-proteins") == true);
}

TEST_CASE("OGB folders that are incomplete or disagree are refused with file and line") {
  const TemporaryFolder folder;
  const auto raw = folder / "ogbn_arxiv" / "raw";
  const auto refuse = [&](const std::filesystem::path& file, const std::string& text, const char* part) {
    std::filesystem::remove_all(folder / "ogbn_arxiv");
    write_ogb(folder / "ogbn_arxiv");
    write_file(folder / "ogbn_arxiv" / file, gzip(text));
    EXPECT_ERROR(import_ogb(folder, "ogbn_arxiv"), Kind::input, part);
    CHECK(!std::filesystem::exists(folder / "out.gneiss.partial"));
  };
  refuse("raw/edge.csv.gz", "0,1\n1,2\n", "ends after line 2, num-edge-list says there are 6");
  refuse("raw/edge.csv.gz", lines({"0,1", "1,2", "2,0", "2,2", "4,1", "0,1", "0,2"}), "goes on after 6 rows");
  refuse("raw/edge.csv.gz", "0,1\n1,7\n2,0\n2,2\n4,1\n0,1\n", "edge 1 joins 1 and 7");
  refuse("raw/edge.csv.gz", "0,1\n1;2\n", "line 2");
  refuse("raw/node-feat.csv.gz", "0,1,2\n3,4\n", "line 2: 3 numbers were expected, the line has 2");
  refuse("raw/node-feat.csv.gz", "", "0 columns");
  refuse("raw/node-label.csv.gz", "0\n1\n2\n", "ends after line 3");
  refuse("raw/num-node-list.csv.gz", "3\n2\n", "several graphs");
  refuse("raw/num-node-list.csv.gz", "-5\n", "not negative");
  refuse("split/time/train.csv.gz", "0\n9\n", "names node 9");
  write_ogb(folder / "ogbn_arxiv");
  write_file(raw / "node-feat.csv.gz", gzip(lines(std::vector<std::string>(5, "1,2,3"))).substr(0, 20));
  EXPECT_ERROR(import_ogb(folder, "ogbn_arxiv"), Kind::input, "(line ");
  std::filesystem::remove(raw / "edge.csv.gz");
  EXPECT_ERROR(import_ogb(folder, "ogbn_arxiv"), Kind::input, "edge.csv.gz is missing");
  write_ogb(folder / "ogbn_arxiv");
  std::filesystem::create_directories(folder / "ogbn_arxiv" / "split" / "random");
  EXPECT_ERROR(import_ogb(folder, "ogbn_arxiv"), Kind::config, "random, time");
  EXPECT_ERROR(import_ogb(folder, "ogbn_arxiv", {.split = "x", .add_inverse_edges = {}}), Kind::config,
               "--split is x");
  CHECK(import_ogb(folder, "ogbn_arxiv", {.split = "time", .add_inverse_edges = {}}).train_nodes == 2);
  EXPECT_ERROR(open_ogb_folder(folder / "out.gneiss", {}), Kind::input, "no folder raw");
}

TEST_CASE("ogbn-arxiv has the degrees that OGB and PyG give it, from its tables and from its arrays") {
  const auto source = find_dataset("ogbn_arxiv");
  if (!source) SKIP_TEST(missing_dataset("ogbn_arxiv"));
  const TemporaryFolder folder;
  ImportOptions options;
  const auto tables = *source / "ogb_layout" / "ogbn_arxiv";
  const DatasetStatistics directed = import_graph(open_ogb_folder(tables, {}), folder / "directed", options);
  CHECK(directed.info.node_count == 169'343);
  CHECK(directed.info.edge_count == 1'166'243);
  CHECK(directed.info.class_count == 40);
  CHECK(directed.degree_max == 13'155);
  options.undirected = true;
  const DatasetStatistics undirected = import_graph(open_ogb_folder(tables, {}), folder / "tables", options);
  CHECK(undirected.info.edge_count == 2'315'598);
  CHECK(undirected.degree_max == 13'161);
  import_graph(open_npy_folder(*source), folder / "arrays", options);
  for (const char* file : {graph_file_name, features_file_name, labels_file_name}) {
    CHECK(read_file(folder / "tables" / file) == read_file(folder / "arrays" / file));
  }
}

}  // namespace gneiss
