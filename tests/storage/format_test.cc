#include <doctest/doctest.h>
#include <sys/resource.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "storage/base/random.h"
#include "storage/format/dataset.h"
#include "storage/format/section_stream.h"
#include "tests/support/expect_error.h"
#include "tests/support/in_child.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
namespace fs = std::filesystem;

namespace {

constexpr Magic test_magic{'G', 'N', 'E', 'I', 'S', 'T', 'S', 'T'};
bool is_test_section(SectionKind kind) {
  return kind == SectionKind::feature_rows || kind == SectionKind::csc_indices;
}

std::vector<std::uint32_t> numbers(std::size_t count) {
  std::vector<std::uint32_t> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<std::uint32_t>(mix64(i));
  return values;
}

void write_two_sections(const fs::path& path, std::size_t count) {
  SectionWriter writer(path, test_magic, 77);
  const auto values = numbers(count);
  writer.write<std::uint32_t>({.kind = SectionKind::csc_indices, .dtype = Dtype::u32}, values);
  writer.begin(
      {.kind = SectionKind::feature_rows, .dtype = Dtype::u32, .columns = 3, .checksum_block_bytes = 4096});
  for (std::size_t i = 0; i + 3 <= count; i += 3)
    writer.append_values(std::span<const std::uint32_t>(&values[i], 3));
  writer.end();
  writer.finish();
}

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void put_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

void write_small_dataset(const fs::path& path, bool force = false) {
  DatasetWriter writer(path, force);
  {
    SectionWriter graph(writer.folder() / graph_file_name, graph_magic);
    graph.write<std::uint32_t>({.kind = SectionKind::csc_indices, .dtype = Dtype::u32},
                               std::array<std::uint32_t, 4>{1, 2, 0, 0});
    graph.write<std::uint64_t>({.kind = SectionKind::csc_indptr, .dtype = Dtype::u64},
                               std::array<std::uint64_t, 4>{0, 2, 3, 4});
    graph.finish();
    SectionWriter features(writer.folder() / features_file_name, features_magic);
    features.write<float>({.kind = SectionKind::feature_rows,
                           .dtype = Dtype::f32,
                           .columns = 2,
                           .checksum_block_bytes = feature_checksum_block_bytes},
                          std::array<float, 6>{1, 2, 3, 4, 5, 6});
    features.finish();
    SectionWriter labels(writer.folder() / labels_file_name, labels_magic);
    labels.write<std::int32_t>({.kind = SectionKind::class_labels, .dtype = Dtype::i32},
                               std::array<std::int32_t, 3>{0, 1, -1});
    labels.finish();
  }
  writer.seal({.node_count = 3, .edge_count = 4, .feature_dim = 2, .class_count = 2, .source = "a test"},
              {.train = {NodeId{0}}, .valid = {NodeId{1}}, .test = {}}, {{"nodes", 3}});
}

}  // namespace

