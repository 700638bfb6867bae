// What lies on the drive for a while: as it was written, or an error.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "storage/base/random.h"
#include "storage/io/scratch_file.h"
#include "storage/pack/input_lists.h"
#include "tests/support/expect_error.h"
#include "tests/support/nameless_file.h"
#include "tests/support/temporary_folder.h"

namespace gneiss::test {
namespace {

constexpr std::uint64_t block_values = list_block_bytes / sizeof(std::uint32_t);

std::vector<std::uint32_t> values_from(std::uint32_t first, std::size_t count) {
  std::vector<std::uint32_t> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

// Lengths around blocks of their checksums, and lists of nothing.
const std::vector<std::size_t> lengths{5, 0, block_values, block_values + 1, 0, 3 * block_values - 1, 1};

std::vector<NodeId> nodes_from(std::uint32_t first, std::size_t count) {
  std::vector<NodeId> nodes;
  for (const std::uint32_t value : values_from(first, count)) nodes.push_back(static_cast<NodeId>(value));
  return nodes;
}

}  // namespace

TEST_CASE("pieces of a scratch file come back as they were, and a flipped bit of any is told") {
  const TemporaryFolder folder;
  ScratchFile file(folder.path(), 64U << 20);
  std::vector<ScratchPiece> pieces;
  for (const std::size_t length : lengths) {
    const auto values = values_from(7, length);
    pieces.push_back(file.append(std::as_bytes(std::span(values))));
  }
  const auto expect_piece = [&](std::size_t i) {
    std::vector<std::uint32_t> read(lengths[i]);
    file.read(pieces[i], std::as_writable_bytes(std::span(read)));
    CHECK(read == values_from(7, lengths[i]));
  };
  for (std::size_t i = 0; i < pieces.size(); ++i) expect_piece(i);

  const auto files = nameless_files(folder.path());
  REQUIRE(files.size() == 1);
  RandomStream random(3);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].bytes == 0) continue;
    CAPTURE(i);
    const std::uint64_t at = pieces[i].offset + random.below(pieces[i].bytes);
    const auto bit = static_cast<unsigned>(random.below(8));
    flip_bit(files[0], at, bit);
    for (std::size_t j = 0; j < pieces.size(); ++j) {
      if (j == i) {
        EXPECT_ERROR(expect_piece(i), Kind::corruption, "not what was written");
      } else {
        expect_piece(j);
      }
    }
    flip_bit(files[0], at, bit);
  }
}

TEST_CASE("any part of any list is as it was written") {
  const TemporaryFolder folder;
  ScratchLists<std::uint32_t> lists(folder.path());
  std::uint32_t next = 0;
  std::vector<std::uint32_t> firsts;
  for (const std::size_t length : lengths) {
    firsts.push_back(next);
    lists.append(values_from(next, length));
    next += static_cast<std::uint32_t>(length);
  }
  CHECK(lists.list_count() == lengths.size());
  CHECK(lists.total_count() == next);
  RandomStream random(11);
  for (std::size_t list = 0; list < lengths.size(); ++list) {
    CHECK(lists.size(list) == lengths[list]);
    for (int i = 0; i < 50; ++i) {
      const std::uint64_t begin = random.below(lengths[list] + 1);
      const std::uint64_t count = i == 0 ? 0 : random.below(lengths[list] - begin + 1);
      std::vector<std::uint32_t> read(count);
      lists.read(list, begin, read);
      CHECK(read == values_from(firsts[list] + static_cast<std::uint32_t>(begin), count));
    }
  }
}

TEST_CASE(
    "a flipped bit of a list is told when its block is read, and nothing else is kept from being read") {
  const TemporaryFolder folder;
  const auto path = folder / "lists";
  ScratchLists<std::uint32_t> lists(File::create(path));
  for (const std::size_t length : lengths) lists.append(values_from(1, length));
  RandomStream random(5);
  std::uint64_t begin = 0;  // of the list in the file
  for (std::size_t list = 0; list < lengths.size(); ++list) {
    const std::uint64_t bytes = lengths[list] * sizeof(std::uint32_t);
    for (int i = 0; i < 20 && bytes > 0; ++i) {
      const std::uint64_t at = random.below(bytes);
      const auto bit = static_cast<unsigned>(random.below(8));
      flip_bit(path, begin + at, bit);
      for (std::uint64_t value = 0; value < lengths[list]; value += block_values / 2) {
        CAPTURE(value);
        std::vector<std::uint32_t> read(std::min<std::uint64_t>(lengths[list] - value, block_values / 2));
        if (value / block_values == at / list_block_bytes) {
          EXPECT_ERROR(lists.read(list, value, read), Kind::corruption, path.string());
        } else {
          lists.read(list, value, read);
          CHECK(read == values_from(1 + static_cast<std::uint32_t>(value), read.size()));
        }
      }
      flip_bit(path, begin + at, bit);
    }
    begin += bytes;
  }
}

TEST_CASE("lists of an earlier process are taken up, dropped and written over, and checked as one's own") {
  const TemporaryFolder folder;
  const auto path = folder / "lists";
  {
    InputLists lists(File::create(path));
    for (const std::size_t length : lengths) lists.append(nodes_from(4, length));
  }
  InputLists lists(File::open_existing(path));
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(lists.take_up(lengths[i]) == nodes_from(4, lengths[i]));
    if (i < 3) bytes += lengths[i] * sizeof(NodeId);
  }
  EXPECT_ERROR(lists.take_up(std::uint64_t{1} << 60), Kind::corruption, "cut short");
  lists.drop_last();
  lists.append(nodes_from(9, 2 * block_values));
  std::vector<NodeId> read(2 * block_values);
  CHECK(lists.read(3, 0, read) == read.size());
  CHECK(read == nodes_from(9, read.size()));
  flip_bit(path, bytes + list_block_bytes, 0);
  CHECK(lists.read(3, 0, std::span(read).first(block_values)) == block_values);
  EXPECT_ERROR(lists.read(3, block_values, std::span(read).first(1)), Kind::corruption, path.string());
}

}  // namespace gneiss::test
