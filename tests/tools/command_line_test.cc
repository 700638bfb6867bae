#include "tools/command_line.h"

#include <doctest/doctest.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "storage/io/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tools/option_names.h"
#include "tools/summary.h"

using namespace gneiss;

TEST_CASE("dash and underscore are alike in option names, and only there") {
  std::vector<std::string> arguments{"train_x",     "--batch_size",       "a_b", "-q_r",
                                     "--a_b_c=d_e", "--data-set_x=--y_z", "--",  "--left_alone"};
  normalise_option_names(arguments);
  const std::vector<std::string> expected{"train_x",     "--batch-size",       "a_b", "-q_r",
                                          "--a-b-c=d_e", "--data-set-x=--y_z", "--",  "--left_alone"};
  CHECK(arguments == expected);
}

TEST_CASE("wrong usage ends with exit code 2, help and version with 0") {
  CHECK(run_command_line({"--version"}) == 0);
  CHECK(run_command_line({"--help"}) == 0);
  CHECK(run_command_line({"bench", "io", "--help"}) == 0);
  CHECK(run_command_line({}) == 2);
  CHECK(run_command_line({"bench"}) == 2);
  CHECK(run_command_line({"no-such-command"}) == 2);
  CHECK(run_command_line({"bench", "io", "--no-such-option"}) == 2);
}

TEST_CASE("a summary is written whole, and its folder is checked before the work") {
  const test::TemporaryFolder folder;
  write_summary(folder / "s.json", {{"seconds", 1.5}});
  CHECK(nlohmann::json::parse(read_text_file(folder / "s.json")).at("seconds") == 1.5);
  write_summary({}, {{"seconds", 1.5}});
  // A device is written to; once, a file was put in its place.
  const auto is_device = [] { return std::filesystem::is_character_file("/dev/full"); };
  REQUIRE(is_device());
  EXPECT_ERROR(write_summary("/dev/full", {{"seconds", 1.5}}), Kind::io, "/dev/full");
  write_summary("/dev/null", {{"seconds", 1.5}});
  CHECK(is_device());

  CLI::App app;
  std::string path;
  add_summary_option(app, path);
  CHECK_THROWS_AS(app.parse("--summary " + (folder / "missing" / "s.json").string()), CLI::ValidationError);
  CHECK_THROWS_AS(app.parse("--summary " + folder.path().string()), CLI::ValidationError);
  app.parse("--summary " + (folder / "s.json").string());
  CHECK(path == (folder / "s.json").string());
}

TEST_CASE("bench io measures a folder, leaves nothing there and says what it measured") {
  const test::TemporaryFolder folder;
  const std::string summary = folder / "s.json";
  std::filesystem::create_directory(folder / "drive");
  REQUIRE(run_command_line({"--quiet", "bench", "io", "--path", folder / "drive", "--size", "1MiB",
                            "--seconds", "0.02", "--engine", "pread,mmap", "--block_size", "4KiB",
                            "--queue_depth", "1,4", "--summary", summary}) == 0);
  CHECK(std::filesystem::is_empty(folder / "drive"));
  const nlohmann::json json = nlohmann::json::parse(read_text_file(summary));
  CHECK(json.at("measurements").size() == 2 * 2 + 2);  // mmap has one depth
  CHECK(json.at("random_4k_reads_per_second") > 0);
  CHECK(json.at("sequential_bytes_per_second") > 0);

  CHECK(run_command_line({"bench", "io", "--path", folder / "missing"}) == 2);
  CHECK(run_command_line({"bench", "io", "--path", folder / "drive", "--engine", "libaio"}) == 2);
  CHECK(run_command_line({"bench", "io", "--path", folder / "drive", "--size", "big"}) == 2);
  CHECK(run_command_line({"bench", "io", "--path", folder / "drive", "--block-size", "5"}) == 2);
  CHECK(std::filesystem::is_empty(folder / "drive"));
}
