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

std::size_t TierContent::rows_below(std::uint64_t node) const {
  const auto first = std::ranges::partition_point(nodes, [&](NodeId id) { return to_index(id) < node; });
  return static_cast<std::size_t>(first - nodes.begin());
}

TierImage::TierImage(const Dataset& dataset, const TierContent& content, const std::filesystem::path& folder,
                     Unfinished unfinished)
    : content_(content),
      row_bytes_(dataset.info().row_bytes()),
      file_(folder / content.file_name, content.magic, dataset.fingerprint(), unfinished) {
  file_.begin(shape_of(dataset.info()));
}

TierImage::TierImage(const Dataset& dataset, const TierContent& content, const std::filesystem::path& folder,
                     CheckpointReader& numbers, std::uint64_t first_node)
    : content_(content),
      row_bytes_(dataset.info().row_bytes()),
      file_(folder / content.file_name, content.magic, dataset.fingerprint(), Unfinished::go_on) {
  next_ = content.rows_below(first_node);
  const std::uint64_t bytes = next_ * row_bytes_;
  file_.go_on(
      shape_of(dataset.info()),
      {.bytes = bytes, .checksums = numbers.take_many(divide_up(bytes, feature_checksum_block_bytes))});
}

void TierImage::save(std::vector<std::uint64_t>& numbers) {
  const SectionState state = file_.save();
  numbers.insert(numbers.end(), state.checksums.begin(), state.checksums.end());
}

void TierImage::take_rows(std::uint64_t first_node, std::span<const std::byte> rows) {
  const std::uint64_t end = first_node + rows.size() / row_bytes_;
  for (; next_ < content_.nodes.size() && to_index(content_.nodes[next_]) < end; ++next_) {
    file_.append(rows.subspan((to_index(content_.nodes[next_]) - first_node) * row_bytes_, row_bytes_));
  }
}

void TierImage::finish() {
  GNEISS_ASSERT(next_ == content_.nodes.size());
  file_.end();
  file_.write<NodeId>({.kind = SectionKind::tier_nodes, .dtype = Dtype::u32}, content_.nodes);
  if (!content_.moves.empty()) {
    file_.write<std::uint32_t>({.kind = SectionKind::tier_moves, .dtype = Dtype::u32}, content_.moves);
  }
  file_.finish();
}

TierInScan::TierInScan(const PackTask& task, const TierContent& content)
    : task_(task),
      content_(content),
      is_written_(task.checkpoint_seconds && std::filesystem::exists(task.folder / content.file_name)) {}

void TierInScan::begin() {
  if (is_written_ || image_) return;
  image_.emplace(*task_.dataset, content_, task_.folder,
                 task_.checkpoint_seconds ? Unfinished::keep : Unfinished::remove);
}

void TierInScan::finish() {
  if (image_) image_->finish();
  image_.reset();
  is_written_ = true;
}

void TierInScan::expect_written() const {
  if (is_written_) return;
  fail(Kind::corruption, "{} is missing", (task_.folder / content_.file_name).string());
}

void TierInScan::save(std::vector<std::uint64_t>& numbers) {
  numbers.push_back(image_ ? 1U : 0U);
  if (image_) image_->save(numbers);
}

void TierInScan::go_on(CheckpointReader& saved, std::uint64_t node) {
  const bool was_in_work = saved.take(1) != 0;
  // The image is whole when the first scan has ended, also where that was not recorded any more.
  if (!was_in_work) return expect_written();
  if (is_written_) {
    const std::uint64_t bytes = content_.rows_below(node) * task_.dataset->info().row_bytes();
    static_cast<void>(saved.take_many(divide_up(bytes, feature_checksum_block_bytes)));
    return;
  }
  image_.emplace(*task_.dataset, content_, task_.folder, saved, node);
}

TiersInScan::TiersInScan(const PackTask& task) {
  const TierPlan& plan = *task.plan;
  images_.emplace_back(task, TierContent{.file_name = cpu_tier_file_name,
                                         .magic = cpu_tier_magic,
                                         .nodes = plan.cpu_nodes,
                                         .moves = plan.cycle_moves});
  if (plan.gpu_nodes.empty()) return;
  images_.emplace_back(
      task, TierContent{.file_name = gpu_tier_file_name, .magic = gpu_tier_magic, .nodes = plan.gpu_nodes});
}

}  // namespace gneiss
