// What is read ahead on another thread: in order, failures in their place, stopped early, nothing outlived.
#include "engine/infer/filled_ahead.h"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <latch>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace gneiss;

namespace {

using Slots = std::array<int, 2>;
using Ahead = FilledAhead<int>;

// Fills 0, 1, ... up to `count`, and then ends, or throws.
std::function<Ahead::Fill()> counting_to(int count, bool throws = false) {
  return [count, throws]() -> Ahead::Fill {
    return [next = std::make_shared<int>(0), count, throws](int& slot) {
      if (*next < count) return slot = (*next)++, true;
      if (throws) throw std::runtime_error("the drive is gone");
      return false;
    };
  };
}

// Notes the threads on which it is made, copied and destroyed.
struct Witness {
  explicit Witness(std::set<std::thread::id>& threads, std::mutex& mutex)
      : threads_(&threads), mutex_(&mutex) {
    note();
  }
  ~Witness() { note(); }
  Witness(const Witness&) = delete;
  Witness& operator=(const Witness&) = delete;

 private:
  void note() const {
    const std::scoped_lock lock(*mutex_);
    threads_->insert(std::this_thread::get_id());
  }
  std::set<std::thread::id>* threads_;
  std::mutex* mutex_;
};

}  // namespace

TEST_CASE("slots come in the order in which they were filled, and none is written while it is in use") {
  for (const std::size_t count : {2U, 3U, 7U}) {
    CAPTURE(count);
    std::vector<int> slots(count);
    Ahead ahead(slots, counting_to(200));
    for (int expected = 0; expected < 200; ++expected) {
      const int* slot = ahead.next();
      REQUIRE(slot != nullptr);
      CHECK(*slot == expected);
      if (expected % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      CHECK(*slot == expected);
    }
    CHECK(ahead.next() == nullptr);
    CHECK(ahead.next() == nullptr);
  }
}

TEST_CASE("while one slot is in use all others are filled, and no more") {
  std::vector<int> slots(3);
  std::atomic<int> filled = 0;
  Ahead ahead(slots, [&]() -> Ahead::Fill { return [&](int&) { return ++filled, true; }; });
  REQUIRE(ahead.next() != nullptr);
  while (filled < 3) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(filled == 3);
}

TEST_CASE("what filling throws comes after the slots that were filled before it") {
  for (const int count : {0, 1, 2, 5}) {
    CAPTURE(count);
    Slots slots{};
    Ahead ahead(slots, counting_to(count, /*throws=*/true));
    for (int i = 0; i < count; ++i) REQUIRE(ahead.next() != nullptr);
    CHECK_THROWS_WITH(ahead.next(), "the drive is gone");
    CHECK_THROWS_WITH(ahead.next(), "the drive is gone");
  }
}

TEST_CASE("what cannot begin is told by the first call") {
  Slots slots{};
  Ahead ahead(slots, []() -> Ahead::Fill { throw std::runtime_error("no such file"); });
  CHECK_THROWS_WITH(ahead.next(), "no such file");
}

TEST_CASE("whoever leaves early waits for the slot that is being filled, and for no other") {
  Slots slots{};
  std::atomic<int> filled = 0;
  std::latch is_filling(1);
  {
    Ahead ahead(slots, [&]() -> Ahead::Fill {
      return [&](int&) {
        if (filled++ == 0) is_filling.count_down();
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        return true;
      };
    });
    is_filling.wait();
  }
  CHECK(filled == 1);
}

TEST_CASE("what fills is made and destroyed on the thread that fills, however it ends") {
  for (const bool throws : {false, true}) {
    for (const int taken : {0, 1, 4}) {
      CAPTURE(throws);
      CAPTURE(taken);
      std::set<std::thread::id> threads;
      std::mutex mutex;
      Slots slots{};
      {
        Ahead ahead(slots, [&]() -> Ahead::Fill {
          const auto fill = counting_to(3, throws)();
          return
              [fill, witness = std::make_shared<Witness>(threads, mutex)](int& slot) { return fill(slot); };
        });
        try {
          for (int i = 0; i < taken; ++i) ahead.next();
        } catch (const std::runtime_error&) {
          CHECK(throws);
        }
      }
      CHECK(threads.size() <= 1);
      CHECK(!threads.contains(std::this_thread::get_id()));
    }
  }
}
