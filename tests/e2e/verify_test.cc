// What a dataset keeps is checked: damage is found and named, files of other versions are refused, the drive
// is measured.
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "storage/base/checksum.h"
#include "storage/format/section_table.h"
#include "storage/io/file.h"
#include "tests/e2e/program.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

template <class T>
T read_at(const std::string& path, std::uint64_t offset) {
  T value{};
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(reinterpret_cast<char*>(&value), sizeof(value));
  REQUIRE(file.good());
  return value;
}

template <class T>
void write_at(const std::string& path, std::uint64_t offset, const T& value) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(offset));
  file.write(reinterpret_cast<const char*>(&value), sizeof(value));
  REQUIRE(file.good());
}

// As another version would have written it: all else, the header's checksum included, is right.
void set_version(const std::string& path, std::uint32_t version) {
  auto header = read_at<SectionHeader>(path, 0);
  std::string bytes = read_text_file(path).substr(0, header.header_bytes);
  header.version = version;
  header.header_xxh3 = 0;
  std::memcpy(bytes.data(), &header, sizeof(header));
  header.header_xxh3 = checksum(std::as_bytes(std::span(bytes)));
  write_at(path, 0, header);
}

}  // namespace

TEST_CASE("verify finds one flipped bit in any file, names it, and finds nothing in whole ones") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const Arguments verify{"verify", "--dataset", dataset, "--summary", folder / "v.json"};
  expect_done(verify);
  const auto whole = nlohmann::json::parse(read_text_file(folder / "v.json"));
  CHECK(whole.at("damaged_parts") == 0);
  for (const char* file : {"graph.csc", "features.bin", "labels.bin", "prepared/P/samples.zst",
                           "prepared/P/pack.bin", "prepared/P/cpu.bin"}) {
    CAPTURE(std::string(file));
    const std::string path = dataset + "/" + file;
    const auto sections = read_at<SectionHeader>(path, 0).section_count;
    const auto last = read_at<SectionEntry>(
        path, sizeof(SectionHeader) + std::uint64_t{sections - 1} * sizeof(SectionEntry));
    // In the header, and in the first and the last section.
    for (const std::uint64_t offset : {std::uint64_t{9}, std::uint64_t{4096}, last.offset + 1}) {
      CAPTURE(offset);
      const auto value = read_at<char>(path, offset);
      write_at(path, offset, static_cast<char>(value ^ 4));
      const CommandResult found = gneiss::test::gneiss(verify);
      CHECK_MESSAGE(found.exit_code == 4, found.output);
      CHECK_MESSAGE(contains(found.output, file), found.output);
      write_at(path, offset, value);
    }
  }
  expect_done(verify);
  expect_refused({"verify", "--dataset", dataset, "--preparation", "Q"}, 2, "no preparation 'Q'");
}

TEST_CASE("files of an older or a newer version are refused with what to do") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const Arguments train{"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1"};
  for (const char* file : {"graph.csc", "prepared/P/pack.bin"}) {
    CAPTURE(std::string(file));
    set_version(dataset + "/" + file, format_version + 1);
    CHECK(contains(expect_refused(train, 3, file), "use a newer gneiss"));
    set_version(dataset + "/" + file, format_version - 1);
    CHECK(contains(expect_refused(train, 3, file), "again"));
    set_version(dataset + "/" + file, format_version);
    expect_done(train);
  }
}

TEST_CASE("info lists preparations, and bench io reads one as training does and keeps the drive's profile") {
  const TemporaryFolder folder(TemporaryFolder::Place::on_drive);
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  CHECK(contains(expect_done({"info", dataset}), "'P': fanout 5,5, batch size 100, 4 epochs of 6 batches"));
  const Arguments again{"prepare",  "--dataset", dataset,     "--name",      "Q",
                        "--fanout", "5,5",       "--dry-run", "--cpu-cache", "20KiB"};
  const std::string unmeasured = expect_done(again);
  CHECK_FALSE(contains(unmeasured, "takes the drive"));
  CHECK_FALSE(contains(unmeasured, "to prepare it"));
  CHECK(contains(unmeasured, "training takes up to"));

  expect_done({"bench", "io", "--dataset", dataset, "--preparation", "P", "--seconds", "0.05", "--summary",
               folder / "b.json"});
  const auto measured = nlohmann::json::parse(read_text_file(folder / "b.json"));
  CHECK(measured.at("epoch_bytes").get<double>() > 6 * 4096);
  CHECK(measured.at("epoch_reads").get<double>() >= 12);  // a frame and a segment for each of six batches
  CHECK(measured.at("sequential_bytes_per_second").get<double>() > 0);
  const std::string planned = expect_done(again);
  CHECK(contains(planned, "takes the drive"));
  CHECK(contains(planned, "to prepare it"));
  expect_refused({"bench", "io", "--dataset", dataset, "--preparation", "R"}, 2, "no preparation 'R'");
}
