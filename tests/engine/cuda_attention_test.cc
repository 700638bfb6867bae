// Graph attention on the device against the processor's and, where there is one, the f64 reference.
#include "engine/compute/cuda/cuda_attention.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "engine/compute/cpu/cpu_backend.h"
#include "engine/compute/cuda/column_sums.h"
#include "engine/compute/cuda/stream.h"
#include "engine/compute/reference.h"
#include "storage/base/parallel.h"
#include "storage/base/random.h"
#include "tests/engine/device_batch.h"
#include "tests/engine/random_batch.h"
#include "tests/engine/twin_matrix.h"

using namespace gneiss;
using gneiss::test::are_same_bits;
using gneiss::test::DeviceArray;
using gneiss::test::DeviceBatch;
using gneiss::test::distance;
using gneiss::test::RandomBatch;
using gneiss::test::RandomBatchOptions;
using gneiss::test::reset_device;
using gneiss::test::Results;
using gneiss::test::Twin;
using reference::Matrix;

namespace {

struct Case {
  RandomBatchOptions batch{};
  std::uint32_t heads = 1;
  float dropout = 0;
  float weight_scale = 1;
  Activation activation = Activation::none;
  std::size_t margin = 0;         // behind the rows of every matrix
  std::size_t first_element = 0;  // of input rows in the device's memory
  std::size_t slice = 0;          // destinations at once in score_gradients; 0: all
};

// Values of edges, and of loops behind them.
class EdgeTwin : public Twin {
 public:
  EdgeTwin(const BlockView& block, std::size_t heads, std::size_t margin)
      : Twin(block.edge_count() + block.dst_count, heads, margin), edges_(block.edge_count()) {}
  EdgeValues host_values() { return split(host()); }
  EdgeValues device_values() { return split(device()); }

 private:
  EdgeValues split(MatrixView all) const {
    return {all.row_range(0, edges_), all.row_range(edges_, all.rows - edges_)};
  }
  std::size_t edges_;
};

// One block with its rows, on both sides.
struct Sides {
  const BlockView& host_block;
  const BlockView& device_block;
  TieredRows host_rows;
  TieredRows device_rows;
  std::span<const NodeId> host_nodes;
  std::span<const NodeId> device_nodes;
};

AttentionRule rule_of(const Case& c, std::span<const NodeId> nodes) {
  AttentionRule rule;
  rule.weight_scale = c.weight_scale;
  if (c.dropout > 0) rule.dropout = {c.dropout, mix_key(5, 6), nodes};
  return rule;
}
Epilogue epilogue_of(const Case& c, std::span<const NodeId> nodes) {
  Epilogue epilogue{.activation = c.activation};
  if (c.dropout > 0) epilogue.dropout = {c.dropout, mix_key(7, 8), nodes};
  epilogue.first_column = 3;
  return epilogue;
}

// The sums of one head in f64.
Matrix head_sums(const Matrix& rows, const BlockView& block, const EdgeValues& weights, std::size_t head) {
  std::vector<double> edges;
  std::vector<double> loops;
  for (std::size_t e = 0; e < block.edge_count(); ++e) edges.push_back(weights.edges(e, head));
  for (std::size_t d = 0; d < block.dst_count; ++d) loops.push_back(weights.loops(d, head));
  return reference::aggregate_weighted(rows, block, edges, loops);
}

class Run {
 public:
  Run(const Case& c, const Sides& sides, AttentionOperators& host, AttentionOperators& device)
      : c_(c),
        sides_(sides),
        host_(host),
        device_(device),
        columns_(sides.host_rows.columns()),
        weight_(2 * std::size_t{c.heads}, columns_, c.margin),
        scores_(sides.host_block.src_count, 2 * std::size_t{c.heads}, c.margin),
        shares_(sides.host_block, c.heads, c.margin),
        weights_(sides.host_block, c.heads, c.margin),
        aggregate_(sides.host_block.dst_count, c.heads * columns_, c.margin),
        d_out_(sides.host_block.dst_count, c.heads * columns_, c.margin),
        d_scores_(sides.host_block, c.heads, c.margin),
        d_destination_(sides.host_block.dst_count, c.heads, c.margin),
        d_weight_(2 * std::size_t{c.heads}, columns_),
        dz_(sides.host_block.src_count, columns_, c.margin) {}

