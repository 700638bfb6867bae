#include "engine/compute/cpu/cpu_backend.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "engine/compute/batch_view.h"
#include "engine/compute/cpu/bf16_kernels.h"
#include "engine/compute/cpu/bf16_products.h"
#include "engine/compute/cpu/cpu_attention.h"
#include "engine/compute/cpu/cpu_halves.h"
#include "engine/compute/cpu/cpu_norms.h"
#include "engine/compute/cpu/kernels.h"
#include "engine/compute/cpu/pieces.h"
#include "engine/compute/cpu/product.h"
#include "engine/compute/cpu/turned_weight.h"
#include "engine/compute/cpu/weight_gradient.h"
#include "storage/base/aligned_buffer.h"

namespace gneiss {
namespace {

constexpr std::size_t sum_piece_count_max = 64;  // of sums whose parts lie on the stack
constexpr std::size_t piece_elements = 16384;    // of flat arrays: 64 KiB

constexpr std::size_t bf16_rows_min = 16;

// Enough for a row of the widest instruction set at the start of every matrix.
constexpr std::size_t buffer_alignment = 64;

class CpuBackend final : public Backend {
 public:
  CpuBackend(ThreadPool& pool, Precision precision) : pieces_(pool), attention_(pieces_), norms_(pieces_) {
    if (precision != Precision::bf16) return;
    bf16_.emplace(pieces_);
    halves_ = std::make_unique<cpu::CpuHalves>(pieces_, *bf16_);
  }

  std::string_view name() const noexcept override { return "cpu"; }
  Device device() const noexcept override { return {}; }
  Precision precision() const noexcept override { return bf16_ ? Precision::bf16 : Precision::f32; }
  std::uint64_t working_bytes(std::size_t in_columns, std::size_t out_columns) const noexcept override {
    if (bf16_) return cpu::Bf16Products::bytes(pieces_.thread_count(), in_columns, out_columns);
    return cpu::TurnedWeight::bytes(in_columns, out_columns);
  }

  Buffer allocate(std::size_t count) override {
    if (count == 0) return {};
    const std::size_t wanted = count * sizeof(float);
    const std::size_t alignment = wanted < huge_page_bytes ? buffer_alignment : huge_page_bytes;
    const std::size_t bytes = round_up(wanted, buffer_alignment);
    void* memory = nullptr;  // aligned_alloc() wants sizes in whole alignments
    if (posix_memalign(&memory, alignment, bytes) != 0)
      fail(Kind::io, "the system refused {} bytes of memory", bytes);
    auto* data = static_cast<float*>(memory);
    // Layers' rows are read at random by the layer above.
    advise_huge_pages(data, bytes);
    std::memset(data, 0, bytes);
    return {*this, data, count};
  }
  void release(float* data) noexcept override { std::free(data); }
  void copy_in(std::span<const float> host, float* device_data) override {
    std::ranges::copy(host, device_data);
  }
  void copy_out(const float* device_data, std::span<float> host) override {
    std::copy_n(device_data, host.size(), host.data());
  }
  HostMemory allocate_host(std::size_t bytes) override {
    if (bytes == 0) return {};
    auto* const data = static_cast<std::byte*>(std::calloc(1, bytes));
    if (data == nullptr) fail(Kind::io, "the system refused {} bytes of memory", bytes);
    return {*this, data, bytes};
  }
  void release_host(std::byte* data) noexcept override { std::free(data); }
  void copy_out_later(ConstMatrixView device_matrix, MatrixView host) override {
    GNEISS_ASSERT(device_matrix.rows == host.rows && device_matrix.columns == host.columns);
    for (std::size_t row = 0; row < host.rows; ++row) {
      std::copy_n(device_matrix.row(row), host.columns, host.row(row));
    }
  }
  // Every operator is done when it returns.
  Mark mark() override { return 0; }
  void wait(Mark /*mark*/) override {}

  void aggregate_mean(const TieredRows& rows, const BlockView& block, MatrixView out) override {
    GNEISS_ASSERT(out.rows == block.dst_count && out.columns == rows.columns());
    GNEISS_ASSERT(rows.row_count() >= block.src_count);
    pieces_.for_rows(out.rows, [&](cpu::RowRange range) { cpu::aggregate_mean(rows, block, range, out); });
  }

