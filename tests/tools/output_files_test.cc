// What a command writes where it is told to: no two files in one, and none that a dataset or a run is made
// of.
#include "tools/output_files.h"

#include <doctest/doctest.h>

#include "storage/io/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;

namespace fs = std::filesystem;

TEST_CASE("two outputs are two files, however they are written") {
  const test::TemporaryFolder folder;
  fs::create_directories(folder / "a");
  fs::create_directory_symlink(folder / "a", folder / "b");
  write_text_file(folder / "a/there", "x");
  fs::create_symlink(folder / "a/there", folder / "link");
  const auto check = [&](const fs::path& summary, const fs::path& trace) {
    check_outputs({{"--summary", summary}, {"--trace", trace}}, {.inputs = {{"--checkpoint", folder / "c"}}});
  };
  check("", "");
  check(folder / "a/x", folder / "a/y");
  check("/dev/null", "/dev/null");
  EXPECT_ERROR(check("x.json", "./x.json"), Kind::config,
               "--summary and --trace are both ./x.json; give each");
  EXPECT_ERROR(check(folder / "a/x", folder / "b/../a/x"), Kind::config, "are both");
  EXPECT_ERROR(check(folder / "a/x", folder / "b/x"), Kind::config, "are both");
  EXPECT_ERROR(check(folder / "b/there", folder / "link"), Kind::config, "are both");
  EXPECT_ERROR(check("", folder / "c"), Kind::config, "--checkpoint and --trace are both");
}

TEST_CASE("an output is no file that a dataset or a run is made of, by whichever path") {
  const test::TemporaryFolder folder;
  for (const char* below : {"d/prepared/P", "d/runs/run-0001/checkpoints", "run/checkpoints"})
    fs::create_directories(folder / below);
  write_text_file(folder / "d/features.bin", "rows");
  fs::create_symlink(folder / "d/features.bin", folder / "link");
  const auto check = [&](const fs::path& name) {
    check_outputs({{"--summary", folder / name}}, {.dataset = folder / "d/", .run = folder / "run/."});
  };
  for (const char* name :
       {"d/s.json", "d/runs/s.json", "d/runs/run-0001/s.json", "run/s.json", "run/report.html",
        "run/best-of-all.safetensors", "features.bin", "d2/features.bin"})
    check(name);
  for (const char* name : {"d/features.bin", "d/graph.csc", "d/labels.bin", "d/catalog/CURRENT",
                           "d/prepared/P/pack.bin", "d/./features.bin", "link"})
    EXPECT_ERROR(check(name), Kind::config, "is a file that the dataset is made of; give another name");
  for (const char* name :
       {"config.yaml", "metrics.jsonl", "summary.json", "timeline.json", "best.safetensors",
        "state-seed-3.safetensors", "checkpoints/epoch-0001.safetensors"}) {
    CAPTURE(std::string(name));
    EXPECT_ERROR(check(fs::path("run") / name), Kind::config, "is a file that the run is made of");
    EXPECT_ERROR(check(fs::path("d/runs/run-0001") / name), Kind::config, "that the dataset is made of");
  }
}

TEST_CASE("an output is no file of another dataset or run either, nor one of an import's source") {
  const test::TemporaryFolder folder;
  for (const char* below : {"d/catalog", "run", "source", "own", "batch"})
    fs::create_directories(folder / below);
  for (const char* file : {"d/catalog/CURRENT", "run/config.yaml", "run/metrics.jsonl",
                           "source/train_idx.npy", "own/config.yaml"})
    write_text_file(folder / file, "x");
  const auto check = [&](const fs::path& summary) {
    check_outputs({{"--summary", summary}},
                  {.source = folder / "source", .filled = {"--out", folder / "batch"}});
  };
  EXPECT_ERROR(check(folder / "d/features.bin"), Kind::config, "another dataset or run");
  EXPECT_ERROR(check(folder / "run/best.safetensors"), Kind::config, "another dataset or run");
  EXPECT_ERROR(check(folder / "run/config.yaml"), Kind::config, "another dataset or run");
  EXPECT_ERROR(check(folder / "source/train_idx.npy"), Kind::config, "one of the source's files");
  EXPECT_ERROR(check(folder / "batch/block0_indptr.npy"), Kind::config, "lies in --out");
  check(folder / "own/summary.json");  // beside a user's own config.yaml
  check(folder / "d/notes.json");
  check(folder / "run/notes.json");
  check(folder / "source/new.json");
}