  void forward() {
    const Matrix rows = reference::widen(sides_.host_rows);
    weight_.draw(1);
    host_.row_products(sides_.host_rows, weight_.host(), scores_.host());
    device_.row_products(sides_.device_rows, weight_.device(), scores_.device());
    CHECK(distance(scores_.on_device(), reference::linear(rows, reference::widen(weight_.host()))) < 1e-5);
    keep(scores_);

    scores_.draw(2);
    const bool is_plain = c_.dropout == 0 && c_.weight_scale == 1;
    EdgeTwin& weights = is_plain ? shares_ : weights_;  // as models have it
    host_.softmax(sides_.host_block, scores_.host(), rule_of(c_, sides_.host_nodes), shares_.host_values(),
                  weights.host_values());
    device_.softmax(sides_.device_block, scores_.device(), rule_of(c_, sides_.device_nodes),
                    shares_.device_values(), weights.device_values());
    keep(shares_);
    keep(weights);

    host_.aggregate(sides_.host_rows, sides_.host_block, weights.host_values(), aggregate_.host());
    device_.aggregate(sides_.device_rows, sides_.device_block, weights.device_values(), aggregate_.device());
    const Matrix sums = aggregate_.on_device();
    for (std::size_t h = 0; h < c_.heads; ++h) {
      const Matrix expected = head_sums(rows, sides_.host_block, weights.host_values(), h);
      Matrix own(sums.rows, columns_);
      for (std::size_t r = 0; r < sums.rows; ++r) {
        for (std::size_t k = 0; k < columns_; ++k) own(r, k) = sums(r, h * columns_ + k);
      }
      CHECK(distance(own, expected) < 1e-5);
    }
    keep(aggregate_);
  }

  void backward() {
    d_out_.draw(3);
    const std::size_t rows = sides_.host_block.dst_count;
    const std::size_t slice = c_.slice == 0 ? std::max<std::size_t>(rows, 1) : c_.slice;
    for (std::size_t first = 0; first == 0 || first < rows; first += slice) {
      const std::size_t count = std::min(slice, rows - first);
      const std::size_t size = 2 * c_.heads * columns_;
      std::vector<float> host_scratch(16 * size);
      const DeviceArray<float> device_scratch(cuda::cut_rows_for_weights(count).count * size);
      host_.score_gradients(sides_.host_rows, sides_.host_block, scores_.host(),
                            rule_of(c_, sides_.host_nodes), shares_.host_values(), first,
                            d_out_.host().row_range(first, count), d_scores_.host_values(),
                            d_destination_.host(), d_weight_.host(), host_scratch);
      device_.score_gradients(sides_.device_rows, sides_.device_block, scores_.device(),
                              rule_of(c_, sides_.device_nodes), shares_.device_values(), first,
                              d_out_.device().row_range(first, count), d_scores_.device_values(),
                              d_destination_.device(), d_weight_.device(), device_scratch.span());
      cuda::check(cudaDeviceSynchronize(), "waiting for the use of the scratch");
    }
    keep(d_scores_);
    keep(d_destination_);
    keep(d_weight_);
  }

  void to_rows() {
    weights_.draw(4);
    Twin activated(sides_.host_block.src_count, columns_, c_.margin);
    activated.draw(5);
    host_.input_gradient(sides_.host_block, weights_.host_values(), d_out_.host(), d_scores_.host_values(),
                         d_destination_.host(), weight_.host(), activated.host(),
                         epilogue_of(c_, sides_.host_nodes), dz_.host());
    device_.input_gradient(sides_.device_block, weights_.device_values(), d_out_.device(),
                           d_scores_.device_values(), d_destination_.device(), weight_.device(),
                           activated.device(), epilogue_of(c_, sides_.device_nodes), dz_.device());
    keep(dz_);
  }

  const Results& results() const { return results_; }

 private:
  void keep(Twin& twin) {
    results_.push_back(twin.read_device());
    CHECK(twin.difference() < 1e-5);
  }

  const Case& c_;
  const Sides& sides_;
  AttentionOperators& host_;
  AttentionOperators& device_;
  std::size_t columns_;
  Twin weight_;
  Twin scores_;
  EdgeTwin shares_;
  EdgeTwin weights_;
  Twin aggregate_;
  Twin d_out_;
  EdgeTwin d_scores_;
  Twin d_destination_;
  Twin d_weight_;
  Twin dz_;
  Results results_;
};

// Both blocks of a batch: the first over tiers, the last over a hidden layer's rows and on to their gradient.
Results run(const Case& c) {
  CAPTURE(c.batch.columns);
  CAPTURE(c.heads);
  CAPTURE(c.dropout);
  CAPTURE(c.margin);
  CAPTURE(c.first_element);
  CAPTURE(c.slice);
  CAPTURE(name_of(c.batch.dtype));
  ThreadPool pool(1);
  const auto host = make_cpu_backend(pool);
  const cuda::Stream stream;
  cuda::CudaAttention device(stream.get());
  const RandomBatch batch(c.batch);
  const DeviceBatch copy(batch.view(), c.first_element);
  const Sides first{batch.view().blocks.front(), copy.view().blocks.front(), batch.view().input,
                    copy.view().input,           batch.view().hidden_nodes,  copy.view().hidden_nodes};
  Run over_tiers(c, first, host->attention(), device);
  over_tiers.forward();
  over_tiers.backward();
  Results results = over_tiers.results();
  if (batch.view().blocks.size() > 1) {
    const BlockView& block = batch.view().blocks.back();
    Twin hidden(block.src_count, c.batch.columns, c.margin);
    hidden.draw(9);
    const Sides last{block,
                     copy.view().blocks.back(),
                     TieredRows::of(hidden.host()),
                     TieredRows::of(hidden.device()),
                     batch.view().hidden_nodes,
                     copy.view().hidden_nodes};
    Run over_hidden(c, last, host->attention(), device);
    over_hidden.forward();
    over_hidden.backward();
    over_hidden.to_rows();
    results.insert(results.end(), over_hidden.results().begin(), over_hidden.results().end());
  }
  return results;
}

RandomBatchOptions batch_of(std::uint32_t columns, Dtype dtype = Dtype::f32) {
  // Few nodes: some draw themselves, and some are drawn twice.
  return {.seed = columns, .node_count = 60, .seed_count = 9, .columns = columns, .dtype = dtype};
}

}  // namespace

