#include "storage/pack/tier_image.h"

#include <algorithm>

#include "storage/base/error.h"
#include "storage/format/preparation.h"

namespace gneiss {

namespace {

SectionShape shape_of(const DatasetInfo& info) {
  return {.kind = SectionKind::feature_rows,
          .dtype = info.feature_dtype,
          .columns = info.feature_dim,
          .checksum_block_bytes = feature_checksum_block_bytes};
}

}  // namespace

TierImage::TierImage(const Dataset& dataset, const TierPlan& plan, const std::filesystem::path& folder,
                     Unfinished unfinished)
    : plan_(plan),
      row_bytes_(dataset.info().row_bytes()),
      file_(folder / cpu_tier_file_name, cpu_tier_magic, dataset.fingerprint(), unfinished) {
  file_.begin(shape_of(dataset.info()));
}

TierImage::TierImage(const Dataset& dataset, const TierPlan& plan, const std::filesystem::path& folder,
                     CheckpointReader& numbers, std::uint64_t first_node)
    : plan_(plan),
      row_bytes_(dataset.info().row_bytes()),
      file_(folder / cpu_tier_file_name, cpu_tier_magic, dataset.fingerprint(), Unfinished::go_on) {
  next_ = rows_below(plan, first_node);
  const std::uint64_t bytes = next_ * row_bytes_;
  file_.go_on(
      shape_of(dataset.info()),
      {.bytes = bytes, .checksums = numbers.take_many(divide_up(bytes, feature_checksum_block_bytes))});
}

std::size_t TierImage::rows_below(const TierPlan& plan, std::uint64_t node) {
  const auto first =
      std::ranges::partition_point(plan.cpu_nodes, [&](NodeId id) { return to_index(id) < node; });
  return static_cast<std::size_t>(first - plan.cpu_nodes.begin());
}

void TierImage::save(std::vector<std::uint64_t>& numbers) {
  const SectionState state = file_.save();
  numbers.insert(numbers.end(), state.checksums.begin(), state.checksums.end());
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

TierInScan::TierInScan(const PackTask& task)
    : task_(task),
      is_written_(task.checkpoint_seconds && std::filesystem::exists(task.folder / cpu_tier_file_name)) {}

void TierInScan::begin() {
  if (is_written_ || image_) return;
  image_.emplace(*task_.dataset, *task_.plan, task_.folder,
                 task_.checkpoint_seconds ? Unfinished::keep : Unfinished::remove);
}

void TierInScan::finish() {
  if (image_) image_->finish();
  image_.reset();
  is_written_ = true;
}

void TierInScan::save(std::vector<std::uint64_t>& numbers) {
  numbers.push_back(image_ ? 1U : 0U);
  if (image_) image_->save(numbers);
}

void TierInScan::go_on(CheckpointReader& saved, std::uint64_t node) {
  const bool was_in_work = saved.take(1) != 0;
  // cpu.bin is whole when the first scan has ended, also where that was not recorded any more.
  if (!is_written_ && !was_in_work) {
    fail(Kind::corruption, "{} is missing", (task_.folder / cpu_tier_file_name).string());
  }
  if (!was_in_work) return;
  if (is_written_) {
    const std::uint64_t bytes = TierImage::rows_below(*task_.plan, node) * task_.dataset->info().row_bytes();
    static_cast<void>(saved.take_many(divide_up(bytes, feature_checksum_block_bytes)));
    return;
  }
  image_.emplace(*task_.dataset, *task_.plan, task_.folder, saved, node);
}

}  // namespace gneiss