  void aggregate_max(const TieredRows& rows, const BlockView& block, MatrixView out,
                     IndexMatrixView winners) override {
    GNEISS_ASSERT(out.rows == block.dst_count && out.columns == rows.columns());
    GNEISS_ASSERT(winners.rows == 0 || (winners.rows == out.rows && winners.columns == out.columns));
    GNEISS_ASSERT(rows.row_count() >= block.src_count);
    pieces_.for_rows(out.rows,
                     [&](cpu::RowRange range) { cpu::aggregate_max(rows, block, range, out, winners); });
  }

  void aggregate_sum(const TieredRows& rows, const BlockView& block, const EdgeScales& scales,
                     MatrixView out) override {
    check_scales(scales, block);
    GNEISS_ASSERT(out.rows == block.dst_count && out.columns == rows.columns());
    GNEISS_ASSERT(rows.row_count() >= block.src_count);
    pieces_.for_rows(out.rows,
                     [&](cpu::RowRange range) { cpu::aggregate_sum(rows, block, scales, range, out); });
  }

  void symmetric_scales(const BlockView& block, std::span<float> destination,
                        std::span<float> source) override {
    GNEISS_ASSERT(destination.size() == block.dst_count);
    GNEISS_ASSERT(source.empty() || source.size() == block.src_count);
    std::ranges::fill(source, 0.0F);
    pieces_.for_rows(block.dst_count,
                     [&](cpu::RowRange range) { cpu::symmetric_scales(block, range, destination, source); });
  }

  void self_loop_scales(const BlockView& block, std::span<const float> source,
                        std::span<float> self) override {
    GNEISS_ASSERT(source.empty() || source.size() == block.src_count);
    GNEISS_ASSERT(self.size() == block.dst_count);
    pieces_.for_rows(block.dst_count,
                     [&](cpu::RowRange range) { cpu::self_loop_scales(block, source, range, self); });
  }

  void gather(const TieredRows& rows, std::span<const std::uint32_t> row_ids, MatrixView out) override {
    GNEISS_ASSERT(out.columns == rows.columns());
    GNEISS_ASSERT(row_ids.empty() ? out.rows <= rows.row_count() : out.rows == row_ids.size());
    if (row_ids.empty() && rows.lie_in(out)) return;
    pieces_.for_rows(out.rows, [&](cpu::RowRange range) { cpu::gather(rows, row_ids, range, out); });
  }

  void linear(ConstMatrixView x, ConstMatrixView weight, const Epilogue& epilogue, MatrixView out) override {
    multiply_rows(x, weight, epilogue, out, cpu::Into::set);
  }
  void linear_add(ConstMatrixView x, ConstMatrixView weight, const Epilogue& epilogue,
                  MatrixView out) override {
    multiply_rows(x, weight, epilogue, out, cpu::Into::add);
  }
  void add(ConstMatrixView x, MatrixView out) override {
    GNEISS_ASSERT(x.rows == out.rows && x.columns == out.columns);
    pieces_.for_rows(out.rows, [&](cpu::RowRange range) { cpu::add_rows(x, range, out); });
  }
  void apply_epilogue(const Epilogue& epilogue, MatrixView values) override {
    check_epilogue(epilogue, values);
    pieces_.for_rows(values.rows, [&](cpu::RowRange range) { cpu::epilogue(epilogue, range, values); });
  }

  std::size_t weight_gradient_scratch(std::size_t rows, std::size_t out_columns,
                                      std::size_t in_columns) const noexcept override {
    return cpu::weight_gradient_scratch(rows, out_columns, in_columns);
  }

  void linear_weight_gradient(ConstMatrixView x, ConstMatrixView dz, MatrixView weight_gradient,
                              std::span<float> bias_gradient, std::span<float> scratch) override {
    cpu::weight_gradient(
        pieces_, x, dz, weight_gradient, bias_gradient, scratch,
        [&](ConstMatrixView left, ConstMatrixView right, MatrixView part, std::size_t worker) {
          if (uses_bf16(x)) return bf16_->outer_products(right, left, part, worker);
          cpu::multiply(left, cpu::Side::transposed, right, cpu::Side::plain, part);
        });
  }

