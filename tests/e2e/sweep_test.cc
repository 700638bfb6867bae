// A topology larger than all the memory there is: prepared in a control group, to the same files.
#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "storage/io/file.h"
#include "tests/e2e/program.h"
#include "tests/support/skip.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;

TEST_CASE("prepare in a control group smaller than the topology stays inside it, and changes no byte") {
  const TemporaryFolder folder(TemporaryFolder::Place::on_drive);
  const std::string dataset = folder / "d.gneiss";
  // 300,000 nodes with 100 in-edges each: 117 MiB of topology.
  expect_done({"generate", dataset, "--nodes", "300000", "--avg-degree", "50", "--features", "8", "--classes",
               "8", "--train-share", "0.02", "--valid-share", "0.001", "--test-share", "0.001"});
  constexpr std::uint64_t limit = 100U << 20;
  REQUIRE(std::filesystem::file_size(folder / "d.gneiss/graph.csc") > limit);
  const Arguments prepare{"prepare", "--dataset", dataset, "--fanout",    "5,5", "--batch-size",
                          "100",     "--threads", "2",     "--cpu-cache", "1MiB"};
  const auto prepared_with = [&](const std::string& name, const std::string& memory) {
    Arguments arguments = prepare;
    arguments.insert(arguments.end(),
                     {"--name", name, "--memory", memory, "--summary", folder / (name + ".json")});
    return arguments;
  };
  Arguments swept = prepared_with("swept", "80MiB");
  swept.insert(swept.begin(), program());
  const auto capped = run_with_memory_cap(limit, swept, {dataset});
  if (!capped) SKIP_TEST("no memory control group can be made here");
  REQUIRE_MESSAGE(capped->exit_code == 0, capped->output);
  CHECK_MESSAGE(capped->output.find("graph.csc is swept") != std::string::npos, capped->output);
  CHECK(capped->peak_bytes <= limit);
  const auto summary = nlohmann::json::parse(read_text_file(folder / "swept.json"));
  CHECK(summary.at("sweep_waves") == 1);
  CHECK(summary.at("graph_bytes_read").get<std::uint64_t>() > limit);
  CHECK(summary.at("peak_memory_bytes").get<std::uint64_t>() <= (80U << 20));

  expect_done(prepared_with("held", "1GiB"));
  CHECK(nlohmann::json::parse(read_text_file(folder / "held.json")).at("sweep_waves") == 0);
  for (const char* file : {"samples.zst", "pack.bin", "cpu.bin"}) {
    const auto at = [&](const char* name) {
      return read_text_file(std::filesystem::path(dataset) / "prepared" / name / file);
    };
    CAPTURE(file);
    CHECK((at("swept") == at("held")));
  }
}
