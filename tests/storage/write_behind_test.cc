// Pieces written behind their writer's back are all there, or the failure is told.
#include "storage/io/write_behind.h"

#include <doctest/doctest.h>

#include <cstring>

#include "storage/base/parallel.h"
#include "tests/support/expect_error.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

constexpr std::size_t piece_bytes = 4096;

}  // namespace

TEST_CASE("every piece is written where it belongs, from any thread and at any depth") {
  const TemporaryFolder folder;
  constexpr std::size_t pieces = 200;
  for (const std::size_t depth : {std::size_t{1}, std::size_t{2}, std::size_t{8}}) {
    const File file = File::create(folder / "f");
    ThreadPool pool(3);
    std::vector<AlignedBuffer> filled;
    filled.reserve(pool.thread_count());
    for (std::size_t i = 0; i < pool.thread_count(); ++i) filled.emplace_back(piece_bytes);
    WriteBehind writer(file, piece_bytes, depth);
    pool.parallel_for(pieces, [&](std::size_t i, std::size_t worker) {
      std::memset(filled[worker].data(), static_cast<int>(i + 1), piece_bytes);
      writer.write(i * piece_bytes, filled[worker], piece_bytes);
      CHECK(filled[worker].size() >= piece_bytes);
    });
    writer.finish();
    REQUIRE(file.size() == pieces * piece_bytes);
    std::vector<std::byte> read(file.size());
    file.read_at(0, read);
    bool same = true;
    for (std::size_t i = 0; i < read.size(); ++i)
      same = same && read[i] == static_cast<std::byte>(i / piece_bytes + 1);
    CHECK(same);
  }
}

TEST_CASE("a write that fails is told by the next one or at the end, and nobody waits for ever") {
  const TemporaryFolder folder;
  const File file = File::create(folder / "f");
  const FileSizeLimit limit(3 * piece_bytes);
  WriteBehind writer(file, piece_bytes, 2);
  AlignedBuffer piece(piece_bytes);
  const auto write_all = [&] {
    for (std::size_t i = 0; i < 50; ++i) writer.write(i * piece_bytes, piece, piece_bytes);
    writer.finish();
  };
  EXPECT_ERROR(write_all(), Kind::io, "offset");
  EXPECT_ERROR(writer.finish(), Kind::io, "offset");
}

TEST_CASE("one that is given up ends without writing what waits") {
  const TemporaryFolder folder;
  const File file = File::create(folder / "f");
  AlignedBuffer piece(piece_bytes);
  {
    WriteBehind writer(file, piece_bytes, 4);
    writer.write(0, piece, piece_bytes);
  }
  CHECK(file.size() <= piece_bytes);
}
