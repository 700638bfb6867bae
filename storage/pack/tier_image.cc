#include "storage/pack/tier_image.h"

#include "storage/base/error.h"
#include "storage/format/preparation.h"

namespace gneiss {

TierImage::TierImage(const Dataset& dataset, const TierPlan& plan, const std::filesystem::path& folder)
    : plan_(plan),
      row_bytes_(dataset.info().row_bytes()),
      file_(folder / cpu_tier_file_name, cpu_tier_magic, dataset.fingerprint()) {
  file_.begin({.kind = SectionKind::feature_rows,
               .dtype = dataset.info().feature_dtype,
               .columns = dataset.info().feature_dim,
               .checksum_block_bytes = feature_checksum_block_bytes});
}

void TierImage::take_rows(std::uint64_t first_node, std::span<const std::byte> rows) {
  const std::uint64_t end = first_node + rows.size() / row_bytes_;
  for (; next_ < plan_.cpu_nodes.size() && to_index(plan_.cpu_nodes[next_]) < end; ++next_) {
    file_.append(rows.subspan((to_index(plan_.cpu_nodes[next_]) - first_node) * row_bytes_, row_bytes_));
  }
}

void TierImage::finish() {
  GNEISS_ASSERT(next_ == plan_.cpu_nodes.size());
  file_.end();
  file_.write<NodeId>({.kind = SectionKind::tier_nodes, .dtype = Dtype::u32}, plan_.cpu_nodes);
  if (!plan_.cycle_moves.empty()) {
    file_.write<std::uint32_t>({.kind = SectionKind::tier_moves, .dtype = Dtype::u32}, plan_.cycle_moves);
  }
  file_.finish();
}

}  // namespace gneiss
