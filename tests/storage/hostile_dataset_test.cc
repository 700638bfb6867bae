// Datasets whose parts contradict each other although every checksum is right.
#include <doctest/doctest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "storage/format/dataset.h"
#include "storage/format/json_text.h"
#include "storage/format/section_stream.h"
#include "tests/support/expect_error.h"
#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

void change_manifest(const std::filesystem::path& folder,
                     const std::function<void(nlohmann::json&)>& change) {
  Catalog catalog(folder / "catalog", Catalog::Access::write);
  auto manifest = catalog.get_json("dataset");
  change(manifest);
  catalog.apply({{"dataset", manifest.dump()}});
}

void expect_refused(const std::function<void(nlohmann::json&)>& change, Kind kind, const char* words) {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  change_manifest(folder / "d", change);
  EXPECT_ERROR(Dataset::open(folder / "d"), kind, words);
}

}  // namespace

TEST_CASE("a manifest with counts that cannot be is refused") {
  expect_refused([](auto& json) { json["nodes"] = 0; }, Kind::corruption, "0 nodes");
  expect_refused([](auto& json) { json["nodes"] = -1; }, Kind::corruption, "-1 is no integer");
  expect_refused([](auto& json) { json["nodes"] = 201; }, Kind::corruption, "expected u64 202 x 1");
  expect_refused([](auto& json) { json["edges"] = -5; }, Kind::corruption, "-5 is no integer");
  expect_refused([](auto& json) { json["feature_dim"] = 0; }, Kind::corruption, "0 features a node");
  expect_refused([](auto& json) { json["feature_dim"] = 9; }, Kind::corruption, "expected f32 200 x 9");
  expect_refused([](auto& json) { json["feature_dtype"] = "i64"; }, Kind::corruption, "'i64'");
  expect_refused([](auto& json) { json["feature_dtype"] = 7; }, Kind::corruption, "manifest is damaged");
  expect_refused([](auto& json) { json.erase("files"); }, Kind::corruption, "manifest is damaged");
  expect_refused([](auto& json) { json["files"] = 7; }, Kind::corruption, "not the file that the catalog");
  expect_refused([](auto& json) { json = {1, 2}; }, Kind::corruption, "manifest is damaged");
  expect_refused([](auto& json) { json["format_version"] = 2; }, Kind::input, "use a newer gneiss");
  expect_refused([](auto& json) { json["format_version"] = 0; }, Kind::input, "import it again");
}

TEST_CASE("columns of labels are given back, and any other shape, count or value is refused") {
  const test::TemporaryFolder folder;
  const auto data = test::write_small_dataset(folder / "d", {.label_columns = 3});
  {
    const Dataset dataset = Dataset::open(folder / "d");
    const NodeLabels labels = dataset.read_labels();
    CHECK(labels.columns == 3);
    CHECK(labels.classes.empty());
    CHECK(labels.entries == data.entries);
    CHECK(labels.row(NodeId{7})[1] == data.entries[7 * 3 + 1]);
    CHECK(dataset.info().label_columns == 3);
    CHECK(dataset.info().label_bytes() == 600);
  }
  const auto refused = [&](const auto& change, Kind kind, const char* words) {
    test::write_small_dataset(folder / "d", {.label_columns = 3, .force = true});
    change_manifest(folder / "d", change);
    EXPECT_ERROR(Dataset::open(folder / "d"), kind, words);
  };
  refused([](auto& json) { json["label_columns"] = 4; }, Kind::corruption, "expected u8 200 x 4");
  refused([](auto& json) { json.erase("label_columns"); }, Kind::corruption, "kind 20");
  refused([](auto& json) { json["label_columns"] = 5000; }, Kind::corruption, "5000 labels a node");
  refused([](auto& json) { json["label_columns"] = "three"; }, Kind::corruption, "manifest is damaged");
  refused([](auto& json) { json["nodes"] = 201; }, Kind::corruption, "expected u64 202 x 1");
  expect_refused([](auto& json) { json["label_columns"] = 1; }, Kind::corruption, "kind 21");

  // Sealed with its checksum right, but no label.
  auto wrong = data.entries;
  wrong[3 * 41 + 2] = 2;
  DatasetWriter writer(folder / "e", false);
  for (const char* file : {graph_file_name, features_file_name}) {
    std::filesystem::copy(folder / "d" / file, writer.folder() / file);
  }
  SectionWriter labels(writer.folder() / labels_file_name, labels_magic);
  labels.write<std::uint8_t>({.kind = SectionKind::label_columns, .dtype = Dtype::u8, .columns = 3}, wrong);
  labels.finish();
  writer.seal(data.info, data.splits, {});
  EXPECT_ERROR(Dataset::open(folder / "e").read_labels(), Kind::corruption, "node 41, column 2 holds 2");
}

TEST_CASE("splits with ids out of range, named twice or cut short are refused") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  const auto put = [&](std::string value) {
    Catalog catalog(folder / "d/catalog", Catalog::Access::write);
    catalog.apply({{"split/train/00000000", std::move(value)}});
  };
  put(std::string("\x05\0\0\0\xC8\0\0\0", 8));
  EXPECT_ERROR(Dataset::open(folder / "d").split(Split::train), Kind::corruption, "names node 200");
  put(std::string("\x05\0\0\0\x05\0\0\0", 8));
  EXPECT_ERROR(Dataset::open(folder / "d").split(Split::train), Kind::corruption, "names node 5 twice");
  put(std::string("\x05\0\0\0\x05", 5));
  EXPECT_ERROR(Dataset::open(folder / "d").split(Split::train), Kind::corruption, "cut short");
  put("");
  CHECK(Dataset::open(folder / "d").split(Split::train).empty());
}

