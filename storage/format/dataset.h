// A dataset: a folder with topology, features, labels, splits and a catalog.
//
// Why:     every command opens the same checked thing; sizes agree among files before any is used.
// Threads: const members may run concurrently.
// Errors:  input (not a dataset, another version), corruption (files that disagree with the catalog).
// Format:  storage/FORMAT.md, "Dataset".
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "storage/base/dtype.h"
#include "storage/base/ids.h"
#include "storage/format/batch_key.h"
#include "storage/format/catalog.h"
#include "storage/format/node_labels.h"
#include "storage/format/section_file.h"
#include "storage/io/file_lock.h"

namespace gneiss {

inline constexpr Magic graph_magic{'G', 'N', 'E', 'I', 'S', 'C', 'S', 'C'};
inline constexpr Magic features_magic{'G', 'N', 'E', 'I', 'S', 'F', 'E', 'A'};
inline constexpr Magic labels_magic{'G', 'N', 'E', 'I', 'S', 'L', 'A', 'B'};

inline constexpr const char* graph_file_name = "graph.csc";
inline constexpr const char* features_file_name = "features.bin";
inline constexpr const char* labels_file_name = "labels.bin";

struct DatasetInfo {
  std::uint64_t node_count = 0;
  std::uint64_t edge_count = 0;  // in-edges stored, after reversal and deduplication
  std::uint32_t feature_dim = 0;
  Dtype feature_dtype = Dtype::f32;
  std::uint32_t class_count = 0;    // 0 where labels have columns
  std::uint32_t label_columns = 0;  // of 0, 1 or none for each node; 0: one class a node
  std::string source{};             // what it was made from, in words

  std::uint64_t row_bytes() const noexcept { return feature_dim * size_of(feature_dtype); }
  std::uint64_t feature_bytes() const noexcept { return node_count * row_bytes(); }
  std::uint64_t label_bytes() const noexcept {
    return node_count * (label_columns > 0 ? label_columns : sizeof(std::int32_t));
  }
};

class Dataset {
 public:
  // Checks the catalog's version and manifest, and the header and size of every file against it.
  static Dataset open(const std::filesystem::path& folder, Catalog::Access access = Catalog::Access::read);

  const std::filesystem::path& folder() const noexcept { return folder_; }
  const DatasetInfo& info() const noexcept { return info_; }
  std::uint64_t fingerprint() const noexcept {
    return fingerprint_;
  }  // of all files; what a preparation is made from
  Catalog& catalog() noexcept { return catalog_; }
  const Catalog& catalog() const noexcept { return catalog_; }

  const SectionFile& graph() const noexcept { return graph_; }
  const SectionFile& features() const noexcept { return features_; }
  const SectionFile& labels() const noexcept { return labels_; }

  // Ids are checked to be below node_count and distinct, in the source's order.
  std::vector<NodeId> split(Split split) const;
  // In-edge offsets: N + 1 values, checked to ascend from 0 to edge_count.
  std::vector<std::uint64_t> read_indptr() const;
  // Checked: classes are -1 or below class_count, entries are 0, 1 or `unlabelled`.
  NodeLabels read_labels() const;
  // Of the ids of all splits in their order, read a piece at a time.
  std::uint64_t checksum_of_splits() const;
  nlohmann::json statistics() const;  // what the importer recorded

 private:
  Dataset(std::filesystem::path folder, FileLock lock, Catalog catalog);
  std::filesystem::path folder_;
  FileLock lock_;  // shared: a dataset is not replaced under those who read it
  Catalog catalog_;
  DatasetInfo info_;
  SectionFile graph_;
  SectionFile features_;
  SectionFile labels_;
  std::uint64_t fingerprint_ = 0;
};

// Throws Error unless there is such a folder: input, or io where it is being replaced.
void expect_dataset_folder(const std::filesystem::path& folder);

struct DatasetSplits {
  std::vector<NodeId> train;
  std::vector<NodeId> valid;
  std::vector<NodeId> test;
};

// Builds a dataset beside its final name, DIR.partial, and renames it once it is whole.
//   graph.csc, features.bin and labels.bin are written by the caller into folder() with SectionWriter
//   (sections csc_indptr and csc_indices; feature_rows with feature_checksum_block_bytes; class_labels or
//   label_columns).
// A writer destroyed before seal() removes what it wrote. What a killed one left is removed by the next. Runs
// that lie in an old dataset are kept in the new one; its preparations go with it.
class DatasetWriter {
 public:
  // Throws Error(config) when `target` exists and not `force`, has the name of one in work, or folders that
  // are not of Gneiss are in the way; Error(input) when its parent does not exist; Error(io) when another
  // process makes or reads it.
  DatasetWriter(std::filesystem::path target, bool force);
  ~DatasetWriter();
  DatasetWriter(const DatasetWriter&) = delete;
  DatasetWriter& operator=(const DatasetWriter&) = delete;

  const std::filesystem::path& folder() const noexcept { return partial_; }
  // `info` must agree with the files written. Replaces an old dataset (force) only at the last moment.
  void seal(const DatasetInfo& info, const DatasetSplits& splits, const nlohmann::json& statistics);

 private:
  void take_partial_folder();

  std::filesystem::path target_;
  std::filesystem::path partial_;
  std::filesystem::path replaced_;
  FileLock lock_;  // of partial_
  bool sealed_ = false;
};

}  // namespace gneiss
