// Damage in every kind of file of a dataset and its preparations is found.
#include "storage/format/verify.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "storage/base/random.h"
#include "tests/sampler/prepare_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

namespace fs = std::filesystem;
bool is_any(SectionKind) { return true; }

void flip(const fs::path& path, std::uint64_t offset, unsigned bit) {
  const File file = File::open_existing(path);
  std::array<std::byte, 1> byte{};
  file.read_at(offset, byte);
  byte[0] ^= static_cast<std::byte>(1U << bit);
  file.write_at(offset, byte);
}

// Whether the flip is found, in a part of this name (the file's, or the preparation's); then it is undone.
bool finds(const fs::path& folder, const fs::path& file, std::uint64_t offset, unsigned bit,
           const std::string& part) {
  flip(folder / file, offset, bit);
  const VerifyReport report = verify_dataset(folder, {});
  flip(folder / file, offset, bit);
  return std::ranges::any_of(report.parts,
                             [&](const VerifiedPart& p) { return p.name == part && !p.damage.empty(); });
}

// The ranges of a file that hold something: header, sections, checksums.
using Ranges = std::vector<std::pair<std::uint64_t, std::uint64_t>>;
Ranges ranges_of(const fs::path& path, const Magic& magic) {
  const SectionFile file(path, magic, is_any);
  Ranges ranges{{0, 64 + 64 * file.table().entries.size()}};
  for (const SectionEntry& entry : file.table().entries) {
    if (entry.checksum_block_bytes == self_checked) {
      const PackFile pack(path);
      for (const SegmentEntry& segment : pack.entries()) {
        const std::uint64_t rows = std::uint64_t{segment.row_count} * segment.row_bytes;
        if (rows == 0) continue;
        ranges.emplace_back(segment.offset, rows);
        ranges.emplace_back(segment.offset + round_up(rows, 8),
                            sizeof(SegmentTrailer) + 8);  // and one checksum
      }
      continue;
    }
    if (entry.bytes > 0) ranges.emplace_back(entry.offset, entry.bytes);
    if (entry.checksum_block_bytes != 0) ranges.emplace_back(entry.checksums_offset, 8);
  }
  return ranges;
}

}  // namespace

TEST_CASE("a whole dataset is whole, and what was read is told") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  test::run_prepare(folder / "d", test::small_request());
  const auto before = test::tree_of(folder / "d");
  const VerifyReport report = verify_dataset(folder / "d", {});
  CHECK(test::tree_of(folder / "d") == before);
  CHECK(report.damaged_count() == 0);
  std::vector<std::string> names;
  for (const VerifiedPart& part : report.parts) names.push_back(part.name);
  CHECK(names == std::vector<std::string>{"catalog", "graph.csc", "features.bin", "labels.bin", "dataset",
                                          "preparation 'p'"});
  std::uint64_t bytes = 0;
  for (const auto& [path, content] : before) bytes += content.size();
  CHECK(report.bytes == bytes);
  CHECK(verify_dataset(folder / "d", {.preparation = "p"}).parts.size() == 6);
  EXPECT_ERROR(verify_dataset(folder / "d", {.preparation = "q"}), Kind::config, "it has: p");
  EXPECT_ERROR(verify_dataset(folder / "none", {}), Kind::input, "does not exist");
  EXPECT_ERROR(verify_dataset(folder.path(), {}), Kind::input, "not a Gneiss dataset");
}

TEST_CASE("a flipped bit is found in every header and anywhere in the data") {
  const test::TemporaryFolder folder;
  const fs::path d = folder / "d";
  test::write_small_dataset(d, {.nodes = 60, .edges = 300, .dim = 7, .train = 20, .valid = 4, .test = 4});
  auto request = test::small_request();
  request.options.sample_epochs = 1;
  request.options.gpu_cache_bytes = 200;
  test::run_prepare(d, request);
  struct Case {
    fs::path file;
    Magic magic;
    std::string part;
  };
  const std::string preparation = "preparation 'p'";
  for (const Case& c : {Case{graph_file_name, graph_magic, graph_file_name},
                        Case{features_file_name, features_magic, features_file_name},
                        Case{labels_file_name, labels_magic, labels_file_name},
                        Case{fs::path("prepared/p") / pool_file_name, pool_magic, preparation},
                        Case{fs::path("prepared/p") / pack_file_name, pack_magic, preparation},
                        Case{fs::path("prepared/p") / cpu_tier_file_name, cpu_tier_magic, preparation},
                        Case{fs::path("prepared/p") / gpu_tier_file_name, gpu_tier_magic, preparation}}) {
    RandomStream random(checksum(std::as_bytes(std::span(c.magic))));
    const Ranges ranges = ranges_of(d / c.file, c.magic);
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      const auto [begin, bytes] = ranges[i];
      const std::uint64_t flips = i == 0 ? bytes : 12;  // every byte of the header
      for (std::uint64_t n = 0; n < flips; ++n) {
        const std::uint64_t offset = begin + (i == 0 ? n : random.below(bytes));
        const auto bit = static_cast<unsigned>(random.below(8));
        CHECK_MESSAGE(finds(d, c.file, offset, bit, c.part), c.file.string(), " byte ", offset, " bit ", bit);
      }
    }
  }
  CHECK(verify_dataset(d, {}).damaged_count() == 0);
}

