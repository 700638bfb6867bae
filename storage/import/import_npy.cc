#include "storage/import/import_npy.h"

#include "storage/base/error.h"
#include "storage/import/npy_sources.h"

namespace gneiss {
namespace {

NpyArray open_array(const std::filesystem::path& folder, const char* file, const char* what) {
  const auto path = folder / file;
  if (!std::filesystem::exists(path)) {
    fail(Kind::input, "{} is missing; 'import npy' reads {} from it", path.string(), what);
  }
  return NpyArray::open_file(path);
}

}  // namespace

GraphSource open_npy_folder(const std::filesystem::path& folder) {
  if (!std::filesystem::is_directory(folder)) {
    fail(Kind::input,
         "{} is not a folder; 'import npy' reads edge_index.npy, node_feat.npy, node_label.npy and "
         "{{train,val,test}}_idx.npy from one",
         folder.string());
  }
  GraphSource source;
  source.description = fmt::format("npy {}", folder.string());
  source.features = make_npy_rows(open_array(folder, "node_feat.npy", "the features, (nodes, dimension),"));
  source.node_count = source.features->row_count();
  source.edges = make_npy_edges(open_array(folder, "edge_index.npy", "the edges, (2, E) or (E, 2),"));
  source.labels = make_npy_labels(
      open_array(folder, "node_label.npy", "a class, or several labels of 0 and 1, for each node"));
  const char* valid = std::filesystem::exists(folder / "valid_idx.npy") ? "valid_idx.npy" : "val_idx.npy";
  const std::array files{"train_idx.npy", valid, "test_idx.npy"};
  for (std::size_t i = 0; i < files.size(); ++i) {
    source.splits[i] =
        make_npy_split(open_array(folder, files[i], "the node ids of a split"), source.node_count);
  }
  return source;
}

}  // namespace gneiss
