// A training run, and its page: what the run measured is what the page shows.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "storage/base/units.h"
#include "storage/io/file.h"
#include "tests/e2e/program.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

std::vector<nlohmann::json> lines_of(const std::filesystem::path& path) {
  std::vector<nlohmann::json> lines;
  std::istringstream text(read_text_file(path));
  for (std::string line; std::getline(text, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

}  // namespace

TEST_CASE("the page of a run has that run's losses, scores, times, bytes, batches and options") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const std::string run = folder / "run";
  expect_done({"train", "--dataset", dataset, "--preparation", "P", "--epochs", "3", "--hidden", "20", "--lr",
               "0.0123", "--run", run});
  expect_done({"report", run, "--out", folder / "page.html"});
  const std::string page = read_text_file(folder / "page.html");
  const auto has = [&](const std::string& part) { CHECK_MESSAGE(count(page, part) > 0, part); };

  const auto epochs = lines_of(folder / "run" / "metrics.jsonl");
  REQUIRE(epochs.size() == 3);
  for (const nlohmann::json& epoch : epochs) {
    const int number = epoch.at("epoch");
    const auto value = [&](const char* key) { return epoch.at(key).get<double>(); };
    const auto rows = [&](const char* key) { return format_count(epoch.at(key).get<std::uint64_t>()); };
    has(fmt::format("loss, epoch {}: {:.3g}<", number, value("loss")));
    has(fmt::format("train, epoch {}: {:.1f} %<", number, 100 * value("train_accuracy")));
    has(fmt::format("valid, epoch {}: {:.1f} %<", number, 100 * value("valid_accuracy")));
    has(fmt::format("valid, epoch {}: {:.1f} %<", number, 100 * value("valid_f1")));
    has(fmt::format("epoch {}, computing: {}<", number, format_seconds(value("compute_seconds"))));
    has(fmt::format("epoch {}, waiting for batches: {}<", number, format_seconds(value("starved_seconds"))));
    has(fmt::format("epoch {}, validation: {}<", number, format_seconds(value("evaluation_seconds"))));
    CHECK(epoch.at("gpu_rows") == 0);
    has(fmt::format("epoch {}, cpu tier: {}<", number, rows("cpu_rows")));
    has(fmt::format("epoch {}, drive: {}<", number, rows("disk_rows")));
    has(fmt::format("drive reading, epoch {}: {}<", number, format_seconds(value("drive_busy_seconds"))));
    const double bytes = value("bytes_read");
    has(fmt::format("bytes of each epoch, epoch {}: {:.3g} {}<", number, bytes * (bytes < 1e6 ? 1e-3 : 1e-6),
                    bytes < 1e6 ? "kB" : "MB"));
  }
  const auto summary = nlohmann::json::parse(read_text_file(folder / "run" / "summary.json"));
  has(fmt::format("<b>{:.1f} %</b><span>test accuracy</span>",
                  100 * summary.at("test_accuracy").get<double>()));
  has(fmt::format("<b>{}</b><span>best epoch</span>", summary.at("best_epoch").get<int>()));
  has(format_bytes(summary.at("peak_memory_bytes").get<double>()));
  has(format_bytes(summary.at("plan").at("read_bytes_per_epoch").get<double>()));
  has(summary.at("machine").at("processor").get<std::string>().substr(0, 8));
  // A span for each of the batches shown, in each stage, under their names.
  CHECK(count(page, "<title>forward, train epoch ") == 12);
  CHECK(count(page, "<title>backward, train epoch ") == 12);
  CHECK(count(page, "<title>assemble, train epoch ") > 0);
  for (const char* option : {"0.0123", "<td>hidden</td><td>20</td>", "[5,5]", "d.gneiss"}) has(option);

  // Another run's page shows the other's numbers.
  expect_done({"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1", "--lr", "0.0456",
               "--run", folder / "other"});
  expect_done({"report", folder / "other"});
  const std::string other = read_text_file(folder / "other" / "report.html");
  CHECK(count(other, "epoch 2") == 0);
  CHECK(count(other, "0.0123") == 0);
  CHECK(count(other, "0.0456") > 0);
}

TEST_CASE("rows of the gpu tier are counted, and shown beside the others where there are some") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const auto page_of = [&](const std::string& preparation) {
    const std::string run = folder / preparation;
    expect_done({"train", "--dataset", dataset, "--preparation", preparation, "--epochs", "2", "--hidden",
                 "4", "--run", run});
    expect_done({"report", run, "--out", folder / "page.html"});
    return read_text_file(folder / "page.html");
  };
  CHECK(count(page_of("P"), "gpu tier") == 0);
  expect_done({"prepare", "--dataset", dataset, "--name", "G", "--fanout", "4,4", "--batch-size", "64",
               "--gpu-cache", "4KiB", "--cpu-cache", "4KiB", "--summary", folder / "prepared.json"});
  const std::string page = page_of("G");
  const auto planned = nlohmann::json::parse(read_text_file(folder / "prepared.json"));
  CHECK(planned.at("options").at("gpu_cache_bytes") == 4096);
  CHECK(planned.at("gpu_cached_rows") > 0);
  CHECK(planned.at("gpu_tier_bytes") <= 4096);
  double rows = 0;
  const auto epochs = lines_of(folder / "G" / "metrics.jsonl");
  for (const nlohmann::json& epoch : epochs) {
    const auto from_gpu = epoch.at("gpu_rows").get<std::uint64_t>();
    CHECK(from_gpu > 0);
    CHECK(from_gpu + epoch.at("cpu_rows").get<std::uint64_t>() + epoch.at("disk_rows").get<std::uint64_t>() ==
          epoch.at("input_rows").get<std::uint64_t>());
    CHECK(count(page, fmt::format("epoch {}, gpu tier: {}<", epoch.at("epoch").get<int>(),
                                  format_count(from_gpu))) > 0);
    rows += static_cast<double>(from_gpu);
  }
  CHECK(rows > planned.at("gpu_rows").get<double>());
}