TEST_CASE("columns of labels that are flipped, cut short or another dataset's are found") {
  const test::TemporaryFolder folder;
  const fs::path d = folder / "d";
  const auto data = test::write_small_dataset(
      d, {.nodes = 60, .edges = 300, .dim = 7, .label_columns = 5, .train = 20, .valid = 4, .test = 4});
  auto request = test::small_request();
  request.options.sample_epochs = 1;
  test::run_prepare(d, request);
  CHECK(verify_dataset(d, {}).damaged_count() == 0);
  RandomStream random(9);
  const Ranges ranges = ranges_of(d / labels_file_name, labels_magic);
  REQUIRE(ranges.back().second == 60 * 5);
  for (const auto& [begin, bytes] : ranges) {
    for (int n = 0; n < 40; ++n) {
      const std::uint64_t offset = begin + random.below(bytes);
      const auto bit = static_cast<unsigned>(random.below(8));
      CHECK_MESSAGE(finds(d, labels_file_name, offset, bit, labels_file_name), offset, " bit ", bit);
    }
  }
  const std::string whole = read_text_file(d / labels_file_name);
  for (const std::uint64_t length : {0U, 63U, 4096U, 4097U, 4395U}) {
    CAPTURE(length);
    fs::resize_file(d / labels_file_name, length);
    EXPECT_ERROR(Dataset::open(d), Kind::corruption, labels_file_name);
    CHECK(verify_dataset(d, {}).damaged_count() > 0);
    write_text_file(d / labels_file_name, whole);
  }
  CHECK(verify_dataset(d, {}).damaged_count() == 0);
  // Whole in itself, of the same shape, but of another dataset.
  test::write_small_dataset(folder / "e", {.nodes = 60,
                                           .edges = 300,
                                           .dim = 7,
                                           .label_columns = 5,
                                           .train = 20,
                                           .valid = 4,
                                           .test = 4,
                                           .seed = 2});
  fs::copy_file(folder / "e" / labels_file_name, d / labels_file_name, fs::copy_options::overwrite_existing);
  EXPECT_ERROR(Dataset::open(d), Kind::corruption, "not the file that the catalog describes");
}

TEST_CASE("a flipped bit in the catalog's tables and logs is found") {
  const test::TemporaryFolder folder;
  const fs::path d = folder / "d";
  test::write_small_dataset(d);
  {
    // A log that was not moved into a table: a writer that was killed.
    Catalog catalog(d / "catalog", Catalog::Access::write);
    catalog.apply({{"run/a", "{\"some\": \"value\"}"}});
    fs::copy(d / "catalog", folder / "killed", fs::copy_options::recursive);
  }
  fs::remove_all(d / "catalog");
  fs::rename(folder / "killed", d / "catalog");
  REQUIRE(verify_dataset(d, {}).damaged_count() == 0);
  RandomStream random(6);
  std::size_t tables = 0;
  std::size_t logs = 0;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(d / "catalog")) files.push_back(entry.path());
  for (const fs::path& path : files) {
    const std::uint64_t bytes = fs::file_size(path);
    const bool table = path.extension() == ".sst";
    const bool log = path.extension() == ".log" && bytes > 0;
    if (!table && !log) continue;
    ++(table ? tables : logs);
    // The end of a table is its footer, of which some bytes are not used.
    const std::uint64_t checked = table ? bytes - 60 : bytes;
    std::size_t found = 0;
    for (int i = 0; i < 20; ++i)
      found += finds(d, fs::relative(path, d), random.below(checked), 3, "catalog") ? 1 : 0;
    CHECK_MESSAGE(found == 20, path.string());
  }
  CHECK(tables > 0);
  CHECK(logs > 0);
}

