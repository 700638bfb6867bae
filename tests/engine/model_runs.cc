#include "tests/engine/model_runs.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/nn/cross_entropy.h"
#include "engine/nn/optimizer.h"
#include "storage/base/parallel.h"
#include "tests/engine/test_backend.h"

namespace gneiss::test {

double distance(const reference::Matrix& a, const reference::Matrix& b) {
  REQUIRE(a.rows == b.rows);
  REQUIRE(a.columns == b.columns);
  double largest = 1e-3;  // what counts as large for a matrix of zeros
  double difference = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    const double error = std::abs(a.values[i] - b.values[i]);
    if (std::isnan(error)) return error;  // of which std::max() would take no notice
    largest = std::max({largest, std::abs(a.values[i]), std::abs(b.values[i])});
    difference = std::max(difference, error);
  }
  return difference / largest;
}

std::vector<float> train(const std::string& name, const ModelOptions& options, const BatchView& batch,
                         std::span<const BlockMaxima> maxima, std::size_t threads, Precision precision) {
  ThreadPool pool(threads);
  const auto backend = make_backend(pool, precision);
  const auto model = make_model(name, *backend, options, maxima);
  CrossEntropy loss(*backend, maxima.back().dst_count, options.class_count);
  Optimizer optimizer(model->parameters(), {.learning_rate = 0.01F, .weight_decay = 0.01F});
  std::vector<float> trace;
  for (std::uint64_t step = 0; step < 3; ++step) {
    const ConstMatrixView logits = model->forward(batch, {.is_training = true, .seed = 5, .step = step});
    for (std::size_t row = 0; row < logits.rows; ++row) {
      trace.insert(trace.end(), logits.row(row), logits.row(row) + logits.columns);
    }
    trace.push_back(static_cast<float>(loss.evaluate_with_gradient(logits, batch).mean()));
    model->backward(batch, loss.gradient());
    optimizer.step();
  }
  const std::span<const float> values = model->parameters().values();
  trace.insert(trace.end(), values.begin(), values.end());
  return trace;
}

bool equal_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace gneiss::test
