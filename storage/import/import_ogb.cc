#include "storage/import/import_ogb.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "storage/base/error.h"
#include "storage/import/csv_reader.h"
#include "storage/import/gz_source.h"
#include "storage/import/npy_sources.h"
#include "storage/import/zip_source.h"

namespace gneiss {
namespace {

std::unique_ptr<CsvReader> open_table(const std::filesystem::path& path, const char* what) {
  if (!exists_maybe_gz(path)) {
    fail(Kind::input, "{}.gz is missing; 'import ogb' reads {} from it", path.string(), what);
  }
  return std::make_unique<CsvReader>(open_maybe_gz(path));
}

void expect_table_end(CsvReader& table, std::uint64_t rows, const char* counted_in) {
  if (table.count_fields() != 0) {
    fail(Kind::input, "{} goes on after {} rows, as many as {} says there are", table.name(), rows,
         counted_in);
  }
}

template <class T>
void expect_row(CsvReader& table, std::span<T> row, std::uint64_t rows, const char* counted_in) {
  if (!table.next_row(row)) {
    fail(Kind::input, "{} ends after line {}, {} says there are {} rows", table.name(), table.line(),
         counted_in, rows);
  }
}

// num-node-list.csv.gz and num-edge-list.csv.gz: a line for each graph, and there is one.
std::uint64_t read_count(const std::filesystem::path& path, const char* what) {
  const auto table = open_table(path, what);
  std::int64_t count = 0;
  if (!table->next_row(std::span(&count, 1))) fail(Kind::input, "{} is empty", table->name());
  if (count < 0) fail(Kind::input, "{} says {}; a count is not negative", table->name(), count);
  if (table->count_fields() != 0) {
    fail(Kind::input, "{} counts several graphs; 'import ogb' reads node-property folders, which hold one",
         table->name());
  }
  return static_cast<std::uint64_t>(count);
}

class CsvEdges final : public EdgeSource {
 public:
  CsvEdges(std::unique_ptr<CsvReader> table, std::uint64_t edge_count)
      : table_(std::move(table)), edge_count_(edge_count) {}
  const std::string& name() const noexcept override { return table_->name(); }
  std::uint64_t edge_count() const noexcept override { return edge_count_; }
  void read(std::span<std::int64_t> sources, std::span<std::int64_t> destinations) override {
    std::array<std::int64_t, 2> ends{};
    const std::span<std::int64_t> row(ends);
    for (std::size_t i = 0; i < sources.size(); ++i) {
      expect_row(*table_, row, edge_count_, "num-edge-list");
      sources[i] = ends[0];
      destinations[i] = ends[1];
    }
  }
  void finish() override { expect_table_end(*table_, edge_count_, "num-edge-list"); }

 private:
  std::unique_ptr<CsvReader> table_;
  std::uint64_t edge_count_;
};

class CsvRows final : public RowSource {
 public:
  CsvRows(std::filesystem::path path, std::uint64_t row_count)
      : path_(std::move(path)), row_count_(row_count) {
    rewind();
    columns_ = table_->count_fields();
  }
  const std::string& name() const noexcept override { return table_->name(); }
  std::uint64_t row_count() const noexcept override { return row_count_; }
  std::uint64_t column_count() const noexcept override { return columns_; }
  Dtype natural_dtype() const noexcept override { return Dtype::f32; }
  void rewind() override { table_ = open_table(path_, "the features"); }
  void read(std::span<float> target) override {
    for (std::size_t first = 0; first < target.size(); first += columns_) {
      expect_row(*table_, target.subspan(first, columns_), row_count_, "num-node-list");
    }
  }
  void finish() override { expect_table_end(*table_, row_count_, "num-node-list"); }

 private:
  std::filesystem::path path_;
  std::uint64_t row_count_;
  std::uint64_t columns_ = 0;
  std::unique_ptr<CsvReader> table_;
};

class CsvLabels final : public LabelSource {
 public:
  CsvLabels(std::unique_ptr<CsvReader> table, std::uint64_t row_count)
      : table_(std::move(table)),
        row_count_(row_count),
        columns_(std::max<std::size_t>(1, table_->count_fields())) {
  }  // an empty table is told of when it is read
  const std::string& name() const noexcept override { return table_->name(); }
  std::uint64_t row_count() const noexcept override { return row_count_; }
  std::uint64_t column_count() const noexcept override { return columns_; }
  void read(std::span<double> target) override {
    for (std::size_t first = 0; first < target.size(); first += columns_) {
      expect_row(*table_, target.subspan(first, columns_), row_count_, "num-node-list");
    }
  }
  void finish() override { expect_table_end(*table_, row_count_, "num-node-list"); }

 private:
  std::unique_ptr<CsvReader> table_;
  std::uint64_t row_count_;
  std::uint64_t columns_;
};

// Read twice: how many ids there are is known before any is kept.
class CsvSplit final : public SplitSource {
 public:
  CsvSplit(std::filesystem::path path, std::uint64_t node_count) : path_(std::move(path)) {
    open();
    // A split lists each node once, and distinct ids take more than a bit each, however well compressed.
    const std::uint64_t ids_max = 8 * std::filesystem::file_size(table_->name()) + (1U << 16);
    std::int64_t id = 0;
    while (table_->next_row(std::span(&id, 1))) {
      ++id_count_;
      if (id_count_ > node_count) {
        fail(Kind::input, "{} lists more nodes than the {} of the graph", table_->name(), node_count);
      }
      if (id_count_ > ids_max) {
        fail(Kind::input, "{} unpacks to more ids than its bytes can hold; it is damaged, or made to do harm",
             table_->name());
      }
    }
    open();
  }
  const std::string& name() const noexcept override { return table_->name(); }
  std::uint64_t id_count() const noexcept override { return id_count_; }
  void read(std::span<std::int64_t> ids) override {
    for (std::int64_t& id : ids) {
      if (!table_->next_row(std::span(&id, 1))) {
        fail(Kind::input, "{} ends after line {}, it was longer before; do not change it meanwhile",
             table_->name(), table_->line());
      }
    }
  }
  void finish() override { expect_table_end(*table_, id_count_, "it"); }

