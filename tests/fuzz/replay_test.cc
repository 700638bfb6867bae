// The seeds of every target, and some thousand changes of them, always the same: what can be had without
// libFuzzer.
#include <doctest/doctest.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "storage/base/progress.h"
#include "storage/base/random.h"
#include "tests/fuzz/fuzz_target.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

std::uint64_t draws = 0;  // so far: each change is a function of its number

void change_one(std::uint8_t* data, std::size_t& size, std::size_t size_max, RandomStream& random) {
  constexpr std::array<std::uint64_t, 10> interesting{
      0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, ~std::uint64_t{0}, 1ULL << 32};
  const std::size_t at = random.below(size);
  switch (random.below(6)) {
    case 0:
      data[at] = static_cast<std::uint8_t>(data[at] ^ (1U << random.below(8)));
      return;
    case 1:
      data[at] = static_cast<std::uint8_t>(random.next());
      return;
    case 2: {  // a number, at a place of its own width
      const std::size_t width = std::size_t{1} << random.below(4);
      const std::uint64_t value = interesting[random.below(interesting.size())] - random.below(2);
      if (at / width * width + width <= size) std::memcpy(data + at / width * width, &value, width);
      return;
    }
    case 3:  // cut short
      if (random.below(4) == 0) size = at + 1;
      return;
    case 4: {  // a part of it again, somewhere else
      const std::size_t count = 1 + random.below(std::min<std::size_t>(64, size));
      const std::size_t from = random.below(size - count + 1);
      std::memmove(data + std::min(at, size - count), data + from, count);
      return;
    }
    default: {  // some bytes more
      const std::size_t count = 1 + random.below(8);
      if (size + count > size_max) return;
      std::memmove(data + at + count, data + at, size - at);
      size += count;
    }
  }
}

std::size_t change_some(std::uint8_t* data, std::size_t size, std::size_t size_max) {
  RandomStream random(mix_key(1, ++draws));
  for (std::uint64_t left = 1 + random.below(4); left > 0 && size > 0; --left)
    change_one(data, size, size_max, random);
  return size;
}

}  // namespace

TEST_CASE("hostile files are answered with values or with a sentence, by every parser") {
  spdlog::set_level(spdlog::level::off);
  Progress::set_quiet(true);
  for (const FuzzTarget* target : fuzz_targets()) {
    CAPTURE(target->name);
    const auto seeds = target->seeds();
    REQUIRE(!seeds.empty());
    for (const std::string& seed : seeds) {
      CHECK_NOTHROW(attempt([&] { target->run(seed); }));
    }
    std::vector<std::uint8_t> memory;
    for (std::uint32_t round = 0; round < target->replays; ++round) {
      const std::string& seed = seeds[round % seeds.size()];
      CAPTURE(round);
      memory.assign(seed.begin(), seed.end());
      memory.resize(seed.size() + 64);
      const std::size_t size = change_input(*target, memory, seed.size(), round, change_some);
      const std::string input(memory.begin(), memory.begin() + static_cast<std::ptrdiff_t>(size));
      CHECK_NOTHROW(attempt([&] { target->run(input); }));
    }
  }
  spdlog::set_level(spdlog::level::info);
}
