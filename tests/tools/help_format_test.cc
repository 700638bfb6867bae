#include "tools/help_format.h"

#include <doctest/doctest.h>

#include <memory>
#include <sstream>
#include <string>

using namespace gneiss;

namespace {

std::string help_at(std::size_t columns) {
  CLI::App app("Train a model on a preparation, features read from the drive, and say where the time went",
               "gneiss");
  app.formatter(std::make_shared<HelpFormat>(columns));
  std::string model = "sage";
  unsigned heads = 4;
  bool shuffle = true;
  app.add_option("--model", model, "Model, as its paper has it")
      ->check(CLI::IsMember({"sage", "gcn"}))
      ->capture_default_str();
  app.add_option("--num-heads", heads,
                 "Attention heads; those of a hidden layer share its columns, the last layer's are averaged")
      ->check(CLI::Range(1U, 64U))
      ->capture_default_str();
  app.add_flag("--shuffle,!--no-shuffle", shuffle,
               "Shuffle the batches of every epoch, or keep the pool's order");
  app.add_option("--dataset", "The dataset's folder")->required()->type_name("DIR");
  app.add_option("RUN,--run", "Folder of the run")->required()->type_name("FOLDER");
  app.add_subcommand("verify",
                     "Check every checksum of a dataset, and list all that is damaged in it, file by file");
  return app.help();
}

}  // namespace

TEST_CASE("help is wrapped to the terminal, narrow or wide") {
  for (const std::size_t columns : {40U, 59U, 60U, 80U, 120U}) {
    CAPTURE(columns);
    std::istringstream lines(help_at(columns));
    for (std::string line; std::getline(lines, line);) {
      CAPTURE(line);
      CHECK(line.size() <= columns);
    }
  }
}

TEST_CASE("help names choices, ranges, defaults and what must be given, each once") {
  const std::string help = help_at(120);
  CHECK(help.find("--model {sage,gcn}") != std::string::npos);
  CHECK(help.find("[default sage]") != std::string::npos);
  CHECK(help.find("[1 to 64; default 4]") != std::string::npos);
  CHECK(help.find("--shuffle,--no-shuffle") != std::string::npos);
  CHECK(help.find("{false}") == std::string::npos);
  CHECK(help.find("--dataset DIR") != std::string::npos);
  CHECK(help.find("The dataset's folder [required]") != std::string::npos);
  CHECK(help.find("verify") != std::string::npos);
  // By itself or by its name, it must be given once.
  CHECK(help.find("Folder of the run [required]") == help.rfind("Folder of the run [required]"));
  CHECK(help.find("--run FOLDER                The same by its name\n") != std::string::npos);
}
