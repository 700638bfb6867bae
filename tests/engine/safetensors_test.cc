#include "engine/train/safetensors.h"

#include <doctest/doctest.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "storage/base/random.h"
#include "storage/io/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using gneiss::test::TemporaryFolder;

namespace {

// A file with this header and so many zero bytes of data.
std::filesystem::path write_raw(const TemporaryFolder& folder, const std::string& header,
                                std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string text(reinterpret_cast<const char*>(&length), sizeof(length));
  text += header;
  text.append(data_bytes, '\0');
  write_text_file(folder / "raw.safetensors", text);
  return folder / "raw.safetensors";
}

}  // namespace

TEST_CASE("tensors come back from a file as they went in") {
  const TemporaryFolder folder;
  const std::array<float, 6> matrix{1, 2, 3, 4, 5, 6};
  const std::array<std::uint64_t, 1> scalar{42};
  const std::vector<std::uint16_t> halves(7, to_f16(0.5F));
  const std::vector<TensorSource> tensors{
      tensor_of("convs.0.lin_l.weight", Dtype::f32, {2, 3}, std::as_bytes(std::span(matrix))),
      tensor_of("step", Dtype::u64, {}, std::as_bytes(std::span(scalar))),
      tensor_of("empty", Dtype::f32, {0, 9}, {}),
      tensor_of("halves \"quoted\" \xC3\xA9", Dtype::f16, {7}, std::as_bytes(std::span(halves)))};
  write_safetensors(folder / "a.safetensors", tensors, {{"epoch", "3"}});
  const auto file = SafetensorsFile::open(folder / "a.safetensors");
  REQUIRE(file.tensors().size() == tensors.size());
  for (const TensorSource& tensor : tensors) {
    const StoredTensor& found = file.require(tensor.name, tensor.dtype, tensor.shape);
    std::vector<std::byte> expected(found.bytes);
    tensor.copy(0, expected);
    std::vector<std::byte> bytes(found.bytes);
    file.read(found, bytes);
    CHECK(bytes == expected);
  }
  CHECK(file.metadata().at("epoch") == "3");
  CHECK(!std::filesystem::exists(folder / "a.safetensors.tmp"));
  const std::array<std::uint64_t, 2> other{3, 2};
  EXPECT_ERROR(file.require("step", Dtype::f32, {}), Kind::corruption, "u64");
  EXPECT_ERROR(file.require("convs.0.lin_l.weight", Dtype::f32, other), Kind::corruption, "[2, 3]");
  EXPECT_ERROR(file.require("nothing", Dtype::f32, {}), Kind::corruption, "no tensor 'nothing'");
}

TEST_CASE("the bytes of a file are those of the format") {
  const TemporaryFolder folder;
  const std::array<float, 1> one{1};
  const std::vector<TensorSource> tensors{tensor_of("w", Dtype::f32, {1}, std::as_bytes(std::span(one)))};
  write_safetensors(folder / "a.safetensors", tensors);
  const std::string text = read_text_file(folder / "a.safetensors");
  const std::string header = R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  CHECK(text.substr(0, 8) == std::string("\x38\0\0\0\0\0\0\0", 8));
  CHECK(text.substr(8, header.size()) == header);
  CHECK(text.size() == 8 + 0x38 + 4);
}

TEST_CASE("a damaged safetensors file is reported as corruption, one sentence each") {
  const TemporaryFolder folder;
  const auto open = [&](const std::string& header, std::size_t bytes) {
    return SafetensorsFile::open(write_raw(folder, header, bytes));
  };
  const std::string good = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const SafetensorsFile whole = open("{" + good + "}", 8);
  CHECK(whole.tensors().size() == 1);
  EXPECT_ERROR(SafetensorsFile::open(folder / "missing"), Kind::input, "missing");
  write_text_file(folder / "short", "1234567");
  EXPECT_ERROR(SafetensorsFile::open(folder / "short"), Kind::corruption, "no whole");
  write_text_file(folder / "long", std::string(8, '\xFF') + "{}");
  EXPECT_ERROR(SafetensorsFile::open(folder / "long"), Kind::corruption, "no whole");
  struct Bad {
    std::string header;
    std::size_t bytes;
    const char* part;
  };
  const std::vector<Bad> table{
      {"{" + good + "}", 7, "lies at bytes 0 to 8"},
      {"{" + good + "}", 9, "belong to no tensor"},
      {"{" + good, 8, "JSON"},
      {"", 8, "JSON"},
      {"[1]", 0, "JSON"},
      {"null", 0, "JSON"},
      {"{" + good + "," + good + "}", 8, "distinct"},
      {R"({"a":[]})", 0, "well-formed"},
      {R"({"a":{"dtype":"F32","shape":[2]}})", 8, "well-formed"},
      {R"({"a":{"dtype":7,"shape":[2],"data_offsets":[0,8]}})", 8, "well-formed"},
      {R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", 8, "well-formed"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "well-formed"},
      {R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8, "well-formed"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}})", 8, "well-formed"},
      {R"({"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}})", 8, "F8_E4M3"},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, "does not fill"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0, "does not fill"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "lies at bytes 8 to 0"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}})", 8, "lies at"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "gap"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
       R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       8, "overlaps"},
      {R"({"__metadata__":{"a":1}})", 0, "__metadata__"},
      {R"({"__metadata__":"a"})", 0, "__metadata__"},
  };
  for (const Bad& bad : table) {
    CAPTURE(bad.header);
    EXPECT_ERROR(open(bad.header, bad.bytes), Kind::corruption, bad.part);
  }
}

TEST_CASE("no flipped byte or cut end of a safetensors file gets past the reader unnoticed as a crash") {
  const TemporaryFolder folder;
  const std::array<float, 4> values{1, 2, 3, 4};
  const std::vector<TensorSource> tensors{
      tensor_of("a", Dtype::f32, {2}, std::as_bytes(std::span(values).first(2))),
      tensor_of("b", Dtype::f32, {2}, std::as_bytes(std::span(values).last(2)))};
  write_safetensors(folder / "a", tensors, {{"k", "v"}});
  const std::string whole = read_text_file(folder / "a");
  RandomStream draws(mix_key(7));
  int refused = 0;
  for (int i = 0; i < 300; ++i) {
    std::string text = whole;
    if (i % 3 == 0) {
      text.resize(draws.below(text.size()));
    } else {
      text[draws.below(text.size() - 16)] = static_cast<char>(draws.below(256));
    }
    const File file = File::create(folder / "b");
    file.write_at(0, std::as_bytes(std::span(text)));
    try {
      const SafetensorsFile opened = SafetensorsFile::open(folder / "b");
      for (const StoredTensor& tensor : opened.tensors()) CHECK(tensor.bytes <= text.size());
    } catch (const Error& error) {
      CHECK(error.kind() == Kind::corruption);
      ++refused;
    }
  }
  CHECK(refused > 150);
}

TEST_CASE("a file that cannot be written leaves the old one as it was") {
  const TemporaryFolder folder;
  const std::array<float, 1> one{1};
  const std::vector<TensorSource> tensors{tensor_of("w", Dtype::f32, {1}, std::as_bytes(std::span(one)))};
  EXPECT_ERROR(write_safetensors(folder / "no" / "folder.safetensors", tensors), Kind::io, "folder");
}