TEST_CASE("a file of sections gives back what was written") {
  const test::TemporaryFolder folder;
  write_two_sections(folder / "a", 300'000);
  CHECK_FALSE(fs::exists(folder / "a.tmp"));
  const SectionFile file(folder / "a", test_magic, is_test_section);
  CHECK(file.made_from() == 77);
  const auto values = numbers(300'000);
  const auto& indices = file.require(SectionKind::csc_indices);
  expect_shape(indices, Dtype::u32, 300'000, 1, "a");
  const AlignedBuffer read = file.read_section(indices);
  CHECK(std::ranges::equal(read.as<std::uint32_t>(), values));
  const auto& rows = file.require(SectionKind::feature_rows);
  CHECK(rows.rows == 100'000);
  CHECK(rows.offset % 4096 == 0);
  std::array<std::uint32_t, 6> two{};
  file.read_rows(rows, 500, std::as_writable_bytes(std::span(two)));
  CHECK(std::ranges::equal(two, std::span(values).subspan(1500, 6)));
  verify_sections(file, nullptr);
}

TEST_CASE("a writer that is not finished leaves nothing") {
  const test::TemporaryFolder folder;
  {
    const SectionWriter writer(folder / "a", test_magic);
  }
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("every flipped bit of a header and any of the data is found") {
  const test::TemporaryFolder folder;
  write_two_sections(folder / "a", 3000);
  const std::string whole = bytes_of(folder / "a");
  const auto damaged = [&](const std::string& bytes) {
    put_bytes(folder / "b", bytes);
    try {
      verify_sections({folder / "b", test_magic, is_test_section}, nullptr);
    } catch (const Error& error) {
      return error.kind() == Kind::corruption || error.kind() == Kind::input;
    }
    return false;
  };
  CHECK_FALSE(damaged(whole));
  for (std::size_t bit = 0; bit < (sizeof(SectionHeader) + 2 * sizeof(SectionEntry)) * 8; ++bit) {
    std::string copy = whole;
    copy[bit / 8] = static_cast<char>(copy[bit / 8] ^ (1 << (bit % 8)));
    CHECK_MESSAGE(damaged(copy), "bit ", bit);
  }
  const SectionFile file(folder / "a", test_magic, is_test_section);
  for (const SectionEntry& entry : file.table().entries) {
    RandomStream random(entry.offset);
    for (int flip = 0; flip < 100; ++flip) {
      std::string copy = whole;
      copy[entry.offset + random.below(entry.bytes)] ^= static_cast<char>(1 << random.below(8));
      CHECK(damaged(copy));
    }
  }
}

TEST_CASE("a file cut anywhere is reported as corruption") {
  const test::TemporaryFolder folder;
  write_two_sections(folder / "a", 3000);
  const std::string whole = bytes_of(folder / "a");
  for (std::size_t length = 0; length < whole.size(); length += 61) {
    put_bytes(folder / "b", whole.substr(0, length));
    EXPECT_ERROR(SectionFile(folder / "b", test_magic, is_test_section), Kind::corruption, "cut short");
  }
}

TEST_CASE("another version, another magic and unknown required sections are refused, optional ones skipped") {
  const test::TemporaryFolder folder;
  SectionWriter writer(folder / "a", test_magic);
  constexpr std::array<std::uint8_t, 1> byte{1};
  writer.write<std::uint8_t>({.kind = static_cast<SectionKind>((1U << 31) + 9), .dtype = Dtype::u8}, byte);
  writer.finish();
  CHECK(SectionFile(folder / "a", test_magic, is_test_section).table().entries.size() == 1);
  EXPECT_ERROR(SectionFile(folder / "a", graph_magic, is_test_section), Kind::corruption, "GNEISCSC");

  SectionWriter required(folder / "r", test_magic);
  required.write<std::uint8_t>({.kind = static_cast<SectionKind>(999), .dtype = Dtype::u8}, byte);
  required.finish();
  EXPECT_ERROR(SectionFile(folder / "r", test_magic, is_test_section), Kind::input, "newer gneiss");

  std::string newer = bytes_of(folder / "a");
  newer[offsetof(SectionHeader, version)] = 9;
  put_bytes(folder / "n", newer);
  EXPECT_ERROR(SectionFile(folder / "n", test_magic, is_test_section), Kind::corruption, "checksum");
  std::fill_n(newer.begin() + offsetof(SectionHeader, header_xxh3), 8, '\0');
  const std::size_t header_bytes = header_bytes_for(1, file_section_alignment);
  const std::uint64_t sum = checksum(std::as_bytes(std::span(newer).first(header_bytes)));
  std::memcpy(newer.data() + offsetof(SectionHeader, header_xxh3), &sum, sizeof(sum));
  put_bytes(folder / "n", newer);
  EXPECT_ERROR(SectionFile(folder / "n", test_magic, is_test_section), Kind::input, "format version 9");
}

TEST_CASE("a catalog that cannot be opened for want of file descriptors is not called damaged") {
  const test::TemporaryFolder folder;
  {
    const Catalog catalog(folder / "c", Catalog::Access::create);
  }
  const auto open_with = [&](rlim_t more, Catalog::Access access) {
    return test::run_in_child([&] {
      const File next =
          File::open_for_reading("/proc/self/exe");  // descriptors are handed out from the lowest on
      const rlim_t limit = static_cast<rlim_t>(next.descriptor()) + more;
      const rlimit few{.rlim_cur = limit, .rlim_max = limit};
      if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 98;
      try {
        const auto name = access == Catalog::Access::create ? "new-" + std::to_string(more) : "c";
        const Catalog catalog(folder / name, access);
        return 0;
      } catch (const Error& error) {
        return exit_code(error.kind());
      }
    });
  };
  int refused = 0;
  for (const auto access : {Catalog::Access::create, Catalog::Access::write, Catalog::Access::read}) {
    for (rlim_t more = 1; more < 14; ++more) {
      CAPTURE(more);
      const int code = open_with(more, access);
      CHECK((code == 0 || code == exit_code(Kind::io)));
      refused += code == exit_code(Kind::io) ? 1 : 0;
    }
    CHECK(open_with(40, access) == 0);
  }
  CHECK(refused > 6);
}

TEST_CASE("a dataset gives back what was sealed") {
  const test::TemporaryFolder folder;
  write_small_dataset(folder / "d.gneiss");
  const Dataset dataset = Dataset::open(folder / "d.gneiss");
  CHECK(dataset.info().node_count == 3);
  CHECK(dataset.info().feature_bytes() == 24);
  CHECK(dataset.split(Split::train) == std::vector{NodeId{0}});
  CHECK(dataset.split(Split::test).empty());
  CHECK(dataset.read_indptr() == std::vector<std::uint64_t>{0, 2, 3, 4});
  CHECK(dataset.read_labels().classes == std::vector<std::int32_t>{0, 1, -1});
  CHECK(dataset.statistics()["nodes"] == 3);
  dataset.catalog().verify();
}

TEST_CASE("an existing dataset is replaced only when forced, and another folder never") {
  const test::TemporaryFolder folder;
  write_small_dataset(folder / "d");
  EXPECT_ERROR(DatasetWriter(folder / "d", false), Kind::config, "--force");
  write_small_dataset(folder / "d", true);
  CHECK(Dataset::open(folder / "d").info().node_count == 3);
  fs::create_directory(folder / "photos");
  EXPECT_ERROR(DatasetWriter(folder / "photos", true), Kind::config, "not a Gneiss dataset");
  EXPECT_ERROR(DatasetWriter(folder / "no" / "such", true), Kind::input, "create the folder");
}

TEST_CASE("a dataset that was not sealed leaves nothing, and a killed one's rest is cleared") {
  const test::TemporaryFolder folder;
  {
    const DatasetWriter writer(folder / "d", false);
  }
  CHECK(fs::is_empty(folder.path()));
  fs::create_directory(folder / "d.partial");
  put_bytes(folder / "d.partial/features.bin.tmp", "rest");
  write_small_dataset(folder / "d");
  CHECK_FALSE(fs::exists(folder / "d.partial"));
}

TEST_CASE("a dataset whose files were exchanged, lost or never were is refused") {
  const test::TemporaryFolder folder;
  EXPECT_ERROR(Dataset::open(folder / "none"), Kind::input, "does not exist");
  EXPECT_ERROR(Dataset::open(folder.path()), Kind::input, "not a Gneiss dataset");
  write_small_dataset(folder / "d");
  SectionWriter labels(folder / "d/labels.bin", labels_magic);
  labels.write<std::int32_t>({.kind = SectionKind::class_labels, .dtype = Dtype::i32},
                             std::array<std::int32_t, 4>{0, 1, -1, 0});
  labels.finish();
  EXPECT_ERROR(Dataset::open(folder / "d"), Kind::corruption, "not the file that the catalog describes");
  fs::remove(folder / "d/labels.bin");
  EXPECT_ERROR(Dataset::open(folder / "d"), Kind::corruption, "is missing");
}

TEST_CASE("one process writes a catalog while others read") {
  const test::TemporaryFolder folder;
  Catalog writer(folder / "catalog", Catalog::Access::create);
  writer.apply({{"a", "1"}, {"b", "2"}});
  writer.apply({{"a", std::nullopt}});
  const Catalog reader(folder / "catalog", Catalog::Access::read);
  CHECK_FALSE(reader.contains("a"));
  CHECK(reader.get("b") == "2");
  CHECK(reader.keys("") == std::vector<std::string>{"b"});
  EXPECT_ERROR(Catalog(folder / "catalog", Catalog::Access::write), Kind::io, "another gneiss");
}

TEST_CASE("a catalog that is opened, written and closed all the time is never damage to those who read") {
  const test::TemporaryFolder folder;
  Catalog(folder / "catalog", Catalog::Access::create).apply({{"kept", "1"}});
  std::jthread writer([&](const std::stop_token& stop) {
    for (int i = 0; !stop.stop_requested(); ++i) {
      Catalog(folder / "catalog", Catalog::Access::write).apply({{"turn", std::to_string(i)}});
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
  for (int i = 0; i < 100; ++i) {
    const Catalog reader(folder / "catalog", Catalog::Access::read);
    CHECK(reader.get("kept") == "1");
    reader.verify();
  }
}

TEST_CASE(
    "what a kill has left of a catalog's temporary files is removed by the next writer, and by no reader") {
  const test::TemporaryFolder folder;
  Catalog(folder / "catalog", Catalog::Access::create).apply({{"kept", "1"}});
  const fs::path left = folder / "catalog/OPTIONS-000099.dbtmp";
  put_bytes(left, "half");
  CHECK(Catalog(folder / "catalog", Catalog::Access::read).get("kept") == "1");
  CHECK(fs::exists(left));
  CHECK(Catalog(folder / "catalog", Catalog::Access::write).get("kept") == "1");
  CHECK_FALSE(fs::exists(left));
}
