// Nothing is written through a link that someone has laid into a folder of ours, and files get the user's
// umask.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <fstream>

#include "storage/format/dataset.h"
#include "storage/format/npy_writer.h"
#include "storage/io/folders.h"
#include "tests/support/expect_error.h"
#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

namespace fs = std::filesystem;

// A folder beside what is tried, with a file in it that must stay as it is.
struct Outside {
  test::TemporaryFolder folder;
  fs::path file = folder / "precious";
  Outside() { write_text_file(file, "kept"); }
  bool is_untouched() const {
    std::size_t entries = 0;
    for (const auto& entry : fs::directory_iterator(folder / "")) entries += entry.exists() ? 1U : 0U;
    return entries == 1 && fs::is_regular_file(fs::symlink_status(file)) && read_text_file(file) == "kept";
  }
};

unsigned mode_of(const fs::path& path) { return static_cast<unsigned>(fs::status(path).permissions()); }

}  // namespace

TEST_CASE("a file is created in place of a link or a second name, never through it") {
  const test::TemporaryFolder folder;
  const Outside outside;
  const auto expect_replaced = [&](const fs::path& name, const auto& write) {
    for (const bool is_symbolic : {true, false}) {
      fs::remove(name);
      is_symbolic ? fs::create_symlink(outside.file, name) : fs::create_hard_link(outside.file, name);
      write();
      CHECK(outside.is_untouched());
      CHECK_FALSE(fs::is_symlink(name));
    }
    fs::remove(name);
    fs::create_symlink(outside.folder / "not there yet", name);
    write();
    CHECK(outside.is_untouched());
  };
  const std::string text = "text";
  const auto bytes = std::as_bytes(std::span(text));
  expect_replaced(folder / "f", [&] { File::create(folder / "f").write_at(0, bytes); });
  expect_replaced(folder / "g", [&] { replace_file(folder / "g", text); });
  expect_replaced(folder / "h.tmp", [&] {
    replace_file(folder / "h", text);
    File::create(folder / "h.tmp");
  });
  expect_replaced(folder / "i.tmp", [&] {
    SectionWriter writer(folder / "i", labels_magic);
    writer.write<std::byte>({.kind = SectionKind::label_columns, .dtype = Dtype::u8}, bytes);
    writer.finish();
    CHECK(fs::is_regular_file(fs::symlink_status(folder / "i")));
    File::create(folder / "i.tmp");
  });
  expect_replaced(folder / "j.npy.tmp", [&] {
    write_npy_vector(folder / "j.npy", Dtype::u8, bytes);
    File::create(folder / "j.npy.tmp");
  });
  CHECK(read_text_file(folder / "h") == text);
  EXPECT_ERROR(File::create(folder / ""), Kind::io, "create");
}

TEST_CASE("a link is not gone on with") {
  const test::TemporaryFolder folder;
  const Outside outside;
  fs::create_symlink(outside.file, folder / "f.tmp");
  EXPECT_ERROR(File::open_existing(folder / "f.tmp"), Kind::corruption, "is a link");
  EXPECT_ERROR(SectionWriter(folder / "f", labels_magic, 0, Unfinished::go_on), Kind::corruption,
               "is a link");
  CHECK(outside.is_untouched());
}

TEST_CASE("a dataset is neither made nor emptied through a link") {
  const test::TemporaryFolder folder;
  const Outside outside;
  const auto expect_refused = [&](const fs::path& link, bool force) {
    fs::remove_all(link);
    fs::create_directory_symlink(outside.folder / "", link);
    EXPECT_ERROR(DatasetWriter(folder / "d", force), Kind::config, "is a link");
    CHECK(outside.is_untouched());
    CHECK(fs::is_symlink(link));
    fs::remove(link);
  };
  expect_refused(folder / "d.partial", false);
  test::write_small_dataset(folder / "d");
  expect_refused(folder / "d.partial", true);
  expect_refused(folder / "d.replaced", true);
  // Runs are brought home: those of the folder that the link leads to are not the dataset's.
  expect_refused(folder / "d" / "runs", true);
  test::write_small_dataset(folder / "d", {.force = true});
}

TEST_CASE("a catalog with a link in it is read, and not written") {
  const test::TemporaryFolder folder;
  const Outside outside;
  test::write_small_dataset(folder / "d");
  // RocksDB empties the log that it is about to begin: whatever number it will have.
  for (int number = 1; number < 40; ++number) {
    std::string name = std::to_string(number);
    name = std::string(6 - name.size(), '0') + name + ".log";
    if (!fs::exists(folder / "d/catalog" / name))
      fs::create_symlink(outside.file, folder / "d/catalog" / name);
  }
  EXPECT_ERROR(Dataset::open(folder / "d", Catalog::Access::write), Kind::config, "is a link");
  CHECK(outside.is_untouched());
  fs::remove_all(folder / "d/catalog");
  test::write_small_dataset(folder / "e");
  fs::create_directory_symlink(folder / "e/catalog", folder / "d/catalog");
  EXPECT_ERROR(Dataset::open(folder / "d", Catalog::Access::write), Kind::config, "is a link");
  CHECK(Dataset::open(folder / "d").info().node_count == 200);
}

TEST_CASE("a pipe in the place of a catalog's file is told, not waited for") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d");
  const fs::path current = folder / "d/catalog/CURRENT";
  fs::remove(current);
  REQUIRE(::mkfifo(current.c_str(), 0600) == 0);
  EXPECT_ERROR(Dataset::open(folder / "d"), Kind::corruption, "is a pipe");
  EXPECT_ERROR(Dataset::open(folder / "d", Catalog::Access::write), Kind::corruption, "is a pipe");
}

TEST_CASE("files and folders are made with the user's umask") {
  const test::TemporaryFolder folder;
  const mode_t before = ::umask(0027);
  test::write_small_dataset(folder / "d");
  write_npy_vector(folder / "a.npy", Dtype::u8, std::span<const std::uint8_t>());
  write_text_file(folder / "t", "text");
  make_folders(folder / "made/here");
  ::umask(before);
  for (const auto& entry : fs::recursive_directory_iterator(folder / "")) {
    CAPTURE(entry.path().string());
    CHECK(mode_of(entry.path()) == (entry.is_directory() ? 0750U : 0640U));
  }
}

}  // namespace gneiss
