// Streams through direct reads and writes: any amounts in, any amounts out, and failures that are told.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "storage/base/random.h"
#include "storage/format/npy_writer.h"
#include "storage/io/range_load.h"
#include "storage/io/sequential_reader.h"
#include "storage/io/sequential_writer.h"
#include "tests/support/expect_error.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using gneiss::test::FileSizeLimit;
using gneiss::test::TemporaryFolder;

namespace {

std::vector<std::byte> random_bytes(std::size_t count) {
  RandomStream random(5);
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.below(256));
  return bytes;
}

bool holds_nothing(const std::filesystem::path& folder) {
  return std::filesystem::directory_iterator(folder) == std::filesystem::directory_iterator();
}

}  // namespace

TEST_CASE("what is appended in any amounts is read in any amounts") {
  const TemporaryFolder folder;
  for (const std::size_t size : {1UL, 4095UL, 4096UL, 8192UL, 100'003UL}) {
    CAPTURE(size);
    const auto bytes = random_bytes(size);
    const File file = File::create(folder / "file");
    const File direct = file.reopen_direct(true);
    RandomStream random(size);
    constexpr std::uint64_t offset = 8192;
    {
      WriteBehind behind(direct ? direct : file, 8192, 2);
      SequentialWriter writer(behind, offset, 8192);
      for (std::size_t at = 0; at < size;) {
        const std::size_t part = std::min<std::size_t>(size - at, 1 + random.below(20'000));
        writer.append(std::span(bytes).subspan(at, part));
        at += part;
      }
      writer.finish();
      behind.finish();
    }
    std::vector<std::uint64_t> checked;
    SequentialReader reader({.path = folder / "file", .offset = offset, .bytes = size},
                            {.piece_bytes = 12288, .pieces = 3},
                            [&](std::uint64_t at, std::span<const std::byte> piece) {
                              CHECK(std::ranges::equal(piece, std::span(bytes).subspan(at, piece.size())));
                              checked.push_back(at);
                            });
    std::vector<std::byte> read(size);
    for (std::size_t at = 0; at < size;) {
      CHECK(reader.left() == size - at);
      const std::size_t part = std::min<std::size_t>(size - at, 1 + random.below(20'000));
      reader.read(std::span(read).subspan(at, part));
      at += part;
    }
    CHECK(reader.left() == 0);
    CHECK(read == bytes);
    CHECK(checked.size() == divide_up(size, 12288));
    CHECK(std::ranges::is_sorted(checked));
  }
}

TEST_CASE("rows go to places apart, and come from there, in pieces that they straddle or fill") {
  const TemporaryFolder folder;
  constexpr std::size_t before = 3;  // bytes of each source row, and
  constexpr std::size_t after = 4;
  for (const std::size_t width : {1U, 4U, 5U, 1000U, 4096U, 9000U}) {
    CAPTURE(width);
    const std::size_t rows = width < 100 ? 3001 : 11;
    const std::size_t stride = before + width + after;
    const auto bytes = random_bytes(rows * stride);
    const File file = File::create(folder / "file");
    {
      WriteBehind behind(file, 4096, 2);
      SequentialWriter writer(behind, 0, 4096);
      writer.append_rows(bytes.data() + before, width, stride, 7);
      writer.append_rows(bytes.data() + 7 * stride + before, width, stride, rows - 7);
      writer.finish();
      behind.finish();
    }
    SequentialReader reader({.path = folder / "file", .offset = 0, .bytes = rows * width},
                            {.piece_bytes = 4096, .pieces = 2});
    const std::size_t apart = width + 2;
    std::vector<std::byte> target(rows * apart);
    reader.read_rows(target.data() + 1, width, apart, 5);
    reader.read_rows(target.data() + 5 * apart + 1, width, apart, rows - 5);
    bool is_same = true;
    for (std::size_t row = 0; row < rows; ++row) {
      const auto read = std::span(target).subspan(row * apart, apart);
      is_same &=
          std::ranges::equal(read.subspan(1, width), std::span(bytes).subspan(row * stride + before, width));
      is_same &= read.front() == std::byte{0} && read.back() == std::byte{0};
    }
    CHECK(is_same);
  }
}

TEST_CASE("a range is loaded into its place, and told of from its beginning on") {
  const TemporaryFolder folder;
  constexpr std::uint64_t offset = 4096;
  const auto bytes = random_bytes(100'000);
  const File file = File::create(folder / "file");
  file.write_at(offset, bytes);
  for (const std::size_t size : {0UL, 1UL, 4096UL, 65'536UL, 100'000UL}) {
    for (const std::uint32_t pieces : {1U, 3U}) {
      CAPTURE(size);
      AlignedBuffer target(size);
      std::uint64_t arrived = 0;
      load_range({.path = folder / "file", .offset = offset, .bytes = size},
                 {.piece_bytes = 8192, .pieces = pieces}, {target.data(), target.capacity()},
                 [&](std::uint64_t until) {
                   CHECK(until > arrived);
                   CHECK(std::ranges::equal(target.bytes().subspan(arrived, until - arrived),
                                            std::span(bytes).subspan(arrived, until - arrived)));
                   arrived = until;
                 });
      CHECK(arrived == size);
    }
  }
  AlignedBuffer target(100'001);
  EXPECT_ERROR(load_range({.path = folder / "file", .offset = offset, .bytes = 100'001},
                          {.piece_bytes = 8192, .pieces = 2}, {target.data(), target.capacity()},
                          [](std::uint64_t) {}),
               Kind::corruption, "cut short");
}

TEST_CASE("whoever stops loading in the middle leaves no read behind") {
  const TemporaryFolder folder;
  const File file = File::create(folder / "file");
  file.write_at(0, random_bytes(1 << 20));
  for (int i = 0; i < 20; ++i) {
    AlignedBuffer target(1 << 20);
    const auto stop = [](std::uint64_t) { throw std::runtime_error("enough"); };
    CHECK_THROWS_WITH(
        load_range({.path = folder / "file", .offset = 0, .bytes = 1 << 20},
                   {.piece_bytes = 65'536, .pieces = 8}, {target.data(), target.capacity()}, stop),
        "enough");
  }
}

TEST_CASE("a range that the file does not hold is damage") {
  const TemporaryFolder folder;
  const File file = File::create(folder / "file");
  file.write_at(0, random_bytes(5000));
  std::vector<std::byte> target(9000);
  const auto read = [&](std::uint64_t bytes) {
    SequentialReader reader({.path = folder / "file", .offset = 0, .bytes = bytes},
                            {.piece_bytes = 4096, .pieces = 2});
    reader.read(std::span(target).first(bytes));
  };
  read(5000);
  EXPECT_ERROR(read(5001), Kind::corruption, "cut short");
  EXPECT_ERROR(read(9000), Kind::corruption, "");
}

TEST_CASE("an array of rows has its name when it is whole, and nothing before") {
  const TemporaryFolder folder;
  const auto bytes = random_bytes(1234 * 5 * 4);
  const std::array<std::uint64_t, 2> shape{1234, 5};
  write_npy(folder / "expected.npy", Dtype::f32, shape, bytes);
  {
    NpyWriter stream(folder / "array.npy", Dtype::f32, shape);
    for (std::size_t at = 0; at < bytes.size(); at += 617) {
      stream.append(std::span(bytes).subspan(at, std::min<std::size_t>(617, bytes.size() - at)));
    }
    CHECK_FALSE(std::filesystem::exists(folder / "array.npy"));
    stream.finish();
  }
  CHECK(read_text_file(folder / "array.npy") == read_text_file(folder / "expected.npy"));
  {
    // Replaces what was there, and only when it is whole.
    const std::array<std::uint64_t, 1> one{3};
    NpyWriter stream(folder / "array.npy", Dtype::u8, one);
    stream.append(std::span(bytes).first(3));
    CHECK(read_text_file(folder / "array.npy") == read_text_file(folder / "expected.npy"));
    stream.finish();
  }
  CHECK(std::filesystem::file_size(folder / "array.npy") == 128 + 3);
}

TEST_CASE("an array that is not finished leaves nothing, on a full drive too") {
  const TemporaryFolder folder;
  const std::array<std::uint64_t, 2> shape{1000, 5};
  {
    NpyWriter stream(folder / "array.npy", Dtype::f32, shape);
    stream.append(random_bytes(4000));
  }
  CHECK(holds_nothing(folder.path()));
  {
    const FileSizeLimit limit(8192);
    EXPECT_ERROR(NpyWriter(folder / "array.npy", Dtype::f32, shape), Kind::io, "");
  }
  CHECK(holds_nothing(folder.path()));
}
