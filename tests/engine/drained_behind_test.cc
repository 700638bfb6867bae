// What is drained on another thread: in order, failures at the next call, stopped early, nothing outlived.
#include "engine/infer/drained_behind.h"

#include <doctest/doctest.h>

#include <array>
#include <stdexcept>
#include <vector>

using namespace gneiss;

namespace {

using Slots = std::array<int, 2>;
using Behind = DrainedBehind<int>;

}  // namespace

TEST_CASE("slots are drained in the order in which they were given, each as it was given") {
  Slots slots{};
  std::vector<int> drained;
  {
    Behind behind(slots, [&](const int& slot) { drained.push_back(slot); });
    behind.finish();  // of nothing
    for (int i = 0; i < 200; ++i) {
      behind.next() = i;
      behind.give();
    }
    behind.finish();
    REQUIRE(drained.size() == 200);
  }
  for (int i = 0; i < 200; ++i) CHECK(drained[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("what draining throws comes with the next call, and nothing is drained after it") {
  Slots slots{};
  int last = -1;
  Behind behind(slots, [&](const int& slot) {
    last = slot;
    if (slot == 3) throw std::runtime_error("the drive is full");
  });
  const auto give_ten = [&] {
    for (int i = 0; i < 10; ++i) {
      behind.next() = i;
      behind.give();
    }
    behind.finish();
  };
  CHECK_THROWS_WITH(give_ten(), "the drive is full");
  CHECK_THROWS_WITH(behind.finish(), "the drive is full");
  CHECK(last == 3);
}

TEST_CASE("what ends before all is drained waits for one slot at most") {
  Slots slots{};
  int drained = 0;
  {
    Behind behind(slots, [&](const int& slot) { drained += slot; });
    behind.next() = 1;
    behind.give();
    behind.next() = 1;  // never given
  }
  CHECK(drained <= 1);
}