  void add_outer_products(ConstMatrixView x, ConstMatrixView dz, MatrixView weight_gradient) override {
    cpu::multiply(dz, cpu::Side::transposed, x, cpu::Side::plain, weight_gradient, cpu::Into::add);
  }

  void linear_input_gradient(ConstMatrixView dz, ConstMatrixView weight, MatrixView dx) override {
    GNEISS_ASSERT(dx.rows == dz.rows);
    if (uses_bf16(dz)) return bf16_->input_gradient(dz, weight, dx);
    pieces_.for_rows(dz.rows, [&](cpu::RowRange range) {
      const std::size_t count = range.last - range.first;
      cpu::multiply(dz.row_range(range.first, count), cpu::Side::plain, weight, cpu::Side::plain,
                    dx.row_range(range.first, count));
    });
  }

  void aggregate_mean_gradient(const BlockView& block, ConstMatrixView d_aggregate, ConstMatrixView d_self,
                               ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz) override {
    check_epilogue(epilogue, dz);
    GNEISS_ASSERT(block.is_transposed() && block.dst_in_src.empty());
    GNEISS_ASSERT(d_aggregate.rows == block.dst_count && d_self.rows == block.dst_count);
    GNEISS_ASSERT(activated.rows == block.src_count && dz.rows == block.src_count);
    GNEISS_ASSERT(d_aggregate.columns == dz.columns && d_self.columns == dz.columns &&
                  activated.columns == dz.columns);
    pieces_.for_rows(dz.rows, [&](cpu::RowRange range) {
      cpu::aggregate_mean_gradient(block, d_aggregate, d_self, activated, epilogue, range, dz);
    });
  }

  void aggregate_max_gradient(const BlockView& block, ConstIndexMatrixView winners,
                              ConstMatrixView d_aggregate, ConstMatrixView d_self, ConstMatrixView activated,
                              const Epilogue& epilogue, MatrixView dz) override {
    check_epilogue(epilogue, dz);
    GNEISS_ASSERT(block.is_transposed() && block.dst_in_src.empty());
    GNEISS_ASSERT(d_aggregate.rows == block.dst_count && d_self.rows == block.dst_count);
    GNEISS_ASSERT(winners.rows == block.dst_count && winners.columns == dz.columns);
    GNEISS_ASSERT(activated.rows == block.src_count && dz.rows == block.src_count);
    GNEISS_ASSERT(d_aggregate.columns == dz.columns && d_self.columns == dz.columns &&
                  activated.columns == dz.columns);
    pieces_.for_rows(dz.rows, [&](cpu::RowRange range) {
      cpu::aggregate_max_gradient(block, winners, d_aggregate, d_self, activated, epilogue, range, dz);
    });
  }

  void aggregate_sum_gradient(const BlockView& block, const EdgeScales& scales, ConstMatrixView d_aggregate,
                              ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz) override {
    check_epilogue(epilogue, dz);
    check_scales(scales, block);
    GNEISS_ASSERT(block.is_transposed() && block.dst_in_src.empty());
    GNEISS_ASSERT(d_aggregate.rows == block.dst_count);
    GNEISS_ASSERT(activated.rows == block.src_count && dz.rows == block.src_count);
    GNEISS_ASSERT(d_aggregate.columns == dz.columns && activated.columns == dz.columns);
    pieces_.for_rows(dz.rows, [&](cpu::RowRange range) {
      cpu::aggregate_sum_gradient(block, scales, d_aggregate, activated, epilogue, range, dz);
    });
  }

  void epilogue_gradient(ConstMatrixView activated, const Epilogue& epilogue, MatrixView gradient) override {
    check_epilogue(epilogue, gradient);
    GNEISS_ASSERT(activated.rows == gradient.rows && activated.columns == gradient.columns);
    pieces_.for_rows(gradient.rows, [&](cpu::RowRange range) {
      cpu::epilogue_gradient(activated, epilogue, range, gradient);
    });
  }

