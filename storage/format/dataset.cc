#include "storage/format/dataset.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "storage/base/error.h"
#include "storage/format/file_record.h"
#include "storage/format/json_text.h"
#include "storage/io/folders.h"

namespace gneiss {
namespace {

constexpr std::size_t split_chunk_ids = 1U << 20;  // a catalog value of 4 MiB

bool is_graph_section(SectionKind kind) {
  return kind == SectionKind::csc_indptr || kind == SectionKind::csc_indices;
}
bool is_feature_section(SectionKind kind) { return kind == SectionKind::feature_rows; }
bool is_label_section(SectionKind kind) {
  return kind == SectionKind::class_labels || kind == SectionKind::label_columns;
}

std::string split_key(Split split, std::size_t chunk) {
  return fmt::format("split/{}/{:08}", name_of(split), chunk);
}

// Within these, no product of counts overflows and every id fits.
constexpr std::uint32_t feature_dim_max = 1U << 24;

void check_sizes(const DatasetInfo& info, const std::string& folder) {
  const auto check = [&](const char* what, std::uint64_t value, std::uint64_t least, std::uint64_t most) {
    if (value >= least && value <= most) return;
    fail(Kind::corruption, "{}: the catalog says {} {}; {} to {} are possible", folder, value, what, least,
         most);
  };
  check("nodes", info.node_count, 1, max_node_count);
  check("edges", info.edge_count, 0, std::uint64_t{1} << 56);
  check("features a node", info.feature_dim, 1, feature_dim_max);
  check("classes", info.class_count, 0, 0x7FFFFFFF);
  check("labels a node", info.label_columns, 0, label_columns_max);
}

struct Manifest {
  DatasetInfo info;
  nlohmann::json files;
};

Manifest read_manifest(const Catalog& catalog, const std::string& folder) {
  const auto json = catalog.get_json("dataset");
  try {
    const auto version = integer_of<std::uint32_t>(json.at("format_version"));
    if (version != format_version) {
      fail(Kind::input, "{} has dataset format version {}, this program reads version {}; {}", folder,
           version, format_version,
           version > format_version ? "use a newer gneiss" : "import it again with this gneiss");
    }
    DatasetInfo info;
    info.node_count = integer_of<std::uint64_t>(json.at("nodes"));
    info.edge_count = integer_of<std::uint64_t>(json.at("edges"));
    info.feature_dim = integer_of<std::uint32_t>(json.at("feature_dim"));
    const auto dtype = json.at("feature_dtype").get<std::string>();
    if (dtype != "f32" && dtype != "f16" && dtype != "bf16") {
      fail(Kind::corruption, "{}: the catalog says features are of type '{}'", folder, dtype);
    }
    info.feature_dtype = parse_feature_dtype(dtype);
    info.class_count = integer_of<std::uint32_t>(json.at("classes"));
    info.label_columns = integer_or<std::uint32_t>(json, "label_columns", 0);
    info.source = json.at("source").get<std::string>();
    check_sizes(info, folder);
    return {std::move(info), json.at("files")};
  } catch (const nlohmann::json::exception& error) {
    fail(Kind::corruption, "{}: the catalog's manifest is damaged: {}", folder, error.what());
  }
}

void expect_file(const SectionFile& file, const nlohmann::json& files, const char* name) {
  if (!files.contains(name) || files[name] != describe_file(file)) {
    fail(Kind::corruption, "{} is not the file that the catalog describes; import the dataset again",
         file.name());
  }
}

void check_shapes(const DatasetInfo& info, const SectionFile& graph, const SectionFile& features,
                  const SectionFile& labels) {
  expect_shape(graph.require(SectionKind::csc_indptr), Dtype::u64, info.node_count + 1, 1, graph.name());
  expect_shape(graph.require(SectionKind::csc_indices), Dtype::u32, info.edge_count, 1, graph.name());
  const SectionEntry& rows = features.require(SectionKind::feature_rows);
  expect_shape(rows, info.feature_dtype, info.node_count, info.feature_dim, features.name());
  if (rows.checksum_block_bytes != feature_checksum_block_bytes) {
    fail(Kind::corruption, "{}: its rows have a checksum per {} bytes, expected one per {}", features.name(),
         rows.checksum_block_bytes, feature_checksum_block_bytes);
  }
  if (info.label_columns > 0) {
    expect_shape(labels.require(SectionKind::label_columns), Dtype::u8, info.node_count, info.label_columns,
                 labels.name());
  } else {
    expect_shape(labels.require(SectionKind::class_labels), Dtype::i32, info.node_count, 1, labels.name());
  }
}

constexpr const char* partial_ending = ".partial";
constexpr const char* replaced_ending = ".replaced";

// "a/" and "a" are one folder.
std::filesystem::path without_slash(const std::filesystem::path& folder) {
  return folder.has_filename() ? folder : folder.parent_path();
}

// Trained models outlive the data they came from: what lies in `old` gets a free name in `target`. Throws
// Error(io) rather than let one go.
void bring_runs_home(const std::filesystem::path& old, const std::filesystem::path& target) {
  if (!std::filesystem::exists(old / "runs")) return;
  refuse_link(old / "runs");
  refuse_link(target / "runs");
  make_folders(target / "runs");
  for (const auto& run : entries_of(old / "runs")) {
    auto home = target / "runs" / run.filename();
    for (int number = 2; std::filesystem::exists(home); ++number)
      home = target / "runs" / fmt::format("{}-{}", run.filename().string(), number);
    std::error_code error;
    std::filesystem::rename(run, home, error);
    if (error) fail_errno(run.string(), "move the old dataset's run to the new one", error.value());
  }
  sync_folder(target / "runs");  // before the folder that they come from is removed
}

// What is in `folder` and can be someone else's; empty: nothing.
std::string strange_entry(const std::filesystem::path& folder) {
  constexpr std::array<std::string_view, 6> ours{"catalog",        graph_file_name, features_file_name,
                                                 labels_file_name, "prepared",      "runs"};
  for (const auto& entry : entries_of(folder)) {
    const std::string name = entry.filename();
    const std::string_view stem =
        std::string_view(name).substr(0, name.ends_with(".tmp") ? name.size() - 4 : name.size());
    // What File::create_anonymous() has not yet taken the name of is ours too.
    if (name.starts_with(".gneiss-") || std::ranges::find(ours, stem) != ours.end()) continue;
    return name;
  }
  return {};
}

// A dataset's folder is replaced, and those beside its name are emptied, only if nothing in them can be
// someone else's.
void refuse_strange_entries(const std::filesystem::path& folder) {
  if (const std::string name = strange_entry(folder); !name.empty()) {
    fail(Kind::config, "{} is in the way and holds '{}', which is not of a Gneiss dataset; move it away",
         folder.string(), name);
  }
}

}  // namespace

Dataset::Dataset(std::filesystem::path folder, FileLock lock, Catalog catalog)
    : folder_(std::move(folder)),
      lock_(std::move(lock)),
      catalog_(std::move(catalog)),
      graph_(folder_ / graph_file_name, graph_magic, is_graph_section),
      features_(folder_ / features_file_name, features_magic, is_feature_section),
      labels_(folder_ / labels_file_name, labels_magic, is_label_section) {}

void expect_dataset_folder(const std::filesystem::path& folder) {
  std::error_code unknown;  // what cannot be looked at is told when it is opened
  if (std::filesystem::is_directory(folder, unknown)) return;
  const auto replaced = std::filesystem::path(without_slash(folder).string() + replaced_ending);
  if (std::filesystem::is_directory(replaced, unknown)) {
    fail(
        Kind::io,
        "{} is being replaced by another gneiss: wait until it ends; where that was killed, run it again, or "
        "rename {}",
        folder.string(), replaced.string());
  }
  if (std::filesystem::is_directory(folder, unknown)) return;  // replaced between the two looks
  fail(Kind::input, "{} does not exist or is not a folder; give the folder that 'gneiss import' made",
       folder.string());
}

Dataset Dataset::open(const std::filesystem::path& folder, Catalog::Access access) {
  expect_dataset_folder(folder);
  auto lock = FileLock::try_take(folder / graph_file_name, FileLock::Mode::shared);
  if (!lock) fail(Kind::io, "{} is being replaced by another gneiss; wait until it ends", folder.string());
  Catalog catalog(folder / "catalog", access);
  auto [info, files] = read_manifest(catalog, folder.string());
  Dataset dataset(folder, std::move(*lock), std::move(catalog));
  expect_file(dataset.graph_, files, graph_file_name);
  expect_file(dataset.features_, files, features_file_name);
  expect_file(dataset.labels_, files, labels_file_name);
  check_shapes(info, dataset.graph_, dataset.features_, dataset.labels_);
  dataset.info_ = std::move(info);
  const std::array fingerprints{dataset.graph_.fingerprint(), dataset.features_.fingerprint(),
                                dataset.labels_.fingerprint()};
  dataset.fingerprint_ = checksum(std::as_bytes(std::span(fingerprints)));
  return dataset;
}

std::vector<NodeId> Dataset::split(Split split) const {
  std::vector<NodeId> nodes;
  for (const std::string& key : catalog_.keys(fmt::format("split/{}/", name_of(split)))) {
    const std::string value = catalog_.get(key).value_or("");
    if (value.size() % sizeof(NodeId) != 0) {
      fail(Kind::corruption, "{}: the {} split in the catalog is cut short", folder_.string(),
           name_of(split));
    }
    const std::size_t count = value.size() / sizeof(NodeId);
    nodes.resize(nodes.size() + count);
    if (count == 0) continue;
    std::memcpy(nodes.data() + nodes.size() - count, value.data(), count * sizeof(NodeId));
  }
  std::vector<bool> named(nodes.empty() ? 0 : info_.node_count);
  for (const NodeId node : nodes) {
    if (to_index(node) >= info_.node_count) {
      fail(Kind::corruption, "{}: the {} split names node {}, the dataset has {}", folder_.string(),
           name_of(split), to_index(node), info_.node_count);
    }
    if (named[to_index(node)]) {  // a batch's seeds are distinct
      fail(Kind::corruption, "{}: the {} split names node {} twice", folder_.string(), name_of(split),
           to_index(node));
    }
    named[to_index(node)] = true;
  }
  return nodes;
}

std::uint64_t Dataset::checksum_of_splits() const {
  StreamChecksum stream;
  for (const Split split : all_splits) {
    std::uint64_t bytes = 0;
    for (const std::string& key : catalog_.keys(fmt::format("split/{}/", name_of(split)))) {
      const std::string value = catalog_.get(key).value_or("");
      stream.update(std::as_bytes(std::span(value)));
      bytes += value.size();
    }
    stream.update(std::as_bytes(std::span(&bytes, 1)));  // where one ends and the next begins
  }
  return stream.value();
}

std::vector<std::uint64_t> Dataset::read_indptr() const {
  const AlignedBuffer bytes = graph_.read_section(graph_.require(SectionKind::csc_indptr));
  const auto values = bytes.as<std::uint64_t>();
  std::vector<std::uint64_t> indptr(values.begin(), values.end());
  if (indptr.front() != 0 || indptr.back() != info_.edge_count || !std::ranges::is_sorted(indptr)) {
    fail(Kind::corruption, "{}: the edge offsets do not ascend from 0 to {}", graph_.name(),
         info_.edge_count);
  }
  return indptr;
}

NodeLabels Dataset::read_labels() const {
  NodeLabels labels{.classes = {}, .entries = {}, .columns = info_.label_columns};
  if (labels.columns > 0) {
    const AlignedBuffer bytes = labels_.read_section(labels_.require(SectionKind::label_columns));
    const auto entries = bytes.as<std::uint8_t>();
    const auto wrong = std::ranges::find_if_not(entries, is_label_entry);
    if (wrong != entries.end()) {
      const auto index = static_cast<std::size_t>(wrong - entries.begin());
      fail(Kind::corruption, "{}: node {}, column {} holds {}, which is neither 0 nor 1 nor none",
           labels_.name(), index / labels.columns, index % labels.columns, *wrong);
    }
    labels.entries.assign(entries.begin(), entries.end());
    return labels;
  }
  const AlignedBuffer bytes = labels_.read_section(labels_.require(SectionKind::class_labels));
  const auto values = bytes.as<std::int32_t>();
  for (const std::int32_t label : values) {
    if (label < -1 || label >= static_cast<std::int64_t>(info_.class_count)) {
      fail(Kind::corruption, "{}: label {} is not among the {} classes", labels_.name(), label,
           info_.class_count);
    }
  }
  labels.classes.assign(values.begin(), values.end());
  return labels;
}

nlohmann::json Dataset::statistics() const {
  auto statistics = catalog_.get_json("statistics");
  if (!statistics.is_object()) {
    fail(Kind::corruption, "{}: the catalog's statistics are damaged; import the dataset again",
         folder_.string());
  }
  return statistics;
}

DatasetWriter::DatasetWriter(std::filesystem::path target, bool force) : target_(std::move(target)) {
  target_ = target_.lexically_normal();
  if (!target_.has_filename()) target_ = target_.parent_path();
  if (!target_.has_filename() || target_ == "." || target_ == "..") {
    fail(Kind::config, "'{}' cannot name a dataset; give the name of a folder to make", target_.string());
  }
  for (const char* ending : {partial_ending, replaced_ending}) {
    if (target_.string().ends_with(ending)) {
      fail(Kind::config, "'{}' cannot name a dataset: what ends in {} is one in work; choose another name",
           target_.string(), ending);
    }
  }
  partial_ = target_.string() + partial_ending;
  replaced_ = target_.string() + replaced_ending;
  if (std::filesystem::exists(target_)) {
    if (!force)
      fail(Kind::config, "{} exists; choose another name, or pass --force to replace it", target_.string());
    if (!std::filesystem::exists(target_ / "catalog" / "CURRENT")) {
      fail(Kind::config,
           "{} exists and is not a Gneiss dataset; it will not be replaced, choose another name",
           target_.string());
    }
    if (!FileLock::try_take(target_ / graph_file_name, FileLock::Mode::exclusive)) {
      fail(Kind::io, "{} is being read by another gneiss; wait until it ends, or choose another name",
           target_.string());
    }
    refuse_strange_entries(target_);
  }
  for (const auto& folder : {target_ / "runs", partial_, replaced_}) refuse_link(folder);
  const auto parent = target_.parent_path().empty() ? std::filesystem::path(".") : target_.parent_path();
  if (!std::filesystem::is_directory(parent)) {
    fail(Kind::input, "{} does not exist; create the folder first", parent.string());
  }
  take_partial_folder();
}

void DatasetWriter::take_partial_folder() {
  std::error_code error;
  std::filesystem::create_directory(partial_, error);  // true or not: what a killed writer left is emptied
  if (error) fail_errno(partial_.string(), "create the folder", error.value());
  auto lock = FileLock::try_take(partial_, FileLock::Mode::exclusive);
  if (!lock || !lock->is_at(partial_)) {
    fail(Kind::io, "{} is being made by another gneiss; wait until it ends, or choose another name",
         target_.string());
  }
  lock_ = std::move(*lock);
  refuse_strange_entries(partial_);
  for (const char* later : {"prepared", "runs"}) {  // of a dataset that was in use, which someone has renamed
    if (!std::filesystem::exists(partial_ / later)) continue;
    fail(Kind::config, "{} is in the way and holds {}/, which no unfinished dataset has; move it away",
         partial_.string(), later);
  }
  for (const auto& entry : entries_of(partial_)) {
    std::filesystem::remove_all(entry, error);
    if (error) fail_errno(entry.string(), "remove what an earlier try left", error.value());
  }
}

DatasetWriter::~DatasetWriter() {
  if (sealed_) return;
  std::error_code ignored;
  std::filesystem::remove_all(partial_, ignored);
}

void DatasetWriter::seal(const DatasetInfo& info, const DatasetSplits& splits,
                         const nlohmann::json& statistics) {
  const SectionFile graph(partial_ / graph_file_name, graph_magic, is_graph_section);
  const SectionFile features(partial_ / features_file_name, features_magic, is_feature_section);
  const SectionFile labels(partial_ / labels_file_name, labels_magic, is_label_section);
  check_sizes(info, partial_.string());
  check_shapes(info, graph, features, labels);
  {
    Catalog catalog(partial_ / "catalog", Catalog::Access::create);
    std::vector<Catalog::Change> changes;
    nlohmann::json manifest{{"format_version", format_version},
                            {"nodes", info.node_count},
                            {"edges", info.edge_count},
                            {"feature_dim", info.feature_dim},
                            {"feature_dtype", name_of(info.feature_dtype)},
                            {"classes", info.class_count},
                            {"source", info.source},
                            {"files",
                             {{graph_file_name, describe_file(graph)},
                              {features_file_name, describe_file(features)},
                              {labels_file_name, describe_file(labels)}}}};
    if (info.label_columns > 0) manifest["label_columns"] = info.label_columns;
    changes.emplace_back("dataset", manifest.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    changes.emplace_back("statistics", statistics.dump());
    for (const auto& [split, nodes] :
         {std::pair{Split::train, &splits.train}, std::pair{Split::valid, &splits.valid},
          std::pair{Split::test, &splits.test}}) {
      for (std::size_t first = 0; first < nodes->size(); first += split_chunk_ids) {
        const auto chunk = std::span(*nodes).subspan(first, std::min(split_chunk_ids, nodes->size() - first));
        changes.emplace_back(split_key(split, first / split_chunk_ids),
                             std::string(reinterpret_cast<const char*>(chunk.data()), chunk.size_bytes()));
      }
    }
    catalog.apply(changes);
    catalog.close();
  }
  sync_folder(partial_ / "catalog");
  sync_folder(partial_);
  // Two renames: a kill between them leaves the old one as `old`, with its runs, which the next seal brings
  // home.
  const std::filesystem::path& old = replaced_;
  std::error_code error;
  const auto wait_for_readers = [](const std::filesystem::path& folder) {
    return FileLock::wait_for(folder / graph_file_name, FileLock::Mode::exclusive,
                              "those who read the old dataset");
  };
  if (std::filesystem::exists(target_)) {
    const FileLock alone = wait_for_readers(target_);
    if (std::filesystem::exists(old)) refuse_strange_entries(old);
    bring_runs_home(old, target_);
    {
      const FileLock alone_in_old = wait_for_readers(old);
      std::filesystem::remove_all(old, error);
    }
    if (!error) std::filesystem::rename(target_, old, error);
    if (error) fail_errno(target_.string(), "move the old dataset away", error.value());
    try {
      // Else a power cut may keep the second rename alone, and the runs are lost.
      sync_folder(target_.parent_path());
      publish(partial_, target_);
    } catch (const Error&) {
      if (!std::filesystem::exists(target_, error)) std::filesystem::rename(old, target_, error);
      throw;
    }
  } else {
    publish(partial_, target_);
  }
  if (std::filesystem::exists(old)) {
    bring_runs_home(old, target_);
    if (strange_entry(old).empty()) std::filesystem::remove_all(old, error);
    sync_folder(target_.parent_path());
  }
  sealed_ = true;
}

}  // namespace gneiss
