// Batch and layer normalization on the device against the processor's.
#include "engine/compute/cuda/cuda_norms.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "engine/compute/cpu/cpu_backend.h"
#include "engine/compute/cuda/column_sums.h"
#include "engine/compute/cuda/stream.h"
#include "storage/base/parallel.h"
#include "tests/engine/twin_matrix.h"

using namespace gneiss;
using gneiss::test::are_same_bits;
using gneiss::test::DeviceArray;
using gneiss::test::reset_device;
using gneiss::test::Results;
using gneiss::test::Twin;

namespace {

struct Case {
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::size_t margin = 0;  // behind the rows of every matrix
  float middle = 0;        // of the values
  bool keeps = true;       // standardized values are wanted
};

class Run {
 public:
  Run(const Case& c, NormOperators& host, NormOperators& device)
      : c_(c),
        host_(host),
        device_(device),
        values_(c.rows, c.columns, c.margin),
        standardized_(c.keeps ? c.rows : 0, c.columns, c.margin),
        gradient_(c.rows, c.columns, c.margin),
        mean_(1, c.columns),
        variance_(1, c.columns),
        weight_(1, c.columns),
        bias_(1, c.columns),
        inverse_deviation_(1, c.rows),
        host_scratch_(32 * c.columns),
        device_scratch_(2 * cuda::cut_rows(c.rows).count * c.columns) {
    weight_.draw(1, 2);
    bias_.draw(2);
    gradient_.draw(4, 0.5F);
  }

  void moments() {
    values_.draw(3, c_.middle);
    host_.column_moments(values_.host(), mean_.host_span(), variance_.host_span(), host_scratch_);
    device_.column_moments(values_.device(), mean_.device_span(), variance_.device_span(),
                           device_scratch_.span());
    keep(mean_);
    keep(variance_);
    Twin average(1, c_.columns);
    average.draw(5);
    host_.move_average(0.1F, 1.25F, variance_.host_span(), average.host_span());
    device_.move_average(0.1F, 1.25F, variance_.device_span(), average.device_span());
    keep(average);
  }

  void batch_norm() {
    mean_.draw(6, c_.middle);
    variance_.draw(7, 9);
    values_.draw(3, c_.middle);
    host_.batch_norm(mean_.host_span(), variance_.host_span(), host_parameters(), values_.host(),
                     standardized_.host());
    device_.batch_norm(mean_.device_span(), variance_.device_span(), device_parameters(), values_.device(),
                       standardized_.device());
    keep(values_);
    keep(standardized_);
    if (!c_.keeps) return;
    Twin weight_gradient(1, c_.columns);
    Twin bias_gradient(1, c_.columns);
    host_.batch_norm_gradient(standardized_.host(), variance_.host_span(), host_parameters(),
                              gradient_.host(), weight_gradient.host_span(), bias_gradient.host_span(),
                              host_scratch_);
    device_.batch_norm_gradient(standardized_.device(), variance_.device_span(), device_parameters(),
                                gradient_.device(), weight_gradient.device_span(),
                                bias_gradient.device_span(), device_scratch_.span());
    keep(weight_gradient);
    keep(bias_gradient);
    keep(gradient_);
  }

  void layer_norm() {
    values_.draw(3, c_.middle);
    host_.layer_norm(host_parameters(), values_.host(), standardized_.host(), inverse_deviation_.host_span());
    device_.layer_norm(device_parameters(), values_.device(), standardized_.device(),
                       inverse_deviation_.device_span());
    keep(values_);
    keep(standardized_);
    keep(inverse_deviation_);
    if (!c_.keeps) return;
    Twin weight_gradient(1, c_.columns);
    Twin bias_gradient(1, c_.columns);
    host_.layer_norm_gradient(standardized_.host(), inverse_deviation_.host_span(), host_parameters(),
                              gradient_.host(), weight_gradient.host_span(), bias_gradient.host_span(),
                              host_scratch_);
    device_.layer_norm_gradient(standardized_.device(), inverse_deviation_.device_span(), device_parameters(),
                                gradient_.device(), weight_gradient.device_span(),
                                bias_gradient.device_span(), device_scratch_.span());
    keep(weight_gradient);
    keep(bias_gradient);
    if (c_.columns == 1) {
      // One column is its own mean: nothing comes back. The CPU leaves what a fused product rounds.
      results_.push_back(gradient_.read_device());
      const reference::Matrix left = gradient_.on_device();
      CHECK(std::ranges::all_of(left.values, [](double x) { return x == 0; }));
      return;
    }
    keep(gradient_);
  }

  const Results& results() const { return results_; }

 private:
  NormParameters host_parameters() { return {.weight = weight_.host_span(), .bias = bias_.host_span()}; }
  NormParameters device_parameters() {
    return {.weight = weight_.device_span(), .bias = bias_.device_span()};
  }
  void keep(Twin& twin) {
    results_.push_back(twin.read_device());
    CHECK(twin.difference() < 1e-5);
  }

  const Case& c_;
  NormOperators& host_;
  NormOperators& device_;
  Twin values_;
  Twin standardized_;
  Twin gradient_;
  Twin mean_;
  Twin variance_;
  Twin weight_;
  Twin bias_;
  Twin inverse_deviation_;
  std::vector<float> host_scratch_;
  DeviceArray<float> device_scratch_;
  Results results_;
};

Results run(const Case& c) {
  CAPTURE(c.rows);
  CAPTURE(c.columns);
  CAPTURE(c.margin);
  CAPTURE(c.middle);
  CAPTURE(c.keeps);
  ThreadPool pool(1);
  const auto host = make_cpu_backend(pool);
  const cuda::Stream stream;
  cuda::CudaNorms device(stream.get());
  Run one(c, host->norms(), device);
  if (c.rows > 0) one.moments();
  one.batch_norm();
  one.layer_norm();
  return one.results();
}

}  // namespace

TEST_CASE("normalization on the device is the processor's for any shape") {
  reset_device();
  for (const std::size_t columns : {1U, 2U, 7U, 16U, 33U, 128U, 300U, 2048U}) {
    for (const std::size_t rows : {0U, 1U, 2U, 65U, 200U}) {
      run({.rows = rows, .columns = columns, .margin = rows == 65 ? 3U : 4U * (rows == 2)});
    }
    run({.rows = 9, .columns = columns, .keeps = false});
  }
}

TEST_CASE("moments of many rows far from zero are the processor's") {
  reset_device();
  run({.rows = 40'000, .columns = 3, .middle = 3});  // pieces of more than 64 rows
  run({.rows = 300, .columns = 20, .middle = 100});
}

TEST_CASE("normalization on the device is the same to the bit in every run") {
  const Case c{.rows = 300, .columns = 36};
  Results first;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    CAPTURE(seed);
    reset_device(seed);
    const Results results = run(c);
    if (seed == 0) first = results;
    CHECK(are_same_bits(results, first));
  }
}
