// An option's value is what was meant as one: never nothing, never another option, and numbers are decimal.
#include "tools/option_values.h"

#include <doctest/doctest.h>

#include <CLI/CLI.hpp>
#include <cstdint>

#include "tests/support/expect_error.h"

using namespace gneiss;

namespace {

struct Program {
  Program() {
    command->add_option("TARGET,--target", target);
    command->add_option("--run", run);
    command->add_option("--seed", seed);
    command->add_option("--depth", depth)->check(CLI::Range(1U, 64U));
    command->add_option("--offset", offset);
    command->add_option("--lr", rate);
    command->add_option("--fanout", fanouts)->delimiter(',')->transform(decimal_integers())->type_name("K");
    command->add_flag("--force", force);
    take_decimal_numbers(app);
  }
  // Why a value is none, or nothing.
  std::string refusal_of(const std::string& arguments) {
    try {
      app.parse("train " + arguments);
      return "";
    } catch (const CLI::ParseError& error) {
      return error.what();
    }
  }

  CLI::App app{"a program", "gneiss"};
  CLI::App* command = app.add_subcommand("train");
  std::string target;
  std::string run;
  std::uint64_t seed = 0;
  std::uint32_t depth = 0;
  std::int32_t offset = 0;
  float rate = 0;
  std::vector<std::int32_t> fanouts;
  bool force = false;
};

}  // namespace

TEST_CASE("numbers are decimal, with leading zeros too") {
  Program program;
  CHECK(program.refusal_of("--seed 010 --depth=064 --offset -007 --lr 00.50 --fanout 010,-1") == "");
  CHECK(program.seed == 10);
  CHECK(program.depth == 64);
  CHECK(program.offset == -7);
  CHECK(program.rate == 0.5F);
  CHECK(program.fanouts == std::vector<std::int32_t>{10, -1});
  CHECK(Program().refusal_of("--seed 000 --lr +1e-3 --offset +5") == "");
  // As people write lists.
  Program blanks;
  CHECK(blanks.refusal_of("--seed ' 5' --lr ' 0.5 ' --fanout '15, 10'") == "");
  CHECK(blanks.seed == 5);
  CHECK(blanks.rate == 0.5F);
  CHECK(blanks.fanouts == std::vector<std::int32_t>{15, 10});
  Program largest;
  CHECK(largest.refusal_of("--seed 18446744073709551615") == "");
  CHECK(largest.seed == UINT64_MAX);
}

TEST_CASE("a number in another base, out of range or of other letters is refused and named") {
  for (const char* text : {"0x10", "1e3", "1.5", "5 6", "--5", "many"}) {
    CAPTURE(std::string(text));
    CHECK(Program().refusal_of("--seed '" + std::string(text) + "'").find("no whole number in decimal") !=
          std::string::npos);
  }
  CHECK(Program().refusal_of("--fanout 3,0x10").find("'0x10' is no whole number") != std::string::npos);
  CHECK(Program().refusal_of("--seed -5") == "--seed: -5 is below 0");
  CHECK(Program().refusal_of("--seed 18446744073709551616") ==
        "--seed: 18446744073709551616 is out of range, 0 to 18446744073709551615");
  CHECK(Program().refusal_of("--lr 0x1p3") == "--lr: '0x1p3' is no number in decimal digits");
  CHECK(Program().refusal_of("--lr 1e999") == "--lr: 1e999 is out of range");
}

TEST_CASE("an option takes neither nothing nor the next option for its value") {
  const Program program;
  const auto check = [&](std::vector<std::string> words) {
    words.insert(words.begin(), "train");
    refuse_wrong_values(words, program.app);
  };
  check({"--run", "r", "--force", "--fanout", "-1,3", "--fanout", "4", "--", "--run"});
  check({"--run=--r", "--force", "--force"});
  check({"--unknown="});  // which the parser tells
  EXPECT_ERROR(check({"--run=", "--seed=3"}), Kind::config, "--run is given an empty value");
  EXPECT_ERROR(check({"--run", ""}), Kind::config, "--run is given an empty value");
  EXPECT_ERROR(check({"--force="}), Kind::config, "--force is given an empty value");
  EXPECT_ERROR(check({"--run", "--force"}), Kind::config, "write --run=--force");
  EXPECT_ERROR(check({"--seed", "3", "--seed=4"}), Kind::config, "--seed is given twice");
  EXPECT_ERROR(check({"--seed", "3", "--run"}), Kind::config, "--run needs a value, and nothing follows");
}
