#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "storage/import/csv_reader.h"
#include "storage/import/gz_source.h"
#include "storage/import/npy_array.h"
#include "storage/import/zip_source.h"
#include "tests/storage/import_fixtures.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

using namespace gneiss::test;

std::vector<double> read_all(const NpyArray& array) {
  std::vector<double> values(array.header().element_count);
  NpyStream stream = array.stream();
  stream.read(std::span(values));
  stream.finish();
  return values;
}

std::string read_to_end(ByteSource& source) {
  std::string text;
  std::array<char, 1000> piece{};
  while (const std::size_t taken = source.read(std::as_writable_bytes(std::span(piece)))) {
    text.append(piece.data(), taken);
  }
  return text;
}

// Runs `attempt`, which may succeed or throw Error; anything else fails the test.
template <class Attempt>
bool succeeds_or_explains(Attempt&& attempt) {
  try {
    attempt();
    return true;
  } catch (const Error& error) {
    CHECK(error.kind() == Kind::input);
    CHECK(std::string(error.what()).size() > 20);
    return false;
  }
}

template <class T>
void check_type(const std::filesystem::path& path) {
  const std::vector<T> values{T{0}, T{1}, T{3}, std::numeric_limits<T>::max() > 100 ? T{100} : T{1}};
  write_file(path, npy({2, 2}, values));
  const auto read = read_all(NpyArray::open_file(path));
  for (std::size_t i = 0; i < values.size(); ++i) CHECK(read[i] == static_cast<double>(values[i]));
}

}  // namespace

TEST_CASE("every element type and version of .npy is read") {
  const TemporaryFolder folder;
  const auto path = folder / "a.npy";
  check_type<std::int8_t>(path);
  check_type<std::int16_t>(path);
  check_type<std::int32_t>(path);
  check_type<std::int64_t>(path);
  check_type<std::uint8_t>(path);
  check_type<std::uint16_t>(path);
  check_type<std::uint32_t>(path);
  check_type<std::uint64_t>(path);
  check_type<float>(path);
  check_type<double>(path);
  for (const int version : {1, 2, 3}) {
    write_file(path, npy<std::int32_t>({3}, {7, -8, 9}, {.version = version}));
    CHECK(read_all(NpyArray::open_file(path)) == std::vector<double>{7, -8, 9});
  }
  const std::vector<std::uint64_t> shape{2};
  write_file(path, npy_file("<f2", shape, std::string("\x00\x3c\x00\xc0", 4)));
  CHECK(read_all(NpyArray::open_file(path)) == std::vector<double>{1, -2});
  write_file(path, npy_file("|b1", shape, std::string("\x01\x00", 2)));
  CHECK(read_all(NpyArray::open_file(path)) == std::vector<double>{1, 0});
}