 private:
  void open() { table_ = open_table(path_, "the node ids of a split"); }

  std::filesystem::path path_;
  std::unique_ptr<CsvReader> table_;
  std::uint64_t id_count_ = 0;
};

std::filesystem::path find_split(const std::filesystem::path& folder, const std::string& wanted) {
  const std::filesystem::path parent = folder / "split";
  if (!std::filesystem::is_directory(parent)) {
    fail(Kind::input, "{} is missing; 'import ogb' reads the splits from it", parent.string());
  }
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(parent)) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  if (!wanted.empty()) {
    if (std::ranges::find(names, wanted) != names.end()) return parent / wanted;
    fail(Kind::config, "--split is {}; {} holds {}", wanted, parent.string(), fmt::join(names, ", "));
  }
  if (names.size() == 1) return parent / names[0];
  if (names.empty()) fail(Kind::input, "{} is empty; the splits are missing", parent.string());
  fail(Kind::config, "{} holds several splits ({}); choose one with --split", parent.string(),
       fmt::join(names, ", "));
}

std::uint64_t read_binary_count(const std::filesystem::path& archive, const std::string& entry) {
  const NpyArray array = NpyArray::open_zip_entry(archive, entry);
  if (array.header().element_count != 1 || is_floating(array.header().type)) {
    fail(Kind::input, "{} has the shape {} of {}; one integer was expected, for one graph", array.name(),
         format_shape(array.shape()), name_of(array.header().type));
  }
  std::int64_t count = 0;
  array.stream().read(std::span(&count, 1));
  if (count < 0) fail(Kind::input, "{} says {}; a count is not negative", array.name(), count);
  return static_cast<std::uint64_t>(count);
}

void open_binary(const std::filesystem::path& raw, GraphSource& source) {
  const auto data = raw / "data.npz";
  const auto labels = raw / "node-label.npz";
  source.node_count = read_binary_count(data, "num_nodes_list.npy");
  const std::uint64_t edge_count = read_binary_count(data, "num_edges_list.npy");
  source.edges = make_npy_edges(NpyArray::open_zip_entry(data, "edge_index.npy"));
  if (source.edges->edge_count() != edge_count) {
    fail(Kind::input, "{} holds {} edges, num_edges_list says {}", source.edges->name(),
         source.edges->edge_count(), edge_count);
  }
  if (!zip_has_entry(data, "node_feat.npy")) {
    fail(Kind::input, "{} holds no node_feat.npy; a graph without features cannot be imported",
         data.string());
  }
  source.features = make_npy_rows(NpyArray::open_zip_entry(data, "node_feat.npy"));
  source.labels = make_npy_labels(NpyArray::open_zip_entry(labels, "node_label.npy"));
}

void open_csv(const std::filesystem::path& raw, GraphSource& source) {
  source.node_count = read_count(raw / "num-node-list.csv", "the number of nodes");
  const std::uint64_t edge_count = read_count(raw / "num-edge-list.csv", "the number of edges");
  source.edges = std::make_unique<CsvEdges>(open_table(raw / "edge.csv", "the edges"), edge_count);
  source.features = std::make_unique<CsvRows>(raw / "node-feat.csv", source.node_count);
  source.labels =
      std::make_unique<CsvLabels>(open_table(raw / "node-label.csv", "the labels"), source.node_count);
}

}  // namespace

std::optional<bool> ogb_adds_inverse_edges(std::string_view dataset) {
  std::string name(dataset);
  std::ranges::replace(name, '_', '-');
  std::ranges::transform(name, name.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (name.starts_with("ogbn-")) name = name.substr(5);
  if (name == "products" || name == "proteins") return true;
  if (name == "arxiv" || name == "mag" || name == "papers100m") return false;
  return std::nullopt;
}

GraphSource open_ogb_folder(const std::filesystem::path& given, const OgbOptions& options) {
  if (!std::filesystem::is_directory(given / "raw")) {
    fail(Kind::input, "{} has no folder raw; give the unzipped folder of one dataset, such as ogbn_arxiv",
         given.string());
  }
  const std::filesystem::path folder = std::filesystem::canonical(given);
  GraphSource source;
  source.description = fmt::format("ogb {}", given.string());
  const std::string dataset = folder.filename().string();
  source.add_inverse_edges =
      options.add_inverse_edges.value_or(ogb_adds_inverse_edges(dataset).value_or(false));
  const auto raw = folder / "raw";
  if (std::filesystem::exists(raw / "data.npz")) {
    open_binary(raw, source);
  } else {
    open_csv(raw, source);
  }
  const auto split = find_split(folder, options.split);
  const std::array files{"train.csv", "valid.csv", "test.csv"};
  for (std::size_t i = 0; i < files.size(); ++i) {
    source.splits[i] = std::make_unique<CsvSplit>(split / files[i], source.node_count);
  }
  return source;
}

}  // namespace gneiss