TEST_CASE("a preparation that a catalog cut short no longer knows is damage, one in work is not") {
  const test::TemporaryFolder folder;
  const fs::path d = folder / "d";
  test::write_small_dataset(d);
  auto request = test::small_request();
  test::run_prepare(d, request);
  const auto older = test::tree_of(d / "catalog");
  request.name = "q";
  test::run_prepare(d, request);
  CHECK(verify_dataset(d, {}).damaged_count() == 0);
  // The catalog as it was before: whole in itself.
  fs::remove_all(d / "catalog");
  fs::create_directory(d / "catalog");
  for (const auto& [path, bytes] : older) write_text_file(path, bytes);
  const VerifyReport report = verify_dataset(d, {});
  CHECK(report.damaged_count() == 1);
  CHECK(report.parts.back().damage.find("lacks preparation 'q'") == std::string::npos);
  CHECK(std::ranges::any_of(report.parts, [](const VerifiedPart& part) {
    return part.damage.find("lacks preparation 'q'") != std::string::npos;
  }));
  const Dataset dataset = Dataset::open(d);
  static_cast<void>(Preparation::open(dataset, "p"));
  EXPECT_ERROR(static_cast<void>(Preparation::open(dataset, "q")), Kind::corruption, "catalog");
  EXPECT_ERROR(static_cast<void>(Preparation::open(dataset, "r")), Kind::config, "it has: p");
}

TEST_CASE("all damaged files are listed, not only the first") {
  const test::TemporaryFolder folder;
  const fs::path d = folder / "d";
  test::write_small_dataset(d);
  test::run_prepare(d, test::small_request());
  auto other = test::small_request();
  other.name = "q";
  test::run_prepare(d, other);
  flip(d / "features.bin", 5000, 1);
  flip(d / "labels.bin", 4100, 1);
  fs::remove(d / "prepared/q/pack.bin");
  const VerifyReport report = verify_dataset(d, {});
  CHECK(report.parts[1].damage.empty());
  CHECK(report.parts[2].damage.find("features.bin: 6400 bytes at byte 4096") != std::string::npos);
  CHECK(report.parts[3].damage.find("labels.bin") != std::string::npos);
  const auto damage_of = [&](const std::string& name) {
    const auto part = std::ranges::find(report.parts, name, &VerifiedPart::name);
    REQUIRE(part != report.parts.end());
    return part->damage;
  };
  CHECK(damage_of("preparation 'p'").empty());
  CHECK(damage_of("preparation 'q'").find("pack.bin") != std::string::npos);
}

TEST_CASE("frames that disagree with a tier in memory are found although every checksum is right") {
  for (const auto& [file, magic] :
       {std::pair{cpu_tier_file_name, cpu_tier_magic}, std::pair{gpu_tier_file_name, gpu_tier_magic}}) {
    CAPTURE(file);
    const test::TemporaryFolder folder;
    test::write_small_dataset(folder / "d");
    auto request = test::small_request();
    request.options.gpu_cache_bytes = 200;
    test::run_prepare(folder / "d", request);
    const fs::path image = folder / "d/prepared/p" / file;
    const SectionFile old(image, magic, is_any);
    const auto rows = old.require(SectionKind::feature_rows);
    const AlignedBuffer bytes = old.read_section(rows);
    const AlignedBuffer nodes = old.read_section(old.require(SectionKind::tier_nodes));
    std::vector<NodeId> moved(nodes.as<NodeId>().begin(), nodes.as<NodeId>().end());
    std::ranges::reverse(moved);
    {
      SectionWriter writer(image, magic, old.made_from());
      writer.write<std::byte>({.kind = SectionKind::feature_rows,
                               .dtype = rows.dtype,
                               .columns = rows.columns,
                               .checksum_block_bytes = feature_checksum_block_bytes},
                              bytes.bytes());
      writer.write<NodeId>({.kind = SectionKind::tier_nodes, .dtype = Dtype::u32}, moved);
      writer.finish();
    }
    {
      Dataset dataset = Dataset::open(folder / "d", Catalog::Access::write);
      const auto change = seal_preparation(preparation_folder(dataset, "p"), "p",
                                           {.options = request.options,
                                            .dataset_fingerprint = dataset.fingerprint(),
                                            .train_batches_per_epoch = 4,
                                            .has_gpu_tier = true});
      dataset.catalog().apply({change});
    }
    const VerifyReport report = verify_dataset(folder / "d", {});
    CHECK(report.parts.back().damage.find("is not what the index, cpu.bin and gpu.bin say") !=
          std::string::npos);
  }
}

}  // namespace gneiss
