#include "tools/command_line.h"

#include <doctest/doctest.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "storage/io/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
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

  CLI::App app;
  std::string path;
  add_summary_option(app, path);
  CHECK_THROWS_AS(app.parse("--summary " + (folder / "missing" / "s.json").string()), CLI::ValidationError);
  app.parse("--summary " + (folder / "s.json").string());
  CHECK(path == (folder / "s.json").string());
}
