// An unzipped OGB node-property folder as a graph: CSV tables, or the binary archives of papers100M.
//
//   raw/edge.csv.gz, node-feat.csv.gz, node-label.csv.gz, num-node-list.csv.gz, num-edge-list.csv.gz
//   raw/data.npz, node-label.npz           (binary: edge_index, node_feat, num_nodes_list, num_edges_list)
//   split/NAME/{train, valid, test}.csv.gz
//
// Source: ogb.io.read_graph_raw and ogb.nodeproppred (version 1.3), whose degrees are kept: the loader adds
//         inverse edges for ogbn-products and ogbn-proteins, and none for arxiv, mag and papers100M.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "storage/import/graph_source.h"

namespace gneiss {

struct OgbOptions {
  std::string split;                      // below split/; empty: the only one there
  std::optional<bool> add_inverse_edges;  // else by the folder's name, as OGB's master table has it
};

// Throws Error(input) naming the file that is missing or does not fit the others.
GraphSource open_ogb_folder(const std::filesystem::path& given, const OgbOptions& options);

// What OGB's master table says of `dataset` ("ogbn-products", "ogbn_products", "products"); nothing where it
// does not know it.
std::optional<bool> ogb_adds_inverse_edges(std::string_view dataset);

}  // namespace gneiss