  void cross_entropy(ConstMatrixView logits, std::span<const std::int32_t> targets,
                     const ClassWeighting& classes, MatrixView gradient, LossSum& result) override {
    GNEISS_ASSERT(targets.size() == logits.rows);
    GNEISS_ASSERT(classes.weights.empty() || classes.weights.size() == logits.columns);
    LossSum total;
    for (const std::int32_t target : targets) {
      if (target == no_label) continue;
      const auto index = static_cast<std::size_t>(target);
      GNEISS_ASSERT(index < logits.columns);
      ++total.labelled_count;
      total.weight += classes.weights.empty() ? 1.0 : static_cast<double>(classes.weights[index]);
    }
    sum_losses(logits, gradient, total, [&](float scale, cpu::RowRange range) {
      return cpu::cross_entropy(logits, targets, classes, scale, range, gradient);
    });
    result = total;
  }

  void binary_cross_entropy(ConstMatrixView logits, const BinaryLabels& labels, MatrixView gradient,
                            LossSum& result) override {
    const std::span<const std::uint8_t> entries = labels.entries;
    const bool are_classes = entries.empty();
    GNEISS_ASSERT(are_classes
                      ? labels.classes.size() == logits.rows && (logits.rows == 0 || logits.columns == 1)
                      : entries.size() == logits.rows * logits.columns);
    LossSum total;
    for (const std::uint8_t entry : entries) total.labelled_count += entry <= 1 ? 1 : 0;
    for (const std::int32_t target : labels.classes) total.labelled_count += target == no_label ? 0 : 1;
    total.weight = static_cast<double>(total.labelled_count);
    sum_losses(logits, gradient, total, [&](float scale, cpu::RowRange range) {
      if (!are_classes) return cpu::binary_cross_entropy(logits, entries, scale, range, gradient);
      return of_classes(logits, labels.classes, scale, range, gradient);
    });
    result = total;
  }

  void clip_norm(std::span<float> values, double norm_max, double& norm) override {
    std::array<double, sum_piece_count_max> parts{};
    const cpu::Pieces pieces = cpu::cut(values.size(), piece_elements, parts.size());
    const auto piece_of = [&](std::size_t piece) {
      const cpu::RowRange range = cpu::rows_of(pieces, piece, values.size());
      return values.subspan(range.first, range.last - range.first);
    };
    pieces_.run(pieces.count,
                [&](std::size_t piece) { parts[piece] = cpu::sum_of_squares(piece_of(piece)); });
    double squares = 0;
    for (const double part : parts) squares += part;
    norm = std::sqrt(squares);
    const double factor = norm_max / (norm + 1e-6);
    // Written so that a norm that is not finite leaves its mark on the values, as in PyTorch.
    if (!(factor >= 1)) {
      pieces_.run(pieces.count,
                  [&](std::size_t piece) { cpu::scale_values(piece_of(piece), static_cast<float>(factor)); });
    }
  }

  void adam(const AdamStep& step, std::span<float> values, std::span<const float> gradients,
            std::span<float> first_moments, std::span<float> second_moments) override {
    const std::size_t size = values.size();
    GNEISS_ASSERT(gradients.size() == size && first_moments.size() == size && second_moments.size() == size);
    pieces_.run(divide_up(size, piece_elements), [&](std::size_t piece) {
      const std::size_t first = piece * piece_elements;
      const std::size_t count = std::min(piece_elements, size - first);
      cpu::adam(step, values.subspan(first, count), gradients.subspan(first, count),
                first_moments.subspan(first, count), second_moments.subspan(first, count));
    });
  }

  AttentionOperators& attention() noexcept override { return attention_; }
  NormOperators& norms() noexcept override { return norms_; }
  HalfOperators* halves() const noexcept override { return halves_.get(); }

