#include "tests/engine/reference_forward.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "storage/base/error.h"
#include "storage/base/random.h"

namespace gneiss::test {

using reference::Matrix;

namespace {

struct Forward {
  const ModelOptions& options;
  const NamedParameters& parameters;
  const BatchView& batch;
  const StepContext& context;

  const Matrix& parameter(const std::string& prefix, std::uint32_t layer, const std::string& name) const {
    return parameters.at(fmt::format("{}.{}.{}", prefix, layer, name));
  }
  bool is_last(std::uint32_t layer) const { return layer + 1 == options.layer_count; }
  bool drops() const { return context.is_training && options.dropout > 0; }
};

std::uint32_t row_of(const BlockView& block, std::uint32_t dst) {
  return block.dst_in_src.empty() ? dst : block.dst_in_src[dst];
}

void add(Matrix& target, const Matrix& more) {
  for (std::size_t i = 0; i < more.values.size(); ++i) target.values[i] += more.values[i];
}

Matrix aggregate_max(const Matrix& rows, const BlockView& block) {
  Matrix out(block.dst_count, rows.columns);
  for (std::uint32_t dst = 0; dst < block.dst_count; ++dst) {
    for (std::size_t c = 0; c < rows.columns && block.degree(dst) > 0; ++c) {
      double most = -INFINITY;
      for (std::uint32_t edge = block.indptr[dst]; edge < block.indptr[dst + 1]; ++edge) {
        most = std::max(most, rows(block.indices[edge], c));
      }
      out(dst, c) = most;
    }
  }
  return out;
}

Matrix sage(const Forward& f, std::uint32_t layer, const Matrix& h, const Matrix& own) {
  const BlockView& block = f.batch.blocks[layer];
  const bool is_max = f.options.aggregator == Aggregator::max;
  Matrix out = reference::linear(is_max ? aggregate_max(h, block) : reference::aggregate_mean(h, block),
                                 f.parameter("convs", layer, "lin_l.weight"));
  add(out, reference::linear(own, f.parameter("convs", layer, "lin_r.weight")));
  reference::add_bias(out, f.parameter("convs", layer, "lin_l.bias").values);
  return out;
}

// Every edge by itself, over the products of all sources.
Matrix gat(const Forward& f, std::uint32_t layer, const Matrix& h) {
  const BlockView& block = f.batch.blocks[layer];
  const std::size_t heads = f.options.head_count;
  const Matrix z = reference::linear(h, f.parameter("convs", layer, "lin.weight"));
  const Matrix& att_src = f.parameter("convs", layer, "att_src");
  const Matrix& att_dst = f.parameter("convs", layer, "att_dst");
  const std::size_t columns = z.columns / heads;
  const auto score = [&](std::uint32_t src, std::uint32_t dst, std::size_t head) {
    double sum = 0;
    for (std::size_t c = head * columns; c < (head + 1) * columns; ++c) {
      sum += z(src, c) * att_src(0, c) + z(row_of(block, dst), c) * att_dst(0, c);
    }
    return sum > 0 ? sum : 0.2 * sum;
  };
  Matrix out(block.dst_count, f.is_last(layer) ? columns : z.columns);
  for (std::uint32_t dst = 0; dst < block.dst_count; ++dst) {
    // The loop is neighbor 0; a neighbor that is the destination itself keeps its place but counts for
    // nothing.
    std::vector<std::uint32_t> sources{row_of(block, dst)};
    for (std::uint32_t e = block.indptr[dst]; e < block.indptr[dst + 1]; ++e)
      sources.push_back(block.indices[e]);
    for (std::size_t head = 0; head < heads; ++head) {
      std::vector<double> shares;
      double sum = 0;
      for (std::size_t n = 0; n < sources.size(); ++n) {
        const bool counts = n == 0 || sources[n] != sources[0];
        shares.push_back(counts ? std::exp(score(sources[n], dst, head)) : 0);
        sum += shares.back();
      }
      for (std::size_t n = 0; n < sources.size(); ++n) {
        double weight = shares[n] / sum;
        if (f.drops()) {
          const Dropout dropout{f.options.dropout, mix_key(f.context.seed, f.context.step, layer, 1),
                                f.batch.hidden_nodes};
          const auto column = static_cast<std::uint32_t>(n * heads + head);
          const bool kept = Dropout::keeps(dropout.row_key(dst), column, dropout.threshold());
          weight *= kept ? 1 / (1 - static_cast<double>(f.options.dropout)) : 0;
        }
        for (std::size_t c = 0; c < columns; ++c) {
          const double term = weight * z(sources[n], head * columns + c);
          if (f.is_last(layer)) {
            out(dst, c) += term / static_cast<double>(heads);
          } else {
            out(dst, head * columns + c) += term;
          }
        }
      }
    }
  }
  reference::add_bias(out, f.parameter("convs", layer, "bias").values);
  return out;
}

void add_residual(const Forward& f, std::uint32_t layer, const Matrix& own, Matrix& out) {
  if (!f.options.residual) return;
  const bool is_mapped = own.columns != out.columns;
  add(out, is_mapped ? reference::linear(own, f.parameter("residuals", layer, "weight")) : own);
}

void normalize(const Forward& f, std::uint32_t layer, Matrix& values) {
  if (f.options.norm == NormKind::none) return;
  const std::string prefix = f.options.norm == NormKind::batch ? "module." : "";
  const Matrix& weight = f.parameter("norms", layer, prefix + "weight");
  const Matrix& bias = f.parameter("norms", layer, prefix + "bias");
  const auto standardize = [&](std::size_t r, std::size_t c, double mean, double variance) {
    values(r, c) = (values(r, c) - mean) / std::sqrt(variance + 1e-5) * weight(0, c) + bias(0, c);
  };
  // The mean and the variance of `count` values.
  const auto moments = [](std::size_t count, const auto& value) {
    double mean = 0;
    double variance = 0;
    for (std::size_t i = 0; i < count; ++i) mean += value(i) / static_cast<double>(count);
    for (std::size_t i = 0; i < count; ++i) {
      variance += (value(i) - mean) * (value(i) - mean) / static_cast<double>(count);
    }
    return std::pair(mean, variance);
  };
  if (f.options.norm == NormKind::layer) {
    for (std::size_t r = 0; r < values.rows; ++r) {
      const auto [mean, variance] = moments(values.columns, [&](std::size_t c) { return values(r, c); });
      for (std::size_t c = 0; c < values.columns; ++c) standardize(r, c, mean, variance);
    }
    return;
  }
  for (std::size_t c = 0; c < values.columns; ++c) {
    auto [mean, variance] = moments(values.rows, [&](std::size_t r) { return values(r, c); });
    if (!f.context.is_training) {
      mean = f.parameter("norms", layer, prefix + "running_mean")(0, c);
      variance = f.parameter("norms", layer, prefix + "running_var")(0, c);
    }
    for (std::size_t r = 0; r < values.rows; ++r) standardize(r, c, mean, variance);
  }
}

}  // namespace

NamedParameters read_named_parameters(const Model& model) {
  NamedParameters out;
  for (const Parameter& p : model.parameters().parameters()) {
    out[p.name] = reference::widen(model.parameters().value(p));
  }
  return out;
}

NamedParameters read_named_gradients(const Model& model) {
  NamedParameters out;
  for (const Parameter& p : model.parameters().parameters()) {
    if (p.is_trained) out[p.name] = reference::widen(model.parameters().gradient(p));
  }
  return out;
}

Matrix reference_logits(const std::string& name, const ModelOptions& options,
                        const NamedParameters& parameters, const BatchView& batch,
                        const StepContext& context) {
  const Forward f{options, parameters, batch, context};
  Matrix h = reference::widen(batch.input);
  if (name == "mlp") h = reference::gather(h, batch.seed_rows(), batch.seed_count());
  for (std::uint32_t i = 0; i < options.layer_count; ++i) {
    Matrix own = h;
    if (name != "mlp") own = reference::gather(h, batch.blocks[i].dst_in_src, batch.blocks[i].dst_count);
    Matrix out;
    if (name == "mlp") {
      out = reference::linear(h, f.parameter("lins", i, "weight"));
      reference::add_bias(out, f.parameter("lins", i, "bias").values);
    } else {
      out = name == "gat" ? gat(f, i, h) : sage(f, i, h, own);
    }
    add_residual(f, i, own, out);
    h = out;
    if (f.is_last(i)) continue;
    normalize(f, i, h);
    Dropout dropout;
    if (f.drops()) {
      dropout = {options.dropout, mix_key(context.seed, context.step, i), batch.hidden_nodes};
    }
    reference::activate(h, options.activation, dropout);
  }
  return h;
}

}  // namespace gneiss::test
