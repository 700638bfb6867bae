// Matrices that wait on the drive between layers: as they were written, or an error.
#include "engine/infer/stored_matrix.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "storage/base/random.h"
#include "tests/support/expect_error.h"
#include "tests/support/nameless_file.h"
#include "tests/support/temporary_folder.h"

namespace gneiss::test {
namespace {

constexpr std::uint64_t rows = 3001;
constexpr std::size_t columns = 11;
constexpr ReadAhead ahead{.piece_bytes = 8192, .pieces = 2};
const std::vector<ColumnRun> runs{{0, 4}, {4, 6}, {10, 1}};

std::vector<float> random_values() {
  RandomStream random(2);
  std::vector<float> values(rows * columns);
  for (float& value : values) value = static_cast<float>(random.uniform());
  return values;
}

void write(ScratchMatrix& matrix, std::span<const float> values) {
  const std::array<std::size_t, 3> all{0, 1, 2};
  RowWriter writer(matrix, all, 8192);
  const auto* bytes = reinterpret_cast<const std::byte*>(values.data());
  for (std::uint64_t row = 0; row < rows; row += 700) {
    writer.append(std::min<std::uint64_t>(700, rows - row), bytes + row * matrix.row_bytes(),
                  matrix.row_bytes());
  }
  writer.finish();
}

std::vector<float> read_rows(const StoredMatrix& matrix) {
  std::vector<float> values(rows * columns);
  RowReader reader(matrix, ahead);
  auto* bytes = reinterpret_cast<std::byte*>(values.data());
  for (std::uint64_t row = 0; row < rows; row += 900) {
    reader.next(std::min<std::uint64_t>(900, rows - row), bytes + row * matrix.row_bytes(),
                matrix.row_bytes());
  }
  return values;
}

// One run, as it lies in memory; its bytes are changed as soon as they are there.
std::vector<float> load(const StoredMatrix& matrix, std::size_t run) {
  AlignedBuffer memory(round_up(matrix.run_bytes(run), direct_io_alignment));
  std::uint64_t changed = 0;
  matrix.load_run(run, ahead, memory.bytes(), [&](std::uint64_t bytes) {
    for (; changed < bytes; ++changed) memory.data()[changed] ^= std::byte{0xFF};
  });
  CHECK(changed == matrix.run_bytes(run));
  for (std::uint64_t i = 0; i < changed; ++i) memory.data()[i] ^= std::byte{0xFF};
  std::vector<float> values(rows * matrix.runs()[run].count);
  std::memcpy(values.data(), memory.data(), matrix.run_bytes(run));
  return values;
}

}  // namespace

TEST_CASE("a matrix on the drive is read by rows and by runs as it was written") {
  const TemporaryFolder folder;
  ScratchMatrix matrix(folder.path(), Dtype::f32, rows, columns, runs);
  const std::vector<float> values = random_values();
  write(matrix, values);
  CHECK(read_rows(matrix) == values);
  for (std::size_t run = 0; run < runs.size(); ++run) {
    const std::vector<float> loaded = load(matrix, run);
    std::uint64_t others = 0;
    for (std::uint64_t row = 0; row < rows; ++row) {
      for (std::size_t c = 0; c < runs[run].count; ++c) {
        if (loaded[row * runs[run].count + c] != values[row * columns + runs[run].first + c]) ++others;
      }
    }
    CHECK(others == 0);
  }
}

TEST_CASE(
    "a flipped bit of a matrix on the drive is told, by rows and by runs, and not where it fills up a "
    "block") {
  const TemporaryFolder folder;
  ScratchMatrix matrix(folder.path(), Dtype::f32, rows, columns, runs);
  const std::vector<float> values = random_values();
  write(matrix, values);
  const auto file = nameless_files(folder.path()).at(0);
  RandomStream random(4);
  for (std::size_t run = 0; run < runs.size(); ++run) {
    CAPTURE(run);
    const std::uint64_t bytes = matrix.run_bytes(run);
    for (const std::uint64_t at :
         {std::uint64_t{0}, random.below(bytes), random.below(bytes), bytes - 1, bytes}) {
      CAPTURE(at);
      const auto bit = static_cast<unsigned>(random.below(8));
      flip_bit(file, matrix.offset(run) + at, bit);
      if (at == bytes) {
        CHECK(read_rows(matrix) == values);
        load(matrix, run);
      } else {
        EXPECT_ERROR(read_rows(matrix), Kind::corruption, "not what was written");
        EXPECT_ERROR(load(matrix, run), Kind::corruption, "not what was written");
        load(matrix, (run + 1) % runs.size());  // that one is whole
      }
      flip_bit(file, matrix.offset(run) + at, bit);
    }
  }
}

}  // namespace gneiss::test
