#include "engine/compute/cpu/product.h"

#include <oneapi/dnnl/dnnl.h>

#include <algorithm>

// From the OpenMP runtime that oneDNN brings: omp.h itself is the compiler's, and analysers lack it.
extern "C" void omp_set_num_threads(int count);

namespace gneiss::cpu {

void multiply(ConstMatrixView a, Side a_side, ConstMatrixView b, Side b_side, MatrixView out, Into into) {
  // oneDNN asks OpenMP for threads; the setting belongs to the calling thread, so each says it once.
  thread_local const bool is_alone = (omp_set_num_threads(1), true);
  static_cast<void>(is_alone);
  const std::size_t n = a_side == Side::plain ? a.rows : a.columns;
  const std::size_t k = a_side == Side::plain ? a.columns : a.rows;
  const std::size_t m = b_side == Side::plain ? b.columns : b.rows;
  GNEISS_ASSERT(k == (b_side == Side::plain ? b.rows : b.columns));
  GNEISS_ASSERT(out.rows == n && out.columns == m);
  if (out.empty()) return;
  if (k == 0) {
    if (into == Into::add) return;
    for (std::size_t row = 0; row < n; ++row) std::fill_n(out.row(row), m, 0.0F);
    return;
  }
  const auto dim = [](std::size_t value) { return static_cast<dnnl_dim_t>(value); };
  const dnnl_status_t status = dnnl_sgemm(static_cast<char>(a_side), static_cast<char>(b_side), dim(n),
                                          dim(m), dim(k), 1.0F, a.data, dim(a.stride), b.data, dim(b.stride),
                                          into == Into::add ? 1.0F : 0.0F, out.data, dim(out.stride));
  if (status != dnnl_success) {
    fail(Kind::io, "oneDNN refused a product of [{}, {}] and [{}, {}] with status {}", n, k, k, m,
         static_cast<int>(status));
  }
}

}  // namespace gneiss::cpu
