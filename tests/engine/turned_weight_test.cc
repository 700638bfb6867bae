// A weight turned over: its numbers, and the memory that it keeps.
#include "engine/compute/cpu/turned_weight.h"

#include <doctest/doctest.h>

#include "tests/engine/framed_matrix.h"

using namespace gneiss;
using namespace gneiss::test;

TEST_CASE("a weight is turned over whatever its shape, in memory that grows to what it said") {
  cpu::TurnedWeight turned;
  std::uint64_t most = 0;
  for (const ProductShape& s : product_shapes) {
    const Framed weight = random_matrix(2, s.m, s.k);
    const ConstMatrixView result = turned.of(weight.view);
    CHECK(result.rows == s.k);
    CHECK(result.columns == s.m);
    bool is_same = true;
    for (std::size_t r = 0; r < s.m; ++r) {
      for (std::size_t c = 0; c < s.k; ++c) is_same &= result(c, r) == weight.view(r, c);
    }
    CHECK(is_same);
    most = std::max(most, cpu::TurnedWeight::bytes(s.k, s.m));
    CHECK(turned.kept_bytes() > 0);
    CHECK(turned.kept_bytes() <= most);
  }
}

TEST_CASE("few rows, and the widest weights, are not worth it") {
  const std::vector<float> numbers(64);
  CHECK(cpu::TurnedWeight::is_worth_it(4096, {numbers.data(), 8, 8}));
  CHECK(!cpu::TurnedWeight::is_worth_it(1000, {numbers.data(), 8, 8}));
  CHECK(!cpu::TurnedWeight::is_worth_it(4096, {numbers.data(), 2048, 1024}));
  CHECK(cpu::TurnedWeight::bytes(2048, 1024) <= cpu::TurnedWeight::bytes(1024, 1024));
}