TEST_CASE("a stream starts anywhere, and arrays of no elements or no dimensions are arrays") {
  const TemporaryFolder folder;
  std::vector<std::int64_t> values(100'000);
  std::iota(values.begin(), values.end(), 0);
  write_file(folder / "a.npy", npy({100'000}, values));
  const NpyArray array = NpyArray::open_file(folder / "a.npy");
  std::vector<std::int64_t> part(10);
  array.stream(77'777).read(std::span(part));
  CHECK(part.front() == 77'777);
  CHECK(part.back() == 77'786);
  write_file(folder / "b.npy", npy<float>({0, 5}, {}));
  CHECK(read_all(NpyArray::open_file(folder / "b.npy")).empty());
  write_file(folder / "c.npy", npy<float>({}, {4}));
  CHECK(read_all(NpyArray::open_file(folder / "c.npy")) == std::vector<double>{4});
}

TEST_CASE("a .npy file cut off at any length is reported") {
  const TemporaryFolder folder;
  const std::string whole = npy<std::int32_t>({2, 3}, {1, 2, 3, 4, 5, 6});
  for (std::size_t length = 0; length < whole.size(); ++length) {
    write_file(folder / "a.npy", whole.substr(0, length));
    EXPECT_ERROR(read_all(NpyArray::open_file(folder / "a.npy")), Kind::input, "a.npy");
  }
  write_file(folder / "a.npy", whole + "x");
  EXPECT_ERROR(NpyArray::open_file(folder / "a.npy"), Kind::input, "1 bytes more than its shape");
}

TEST_CASE("any flipped bit of a .npy header is explained or harmless, never a crash") {
  const TemporaryFolder folder;
  const std::string whole = npy<std::int32_t>({2, 3}, {1, 2, 3, 4, 5, 6});
  int refused = 0;
  for (std::size_t bit = 0; bit < 8 * 80; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    write_file(folder / "a.npy", damaged);
    if (!succeeds_or_explains([&] { read_all(NpyArray::open_file(folder / "a.npy")); })) ++refused;
  }
  CHECK(refused > 400);
}

TEST_CASE("what a .npy file cannot be here is said in words") {
  const TemporaryFolder folder;
  const auto path = folder / "a.npy";
  const std::vector<std::uint64_t> shape{1};
  const std::string eight(8, '\0');
  write_file(path, std::string(4096, '\0'));
  EXPECT_ERROR(NpyArray::open_file(path), Kind::input, "IGB large and full");
  write_file(path, npy_file(">i8", shape, eight));
  EXPECT_ERROR(NpyArray::open_file(path), Kind::input, "big-endian");
  write_file(path, npy_file("<c8", shape, eight));
  EXPECT_ERROR(NpyArray::open_file(path), Kind::input, "'<c8'");
  write_file(path, npy_file("<f4", std::vector<std::uint64_t>{1ULL << 40, 1ULL << 40}, eight));
  EXPECT_ERROR(NpyArray::open_file(path), Kind::input, "more than any file holds");
  write_file(path, npy_file("<f4", std::vector<std::uint64_t>{1ULL << 50}, eight));
  EXPECT_ERROR(NpyArray::open_file(path), Kind::input, "truncated");
  std::string version = npy<float>({1}, {1});
  version[6] = 9;
  write_file(path, version);
  EXPECT_ERROR(NpyArray::open_file(path), Kind::input, "version 9.0");
  EXPECT_ERROR(NpyArray::open_file(folder / "none.npy"), Kind::input, "none.npy");
  write_file(path, npy<std::uint64_t>({1}, {~0ULL}));
  std::int64_t value = 0;
  EXPECT_ERROR(NpyArray::open_file(path).stream().read(std::span(&value, 1)), Kind::input, "too large");
}

TEST_CASE("entries of an archive are read stored, deflated and in zip64, several streams at a time") {
  const TemporaryFolder folder;
  std::vector<std::int64_t> values(200'000);
  std::iota(values.begin(), values.end(), 0);
  for (const ZipStyle style :
       {ZipStyle{false, false}, ZipStyle{true, false}, ZipStyle{false, true}, ZipStyle{true, true}}) {
    write_file(folder / "a.npz",
               zip_file({{"other.npy", npy<float>({1}, {1})}, {"edge_index.npy", npy({2, 100'000}, values)}},
                        style));
    const NpyArray array = NpyArray::open_zip_entry(folder / "a.npz", "edge_index.npy");
    CHECK(!array.can_seek());
    NpyStream first = array.stream();
    NpyStream second = array.stream(100'000);
    std::vector<std::int64_t> a(1000);
    std::vector<std::int64_t> b(1000);
    for (std::int64_t i = 0; i < 100'000; i += 1000) {
      first.read(std::span(a));
      second.read(std::span(b));
      REQUIRE(a[7] == i + 7);
      REQUIRE(b[7] == 100'000 + i + 7);
    }
    second.finish();
  }
  CHECK(zip_has_entry(folder / "a.npz", "other.npy"));
  CHECK(!zip_has_entry(folder / "a.npz", "none.npy"));
  EXPECT_ERROR(NpyArray::open_zip_entry(folder / "a.npz", "none.npy"), Kind::input,
               "no entry named none.npy");
  EXPECT_ERROR(NpyArray::open_zip_entry(folder / "none.npz", "a"), Kind::input, "does not exist");
}

TEST_CASE("an archive that is cut off or flipped is reported, or reads as it was") {
  const TemporaryFolder folder;
  const std::vector<float> values{1, 2, 3, 4, 5, 6, 7, 8};
  const auto attempt = [&] {
    const auto read = read_all(NpyArray::open_zip_entry(folder / "a.npz", "x.npy"));
    CHECK(read == std::vector<double>(values.begin(), values.end()));
  };
  for (const bool deflated : {false, true}) {
    const std::string whole = zip_file({{"x.npy", npy({8}, values)}}, {.deflated = deflated, .zip64 = true});
    for (std::size_t length = 0; length < whole.size(); ++length) {
      write_file(folder / "a.npz", whole.substr(0, length));
      CHECK(!succeeds_or_explains(attempt));
    }
    for (std::size_t byte = 0; byte < whole.size(); ++byte) {
      std::string damaged = whole;
      damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << (byte % 8)));
      write_file(folder / "a.npz", damaged);
      succeeds_or_explains(attempt);
    }
  }
}

TEST_CASE("gzip members that follow each other read as one, and damage is reported") {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 300; ++i) text += fmt::format("{},{}\n", i, i * i);
  const std::string whole = gzip(text.substr(0, 1000)) + gzip(text.substr(1000));
  write_file(folder / "a.gz", whole);
  GzSource good(folder / "a.gz");
  CHECK(read_to_end(good) == text);
  const std::size_t first_member = gzip(text.substr(0, 1000)).size();
  for (std::size_t length = 0; length < whole.size(); ++length) {
    if (length == first_member) continue;  // by itself a whole file
    write_file(folder / "a.gz", whole.substr(0, length));
    EXPECT_ERROR(
        {
          GzSource cut(folder / "a.gz");
          read_to_end(cut);
        },
        Kind::input, "a.gz");
  }
  for (std::size_t byte = 0; byte < whole.size(); ++byte) {
    std::string damaged = whole;
    damaged[byte] = static_cast<char>(damaged[byte] ^ 0x10);
    write_file(folder / "a.gz", damaged);
    succeeds_or_explains([&] {
      GzSource source(folder / "a.gz");
      const std::string read = read_to_end(source);
      CHECK(read == text);
    });
  }
}

TEST_CASE("tables of numbers are read a row at a time, and errors name the line") {
  const TemporaryFolder folder;
  const auto open = [&](const std::string& text) {
    write_file(folder / "t.csv.gz", gzip(text));
    return CsvReader(open_maybe_gz(folder / "t.csv"));
  };
  std::array<std::int64_t, 2> pair{};
  const std::span<std::int64_t> row(pair);
  CsvReader table = open("1,2\r\n\n -3 , 4\n5,6");
  CHECK(table.count_fields() == 2);
  CHECK((table.next_row(row) && pair[1] == 2));
  CHECK((table.next_row(row) && pair[0] == -3));
  CHECK((table.next_row(row) && pair[1] == 6));
  CHECK(table.line() == 4);
  CHECK(!table.next_row(row));
  EXPECT_ERROR(open("1,x\n").next_row(row), Kind::input, "line 1: 'x' is not an integer");
  EXPECT_ERROR(open("1,2.5\n").next_row(row), Kind::input, "'2.5' is not an integer");
  EXPECT_ERROR(open("1,\n").next_row(row), Kind::input, "'' is not an integer");
  EXPECT_ERROR(open("1,2,3\n").next_row(row), Kind::input, "2 numbers were expected, the line has 3");
  EXPECT_ERROR(open("1\n").next_row(row), Kind::input, "the line has 1");
  EXPECT_ERROR(open("1,99999999999999999999\n").next_row(row), Kind::input, "is not an integer");

  std::array<float, 3> values{};
  CHECK(open("1e-60,nan,-inf\n").next_row(std::span<float>(values)));
  CHECK(values[0] == 0);
  CHECK(std::isnan(values[1]));
  CHECK(std::isinf(values[2]));

  std::string long_text;
  for (int i = 0; i < 200'000; ++i) long_text += fmt::format("{},{}\n", i, i);
  const std::string cut = gzip(long_text).substr(0, 200'000);
  write_file(folder / "t.csv.gz", cut);
  CsvReader damaged(open_maybe_gz(folder / "t.csv"));
  EXPECT_ERROR(while (damaged.next_row(row)){}, Kind::input, "line ");
  write_file(folder / "plain.csv", "8,9\n");
  CHECK((CsvReader(open_maybe_gz(folder / "plain.csv")).next_row(row) && pair[1] == 9));
}

}  // namespace gneiss
