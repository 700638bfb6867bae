#include "sampler/topology.h"

#include <algorithm>

#include "storage/base/error.h"

namespace gneiss {

LoadedTopology::LoadedTopology(const Dataset& dataset)
    : indptr_(dataset.read_indptr()),
      indices_(dataset.graph().read_section(dataset.graph().require(SectionKind::csc_indices))) {
  dataset.graph().file().drop_cache();
  std::uint32_t greatest = 0;
  for (const std::uint32_t source : indices_.as<std::uint32_t>()) greatest = std::max(greatest, source);
  if (!indices_.empty() && greatest >= dataset.info().node_count) {
    fail(Kind::corruption, "{}: an edge comes from node {}, the dataset has {} nodes", dataset.graph().name(),
         greatest, dataset.info().node_count);
  }
}

}  // namespace gneiss