TEST_CASE("JSON that nests too deep, and statistics that are none, are damage") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  const auto put = [&](const char* key, const std::string& value) {
    Catalog(folder / "d/catalog", Catalog::Access::write).apply({{key, value}});
  };
  CHECK(parse_json(std::string(64, '[') + std::string(64, ']')).is_array());
  CHECK(parse_json(R"(["[[[[\"[[[[", {"a": "]"}])" + std::string(80, ' ')).is_array());
  CHECK(parse_json(std::string(65, '[') + std::string(65, ']')).is_discarded());
  // So deep that printing or comparing it would end the program.
  const std::string deep = "{\"files\":" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}";
  put("statistics", deep);
  EXPECT_ERROR(Dataset::open(folder / "d").statistics(), Kind::corruption, "is not JSON");
  for (const char* text : {"[1,2]", "7", "null", "\"words\""}) {
    put("statistics", text);
    EXPECT_ERROR(Dataset::open(folder / "d").statistics(), Kind::corruption, "statistics are damaged");
  }
  put("dataset", deep);
  EXPECT_ERROR(Dataset::open(folder / "d"), Kind::corruption, "is not JSON");
}

TEST_CASE("a number of JSON is an integer of its type, or refused") {
  const auto json =
      parse_json(R"({"a": 7, "b": 1e154, "c": 7.5, "d": -1, "e": 4294967296, "f": "7", "g": 1.0})");
  CHECK(integer_of<std::uint32_t>(json.at("a")) == 7);
  CHECK(integer_of<std::int32_t>(json.at("d")) == -1);
  CHECK(integer_of<std::uint64_t>(json.at("e")) == 4294967296);
  CHECK(integer_or<std::uint64_t>(json, "z", 3) == 3);
  for (const char* key : {"b", "c", "d", "e", "f", "g"}) {
    CAPTURE(key);
    CHECK_THROWS_AS(integer_of<std::uint32_t>(json.at(key)), nlohmann::json::type_error);
  }
}

TEST_CASE("sections without the checksums that their readers rely on are refused") {
  const test::TemporaryFolder folder;
  const auto data = test::write_small_dataset(folder / "d");
  // Features with one checksum for all: the packer checks block by block.
  DatasetWriter writer(folder / "e", false);
  std::filesystem::copy(folder / "d/graph.csc", writer.folder() / "graph.csc");
  std::filesystem::copy(folder / "d/labels.bin", writer.folder() / "labels.bin");
  SectionWriter features(writer.folder() / features_file_name, features_magic);
  features.write<std::byte>(
      {.kind = SectionKind::feature_rows, .dtype = Dtype::f32, .columns = data.info.feature_dim},
      data.features);
  features.finish();
  EXPECT_ERROR(writer.seal(data.info, data.splits, {}), Kind::corruption, "a checksum per 0 bytes");

  // Offsets that claim to check themselves would escape the comparison of shape and size.
  SectionEntry entry{};
  entry.kind = SectionKind::csc_indptr;
  entry.dtype = Dtype::u64;
  entry.checksum_block_bytes = self_checked;
  entry.rows = 201;
  entry.columns = 1;
  entry.offset = 4096;
  EXPECT_ERROR(build_section_table(graph_magic, 4096, 4096, 0, std::span(&entry, 1)), Kind::corruption,
               "has no checksum");
}

TEST_CASE("a block of checksums that is larger than any of ours takes no memory") {
  const test::TemporaryFolder folder;
  SectionWriter writer(folder / "f", graph_magic);
  writer.write<std::byte>(
      {.kind = SectionKind::csc_indices, .dtype = Dtype::u8, .checksum_block_bytes = 64U << 20},
      std::vector<std::byte>(100));
  writer.finish();
  const SectionFile file(folder / "f", graph_magic, [](SectionKind) { return true; });
  EXPECT_ERROR(stream_section(file, file.require(SectionKind::csc_indices), {}), Kind::corruption,
               "not where or how this program writes it");
}

TEST_CASE("a state that tells of more bytes than there are is not gone on with") {
  const test::TemporaryFolder folder;
  const SectionShape shape{.kind = SectionKind::batch_frames, .dtype = Dtype::u8};
  {
    SectionWriter writer(folder / "f", graph_magic, 0, Unfinished::keep);
    writer.begin(shape);
    writer.append(std::vector<std::byte>(5000));
    static_cast<void>(writer.save());
  }
  for (const std::uint64_t bytes : {std::uint64_t{5001}, ~std::uint64_t{0}, ~std::uint64_t{0} - 4095}) {
    SectionWriter writer(folder / "f", graph_magic, 0, Unfinished::go_on);
    EXPECT_ERROR(writer.go_on(shape, {.bytes = bytes, .checksums = {1}}), Kind::corruption,
                 "is not what was written");
    writer.begin(shape);  // as before
    writer.end();
  }
}

}  // namespace gneiss
