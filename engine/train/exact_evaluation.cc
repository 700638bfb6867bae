#include "engine/train/exact_evaluation.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/format/section_stream.h"

namespace gneiss {
namespace {

constexpr std::uint64_t labels_at_once = 4096;

std::uint64_t label_row_bytes(const DatasetInfo& info) {
  return info.label_columns > 0 ? info.label_columns : sizeof(std::int32_t);
}

}  // namespace

ExactEvaluator::ExactEvaluator(const Dataset& dataset, Backend& backend, const ExactRequest& request,
                               std::filesystem::path scratch_folder)
    : dataset_(dataset),
      scratch_folder_(std::move(scratch_folder)),
      plan_(plan_exact_inference(dataset, backend, request)) {
  check_scratch_space(plan_, scratch_folder_, 0);
  model_ = make_model(request.model, backend, request.options, plan_.maxima(request.options.layer_count));
  for (const Split split : {Split::valid, Split::test}) {
    SplitLabels& labels = labels_[split == Split::test ? 1 : 0];
    const auto nodes = dataset.split(split);
    labels.nodes.reserve(nodes.size());
    for (const NodeId node : nodes) labels.nodes.push_back(to_index(node));
    std::ranges::sort(labels.nodes);
    // What grows would be twice as large meanwhile.
    const std::uint32_t columns = dataset.info().label_columns;
    columns == 0 ? labels.classes.reserve(nodes.size()) : labels.entries.reserve(nodes.size() * columns);
  }
  read_labels();
}

std::uint64_t ExactEvaluator::label_bytes(const Dataset& dataset, const ExactRequest& request) {
  const std::uint64_t nodes = dataset.split(Split::valid).size() + dataset.split(Split::test).size();
  const std::uint64_t row = label_row_bytes(dataset.info());
  const std::uint64_t block =
      std::uint64_t{request.destinations_max} * request.options.class_count * sizeof(float);
  return nodes * (sizeof(std::uint32_t) + row) + block + labels_at_once * row + (4U << 20);
}

void ExactEvaluator::read_labels() {
  const SectionFile& file = dataset_.labels();
  const bool has_columns = dataset_.info().label_columns > 0;
  SequentialReader reader = stream_section(
      file, file.require(has_columns ? SectionKind::label_columns : SectionKind::class_labels), {});
  const std::uint64_t row_bytes = label_row_bytes(dataset_.info());
  std::vector<std::byte> rows(labels_at_once * row_bytes);
  for (std::uint64_t first = 0; first < dataset_.info().node_count; first += labels_at_once) {
    throw_if_interrupted();
    const auto count = std::min(labels_at_once, dataset_.info().node_count - first);
    reader.read(std::span(rows).first(count * row_bytes));
    for (SplitLabels& labels : labels_) {
      auto node = std::ranges::lower_bound(labels.nodes, first);
      for (; node != labels.nodes.end() && *node < first + count; ++node) {
        take_row(labels, std::span(rows).subspan((*node - first) * row_bytes, row_bytes));
      }
    }
  }
}

void ExactEvaluator::take_row(SplitLabels& labels, std::span<const std::byte> row) const {
  const DatasetInfo& info = dataset_.info();
  if (info.label_columns == 0) {
    std::int32_t label = 0;
    std::memcpy(&label, row.data(), sizeof(label));
    if (label < -1 || label >= static_cast<std::int64_t>(info.class_count)) {
      fail(Kind::corruption, "{}: label {} is not among the {} classes", dataset_.labels().name(), label,
           info.class_count);
    }
    labels.classes.push_back(label);
    return;
  }
  for (const std::byte byte : row) {
    const auto entry = static_cast<std::uint8_t>(byte);
    if (!is_label_entry(entry)) {
      fail(Kind::corruption, "{}: an entry holds {}, which is neither 0 nor 1 nor none",
           dataset_.labels().name(), entry);
    }
    labels.entries.push_back(entry);
  }
}

Scores ExactEvaluator::evaluate(Split split, const ParameterSet& trained, Loss& loss, ScoreSum& scores) {
  const SplitLabels& labels = labels_of(split);
  const std::size_t columns = model_->options().class_count;
  const std::size_t label_columns = dataset_.info().label_columns;
  // The host computes, so that the copy's memory is the host's.
  trained.backend().copy_out(trained.values().data(), model_->parameters().values());
  const Buffer chosen = model_->backend().allocate(plan_.block.destinations * columns);
  scores.clear();
  std::size_t done = 0;
  infer_exactly(dataset_, *model_, plan_, scratch_folder_, [&](std::uint64_t first, ConstMatrixView rows) {
    std::size_t count = 0;
    for (; done + count < labels.nodes.size() && labels.nodes[done + count] < first + rows.rows; ++count) {
      std::copy_n(rows.row(labels.nodes[done + count] - first), columns, chosen.data() + count * columns);
    }
    if (count == 0) return;
    BatchView view;
    view.key.split = split;
    if (label_columns > 0) {
      view.label_rows = std::span(labels.entries).subspan(done * label_columns, count * label_columns);
      view.label_columns = static_cast<std::uint32_t>(label_columns);
    } else {
      view.targets = std::span(labels.classes).subspan(done, count);
    }
    const ConstMatrixView logits = chosen.matrix(count, columns);
    const LossSum sum = loss.evaluate(logits, view);
    if (!std::isfinite(sum.loss)) {
      fail(Kind::input,
           "the model's loss on the {} split is not a number; give a smaller --lr, or look for NaN in the "
           "features",
           name_of(split));
    }
    scores.add(sum, logits, view.labels());
    done += count;
  });
  return scores.scores();
}

}  // namespace gneiss