TEST_CASE("attention on the device is the processor's for any heads and columns") {
  reset_device();
  for (const std::uint32_t heads : {1U, 2U, 3U, 4U, 8U, 64U}) {
    for (const std::uint32_t columns : {1U, 7U, 16U, 33U, 128U, 300U}) {
      run({.batch = batch_of(columns),
           .heads = heads,
           .dropout = columns % 2 == 0 ? 0.3F : 0.0F,
           .weight_scale = heads % 2 == 0 ? 1.0F / static_cast<float>(heads) : 1.0F,
           .activation = heads > 2 ? Activation::relu : Activation::none,
           .margin = heads == 3 ? std::size_t{3} : 4 * std::size_t{heads == 4}});
    }
  }
}

TEST_CASE("attention reads every type of feature from any number of tiers, wherever rows lie") {
  reset_device();
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    for (const std::uint32_t columns : {7U, 66U, 128U, 2048U}) {
      for (std::uint32_t tiers = 1; tiers <= 4; ++tiers) {
        Case c{.batch = batch_of(columns, dtype), .heads = 4, .first_element = tiers - 1};
        c.batch.tier_count = tiers;
        run(c);
      }
    }
  }
}

TEST_CASE("attention on the device takes blocks without edges, of one destination, and of many edges each") {
  reset_device();
  for (const std::uint32_t heads : {1U, 5U}) {
    RandomBatchOptions batch = batch_of(16);
    batch.fanouts = {0, 0};
    run({.batch = batch, .heads = heads, .dropout = 0.5F});
    batch.fanouts = {3, 2};
    batch.seed_count = 1;
    run({.batch = batch, .heads = heads});
    batch.fanouts = {90, 70};
    batch.seed_count = 3;
    run({.batch = batch, .heads = heads, .dropout = 0.5F, .activation = Activation::relu});
  }
}

TEST_CASE("the gradient of attention's weight is summed over pieces and slices of destinations") {
  reset_device();
  RandomBatchOptions batch = batch_of(20);
  batch.node_count = 3000;
  batch.seed_count = 700;  // three pieces
  batch.fanouts = {3};
  for (const std::size_t slice : {std::size_t{0}, std::size_t{300}, std::size_t{1}}) {
    if (slice == 1) batch.seed_count = 5;
    run({.batch = batch, .heads = 2, .dropout = 0.2F, .slice = slice});
  }
}

TEST_CASE("scores far apart do not overflow, and a destination's own edges have no share on the device") {
  reset_device();
  RandomBatchOptions options = batch_of(4);
  options.fanouts = {30};
  options.node_count = 40;
  options.seed_count = 35;
  const RandomBatch batch(options);
  const DeviceBatch copy(batch.view());
  const BlockView& block = batch.view().blocks[0];
  constexpr std::size_t heads = 3;
  Twin scores(block.src_count, 2 * heads);
  scores.draw(1);
  for (std::size_t s = 0; s < block.src_count; ++s) {
    for (std::size_t h = 0; h < 2 * heads; ++h) scores.host()(s, h) *= 300;
  }
  scores.copy_to_device();
  EdgeTwin shares(block, heads, 0);
  cuda::CudaAttention attention(nullptr);
  attention.softmax(copy.view().blocks[0], scores.device(), {}, shares.device_values(),
                    shares.device_values());
  const Matrix values = shares.on_device();
  std::size_t own_edges = 0;
  for (std::uint32_t d = 0; d < block.dst_count; ++d) {
    for (std::size_t h = 0; h < heads; ++h) {
      double sum = values(block.edge_count() + d, h);
      for (std::uint32_t e = block.indptr[d]; e < block.indptr[d + 1]; ++e) {
        const bool is_own = block.indices[e] == block.dst_in_src[d];
        if (is_own) CHECK(values(e, h) == 0.0);
        own_edges += is_own ? 1 : 0;
        sum += values(e, h);
      }
      CHECK(sum == doctest::Approx(1).epsilon(1e-5));
    }
  }
  CHECK(own_edges > 0);  // the batch is of the kind that this is about
}

TEST_CASE("attention on the device is the same to the bit in every run") {
  Case c{.batch = batch_of(40), .heads = 4, .dropout = 0.3F, .activation = Activation::relu};
  c.batch.seed_count = 60;
  c.batch.node_count = 1000;
  c.batch.fanouts = {5, 5};
  Results first;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    CAPTURE(seed);
    reset_device(seed);
    const Results results = run(c);
    if (seed == 0) first = results;
    CHECK(are_same_bits(results, first));
  }
}
