// `gneiss train --device cuda`, as a user has it, on a device that is emulated.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "storage/io/file.h"
#include "tests/e2e/program.h"
#include "tests/e2e/read_json.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss::test;

namespace {

// A dataset with a preparation of which every tier has rows.
struct Session {
  TemporaryFolder folder;
  std::string dataset = (folder / "d.gneiss").string();

  Session() {
    make_small_dataset(dataset);
    expect_done({"prepare", "--dataset", dataset, "--name", "tiers", "--fanout", "5,5", "--batch-size", "200",
                 "--gpu-cache", "60KiB", "--cpu-cache", "60KiB"});
  }
  Arguments train(const std::string& run, const Arguments& more, const std::string& memory = "2GiB") const {
    Arguments arguments{"train",
                        "--dataset",
                        dataset,
                        "--preparation",
                        "tiers",
                        "--hidden",
                        "16",
                        "--epochs",
                        "3",
                        "--seed",
                        "1",
                        "--threads",
                        "1",
                        "--memory",
                        memory,
                        "--run",
                        (folder / run).string(),
                        "--summary",
                        (folder / (run + ".json")).string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
};

}  // namespace

TEST_CASE("training on the device says what it holds, and ends where the CPU does") {
  const Session session;
  const std::string said = expect_done(
      session.train("cuda", {"--device", "cuda", "--trace", (session.folder / "trace.json").string()}));
  CHECK(said.find("Device: ") != std::string::npos);
  CHECK(said.find("gpu tier 6") != std::string::npos);  // 60 KiB, in decimal units
  CHECK(said.find("Rows of the cpu tier come ") != std::string::npos);
  CHECK(said.find("the device computing") != std::string::npos);
  expect_done(session.train("cpu", {"--device", "cpu"}));
  const auto on_device = read_json(session.folder / "cuda.json");
  const auto on_cpu = read_json(session.folder / "cpu.json");
  CHECK(std::abs(on_device.at("epochs").back().at("loss").get<double>() -
                 on_cpu.at("epochs").back().at("loss").get<double>()) < 1e-3);
  CHECK(on_device.at("options").at("device") == "cuda");
  CHECK(on_device.at("planned_device_memory_bytes").get<double>() > 1e6);
  CHECK(on_device.at("epochs").back().at("device_busy_seconds").get<double>() > 0);
  CHECK(on_device.at("epochs").back().at("gpu_rows").get<double>() > 0);
  CHECK(!on_cpu.contains("device_name"));
  const std::string trace = gneiss::read_text_file(session.folder / "trace.json");
  for (const char* lane : {"\"upload\"", "\"device\""}) CHECK(trace.find(lane) != std::string::npos);

  // What a run left is nobody's device's.
  expect_done({"infer", "--dataset", session.dataset, "--run", (session.folder / "cuda").string(), "--what",
               "predictions", "--out", (session.folder / "p.npy").string()});
  expect_done({"report", (session.folder / "cuda").string(), "--out", (session.folder / "r.html").string()});
  CHECK(gneiss::read_text_file(session.folder / "r.html").find("device") != std::string::npos);
}

TEST_CASE("a run made again from its configuration is the same, on the device too") {
  const Session session;
  expect_done(session.train("first", {"--device", "cuda"}));
  expect_done({"train", "--config", (session.folder / "first" / "config.yaml").string(), "--run",
               (session.folder / "again").string(), "--summary", (session.folder / "again.json").string()});
  const auto first = read_json(session.folder / "first.json");
  const auto again = read_json(session.folder / "again.json");
  CHECK(first.at("epochs").back().at("loss") == again.at("epochs").back().at("loss"));
  CHECK(first.at("test_accuracy") == again.at("test_accuracy"));
}

TEST_CASE("what the device cannot do is refused in a sentence before anything is made") {
  const Session session;
  const std::string sentence = expect_refused(
      session.train("small", {"--device", "cuda", "--device-memory", "1MiB"}), 2, "would do (gpu tier");
  CHECK(sentence.find("--gpu-cache") != std::string::npos);
  expect_refused(session.train("small", {"--device", "cpu", "--precision", "tf32"}), 2, "tf32");
  expect_refused(session.train("small", {"--device", "cuda"}, "100MiB"), 2, "the device's runtime");
  CHECK(!std::filesystem::exists(session.folder / "small"));
}

TEST_CASE("where the device cannot hold a run, auto computes on the CPU and says why") {
  const Session session;
  Arguments arguments = session.train("wide", {"--device", "auto"});
  *(std::ranges::find(arguments, "--hidden") + 1) = "30000";
  *(std::ranges::find(arguments, "--epochs") + 1) = "1";
  const std::string said = expect_done(arguments);
  CHECK(said.find("of the device's memory are too little: ") != std::string::npos);
  CHECK(read_json(session.folder / "wide.json").at("options").at("device") == "cpu");
  CHECK(said.find("Device: ") == std::string::npos);
}

TEST_CASE("a run of auto goes on on what it was begun on, and is made again from its configuration") {
  const Session session;
  Arguments begun = session.train("begun", {"--device", "cpu", "--device-memory", "1GiB"});
  *(std::ranges::find(begun, "--epochs") + 1) = "2";
  expect_done(begun);
  // The device could be used, and would be by a run of its own.
  const std::string said = expect_done(session.train("begun", {"--resume"}));
  CHECK(said.find("Device: ") == std::string::npos);
  CHECK(said.find("Going on after epoch 2") != std::string::npos);
  expect_done({"train", "--config", (session.folder / "begun" / "config.yaml").string(), "--run",
               (session.folder / "again").string()});

  Arguments on_device = session.train("on-device", {"--device", "cuda"});
  *(std::ranges::find(on_device, "--epochs") + 1) = "2";
  expect_done(on_device);
  CHECK(expect_done(session.train("on-device", {"--resume"})).find("Device: ") != std::string::npos);
  expect_refused(session.train("on-device", {"--resume", "--device", "cpu"}), 2, "device is ");
}

TEST_CASE("auto under little memory does not ask for a device") {
  const Session session;
  const std::string said = expect_done(session.train("little", {}, "400MiB"));
  CHECK(said.find("computing on the CPU: --memory 400.00 MiB does not hold") != std::string::npos);
  expect_refused(session.train("tf32", {"--precision", "tf32"}, "400MiB"), 2,
                 "--precision tf32 needs a CUDA");
}
