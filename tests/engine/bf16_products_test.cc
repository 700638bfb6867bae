// The processor's products in bf16: what lacks them, and the memory that they keep.
#include "engine/compute/cpu/bf16_products.h"

#include <doctest/doctest.h>

#include "engine/compute/cpu/bf16_kernels.h"
#include "engine/compute/cpu/cpu_backend.h"
#include "storage/base/parallel.h"
#include "tests/engine/framed_matrix.h"
#include "tests/support/expect_error.h"
#include "tests/support/skip.h"

using namespace gneiss;
using namespace gneiss::test;

TEST_CASE("names of precisions, and what lacks them, are told in a sentence") {
  CHECK(parse_precision("f32") == Precision::f32);
  CHECK(parse_precision("bf16") == Precision::bf16);
  CHECK(parse_precision("tf32") == Precision::tf32);
  CHECK(name_of(Precision::bf16) == "bf16");
  EXPECT_ERROR(parse_precision("f16"), Kind::config, "use f32, tf32 or bf16");
  ThreadPool pool(1);
  CHECK(make_cpu_backend(pool)->precision() == Precision::f32);
  // A weight turned over; the widest are not.
  CHECK(make_cpu_backend(pool)->working_bytes(128, 64) == 32768);
  CHECK(make_cpu_backend(pool)->working_bytes(1U << 20, 1U << 20) == 4U << 20);
  EXPECT_ERROR(make_cpu_backend(pool, Precision::tf32), Kind::config, "tf32");
  if (cpu::has_bf16_products()) {
    CHECK(make_cpu_backend(pool, Precision::bf16)->precision() == Precision::bf16);
  } else {
    EXPECT_ERROR(make_cpu_backend(pool, Precision::bf16), Kind::config, "AVX512_BF16");
  }
}

TEST_CASE("what bf16's products keep is what they say they will keep, at most") {
  if (!cpu::has_bf16_products()) SKIP_TEST("this processor has no AVX512_BF16");
  for (const ProductShape& s : product_shapes) {
    for (const std::size_t threads : {1U, 3U}) {
      ThreadPool pool(threads);
      const cpu::PieceRunner pieces(pool);
      cpu::Bf16Products products(pieces);
      const Framed x = random_matrix(1, s.n, s.k);
      const Framed weight = random_matrix(2, s.m, s.k);
      Framed z = random_matrix(3, s.n, s.m);
      Framed dx(s.n, s.k);
      Framed dw(s.m, s.k);
      products.linear(x.view, weight.view, {}, z.view, cpu::Into::set);
      products.input_gradient(z.view, weight.view, dx.view);
      for (std::size_t worker = 0; worker < threads; ++worker) {
        products.outer_products(x.view, z.view, dw.view, worker);
      }
      CHECK(products.kept_bytes() > 0);
      CHECK(products.kept_bytes() <= cpu::Bf16Products::bytes(threads, s.k, s.m));
    }
  }
}