 private:
  void multiply_rows(ConstMatrixView x, ConstMatrixView weight, const Epilogue& epilogue, MatrixView out,
                     cpu::Into into) {
    check_epilogue(epilogue, out);
    GNEISS_ASSERT(out.rows == x.rows);
    if (uses_bf16(x)) return bf16_->linear(x, weight, epilogue, out, into);
    const bool turns = cpu::TurnedWeight::is_worth_it(x.rows, weight);
    const ConstMatrixView right = turns ? turned_.of(weight) : weight;
    pieces_.for_rows(x.rows, [&](cpu::RowRange range) {
      const std::size_t count = range.last - range.first;
      cpu::multiply(x.row_range(range.first, count), cpu::Side::plain, right,
                    turns ? cpu::Side::plain : cpu::Side::transposed, out.row_range(range.first, count),
                    into);
      cpu::epilogue(epilogue, range, out);
    });
  }
  // Few rows are multiplied in f32: there is no time to win, and weights of weights, as attention has them,
  // keep their digits.
  bool uses_bf16(ConstMatrixView rows) const {
    return bf16_ && rows.rows >= bf16_rows_min && rows.columns > 0;
  }
  static void check_epilogue(const Epilogue& epilogue, MatrixView out) {
    GNEISS_ASSERT(epilogue.bias.empty() || epilogue.bias.size() == out.columns);
    GNEISS_ASSERT(!epilogue.dropout.is_active() || epilogue.dropout.row_nodes.size() >= out.rows);
  }
  static void check_scales(const EdgeScales& scales, const BlockView& block) {
    GNEISS_ASSERT(scales.destination.empty() || scales.destination.size() == block.dst_count);
    GNEISS_ASSERT(scales.source.empty() || scales.source.size() == block.src_count);
    GNEISS_ASSERT(scales.self.empty() || scales.self.size() == block.dst_count);
  }

  // Binary cross-entropy of one column, whose labels come as classes.
  static LossSum of_classes(ConstMatrixView logits, std::span<const std::int32_t> classes, float scale,
                            cpu::RowRange range, MatrixView gradient) {
    LossSum total;
    std::array<std::uint8_t, cpu::piece_rows> entries{};
    for (std::size_t first = range.first; first < range.last; first += entries.size()) {
      const std::size_t count = std::min(entries.size(), range.last - first);
      for (std::size_t i = 0; i < count; ++i) {
        entries[i] =
            classes[first + i] == no_label ? unlabelled : static_cast<std::uint8_t>(classes[first + i]);
      }
      const LossSum part = cpu::binary_cross_entropy(
          logits.row_range(first, count), std::span(entries).first(count), scale, {0, count},
          gradient.rows == 0 ? gradient : gradient.row_range(first, count));
      total.loss += part.loss;
      total.correct_count += part.correct_count;
    }
    return total;
  }

  // Adds what compute(gradient_scale, rows) gives for each piece of rows, in their order, to `total`, whose
  // weight is already that of all rows.
  template <class Compute>
  void sum_losses(ConstMatrixView logits, MatrixView gradient, LossSum& total, const Compute& compute) {
    GNEISS_ASSERT(gradient.rows == 0 || gradient.rows == logits.rows);
    const float scale = total.weight > 0 ? 1.0F / static_cast<float>(total.weight) : 0.0F;
    std::array<LossSum, sum_piece_count_max> parts;
    const cpu::Pieces pieces = cpu::cut(logits.rows, cpu::piece_rows, parts.size());
    pieces_.run(pieces.count, [&](std::size_t piece) {
      parts[piece] = compute(scale, cpu::rows_of(pieces, piece, logits.rows));
    });
    for (std::size_t piece = 0; piece < pieces.count; ++piece) {
      total.loss += parts[piece].loss;
      total.correct_count += parts[piece].correct_count;
    }
  }

  cpu::PieceRunner pieces_;
  cpu::CpuAttention attention_;
  cpu::CpuNorms norms_;
  cpu::TurnedWeight turned_;
  std::optional<cpu::Bf16Products> bf16_;  // empty: products are oneDNN's, in f32
  std::unique_ptr<cpu::CpuHalves> halves_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(ThreadPool& pool, Precision precision) {
  if (precision == Precision::tf32) {
    fail(Kind::config, "--precision tf32 is for --device cuda; use f32 or bf16 on the CPU");
  }
  if (precision == Precision::bf16 && !cpu::has_bf16_products()) {
    fail(Kind::config, "this processor has no AVX512_BF16, which --precision bf16 needs; use f32");
  }
  return std::make_unique<CpuBackend>(pool, precision);
}

}  // namespace gneiss
