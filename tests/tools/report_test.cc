// The page of a run holds what the run's files hold, and says so where they do not hold together.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>

#include "storage/io/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tools/command_line.h"
#include "tools/report/charts.h"
#include "tools/report/page.h"

using namespace gneiss;

namespace {

nlohmann::json epoch_of(int number, std::uint64_t seed = 0) {
  return {{"epoch", number},
          {"seed", seed},
          {"loss", 2.0 / number},
          {"train_accuracy", 0.125 * number},
          {"valid_accuracy", 0.1 * number},
          {"seconds", 4.0},
          {"compute_seconds", 3.0},
          {"starved_seconds", 1.0},
          {"evaluation_seconds", 0.5},
          {"drive_busy_seconds", 2.5},
          {"assemble_seconds", 0.25},
          {"gpu_rows", 500'000},
          {"cpu_rows", 1'000'000},
          {"disk_rows", 3'000'000},
          {"bytes_read", 1'610'612'736}};
}

void write_run(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  write_text_file(folder / "config.yaml",
                  "model: sage\ndataset: /d/<b>x</b>.gneiss\npreparation: P\nlr: 0.003\n");
  std::string lines;
  for (int epoch = 1; epoch <= 3; ++epoch) lines += epoch_of(epoch).dump() + "\n";
  write_text_file(folder / "metrics.jsonl", lines);
  const nlohmann::json summary{
      {"test_accuracy", 0.7125},
      {"valid_accuracy", 0.3},
      {"best_epoch", 3},
      {"peak_memory_bytes", 512 << 20},
      {"planned_memory_bytes", 1024 << 20},
      {"plan", {{"read_bytes_per_epoch", 1'610'612'736.0}, {"read_seconds_per_epoch", 2.0}}},
      {"machine", {{"processor", "Abacus 9000"}}},
      {"prepared_with", {{"fanout", {10, 5}}}}};
  write_text_file(folder / "summary.json", summary.dump());
  nlohmann::json events = nlohmann::json::array();
  events.push_back({{"ph", "M"}, {"tid", 1}, {"name", "thread_name"}, {"args", {{"name", "compute"}}}});
  events.push_back({{"ph", "M"}, {"tid", 3}, {"name", "thread_name"}, {"args", {{"name", "drive, slot 0"}}}});
  for (int batch = 0; batch < 5; ++batch) {
    const std::string key = "train epoch 0 batch " + std::to_string(batch);
    events.push_back({{"ph", "X"},
                      {"tid", 3},
                      {"name", "read"},
                      {"ts", batch * 1000},
                      {"dur", 400},
                      {"args", {{"batch", key}}}});
    events.push_back(
        {{"ph", "X"}, {"tid", 1}, {"name", "forward"}, {"ts", batch * 1000 + 500}, {"dur", 300}});
  }
  write_text_file(folder / "timeline.json", nlohmann::json{{"traceEvents", events}}.dump());
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}
bool contains(const std::string& text, const std::string& part) { return count(text, part) > 0; }

std::string page_of(const std::filesystem::path& folder) {
  return make_report_page(RunRecord::read(folder, {}));
}

}  // namespace

TEST_CASE("every epoch's numbers are points and bars of the page, every batch a span of its timeline") {
  const test::TemporaryFolder folder;
  write_run(folder / "run");
  const std::string page = page_of(folder / "run");
  for (const char* point :
       {"loss, epoch 1: 2<", "loss, epoch 2: 1<", "loss, epoch 3: 0.667<", "train, epoch 3: 37.5 %<",
        "valid, epoch 2: 20.0 %<", "epoch 2, computing: 3.0 s<", "epoch 3, waiting for batches: 1.0 s<",
        "epoch 1, validation: 500 ms<", "epoch 1, gpu tier: 500,000<", "epoch 1, cpu tier: 1,000,000<",
        "epoch 2, drive: 3,000,000<", "drive reading, epoch 2: 2.5 s<",
        "bytes of each epoch, epoch 3: 1.61 GB<"}) {
    CHECK_MESSAGE(contains(page, point), std::string(point));
  }
  for (int batch = 0; batch < 5; ++batch) {
    // The first read ends before the first batch is computed.
    CHECK(contains(page, "read, train epoch 0 batch " + std::to_string(batch) + ": 400 us") == (batch > 0));
  }
  CHECK(count(page, "<title>forward: 300 us</title>") == 5);
  for (const char* told :
       {"71.2 %", "test accuracy", "Abacus 9000", "[10,5]", "0.003", "1.25<", "512.00 MiB"}) {
    CHECK_MESSAGE(contains(page, told), std::string(told));
  }
}

TEST_CASE("the page stands alone, and names in it are text") {
  const test::TemporaryFolder folder;
  write_run(folder / "run");
  const std::string page = page_of(folder / "run");
  CHECK_FALSE(contains(page, "<b>x</b>"));
  CHECK(contains(page, "&lt;b&gt;x&lt;/b&gt;"));
  for (const char* outside : {"http://", "https://", "src=", "href=", "<script", "url(", "@import"}) {
    CHECK_MESSAGE(!contains(page, outside), std::string(outside));
  }
  CHECK(contains(page, "prefers-color-scheme: dark"));
  CHECK(contains(page, "name=\"viewport\""));
  // Every element that is opened is closed.
  for (const std::string element :
       {"figure", "svg", "table", "tr", "td", "th", "div", "text", "title", "h2", "body", "html"}) {
    CAPTURE(element);
    const std::regex open("<" + element + "[ >]");
    CHECK(static_cast<std::size_t>(
              std::distance(std::sregex_iterator(page.begin(), page.end(), open), std::sregex_iterator())) ==
          count(page, "</" + element + ">"));
  }
}

TEST_CASE("a run that is not finished, or has several seeds, is shown as far as it is there") {
  const test::TemporaryFolder folder;
  write_run(folder / "run");
  std::filesystem::remove(folder / "run/summary.json");
  std::filesystem::remove(folder / "run/timeline.json");
  // The last line is being written.
  write_text_file(folder / "run/metrics.jsonl", epoch_of(1, 4).dump() + "\n" + epoch_of(1, 5).dump() + "\n" +
                                                    epoch_of(2, 5).dump().substr(0, 30));
  const std::string page = page_of(folder / "run");
  CHECK(contains(page, "not finished"));
  CHECK(count(page, "loss, epoch 1: 2<") == 2);
  CHECK_FALSE(contains(page, "epoch 2"));
  CHECK_FALSE(contains(page, "Batch by batch"));

  write_text_file(folder / "run/metrics.jsonl", "");
  CHECK(contains(page_of(folder / "run"), "</html>"));
}

TEST_CASE("files that are no run's are refused with their name and line") {
  const test::TemporaryFolder folder;
  EXPECT_ERROR(RunRecord::read(folder / "none", {}), Kind::config, "holds no run");
  write_run(folder / "run");
  const auto expect_refused = [&](const char* file, const std::string& text, const char* words) {
    write_run(folder / "run");
    write_text_file(folder / "run" / file, text);
    EXPECT_ERROR(RunRecord::read(folder / "run", {}), Kind::input, words);
  };
  expect_refused("metrics.jsonl", "{\"epoch\":1}\nnonsense\n{\"epoch\":2}\n", "line 2");
  expect_refused("metrics.jsonl", "{\"epoch\":1,\"loss\":\"low\"}\n", "'loss' is not a number");
  expect_refused("metrics.jsonl", "{\"epoch\":1,\"seed\":1e154}\n", "'seed' is no count");
  expect_refused("summary.json", "[1]", "summary.json");
  expect_refused("timeline.json", "{\"traceEvents\":[{\"ph\":\"X\",\"tid\":\"one\"}]}", "--trace");
  expect_refused("config.yaml", "a: [1", "line");
  expect_refused("config.yaml", "- a\n- b\n", "config.yaml: not a map of option names");
  write_run(folder / "run");
  EXPECT_ERROR(RunRecord::read(folder / "run", folder / "no.json"), Kind::input, "no.json");
  CHECK(run_command_line({"report", folder / "run", "--out", folder / "page.html"}) == 0);
  CHECK(read_text_file(folder / "page.html") == page_of(folder / "run"));
  CHECK(run_command_line({"report", folder / "run"}) == 0);
  CHECK(std::filesystem::exists(folder / "run/report.html"));
  CHECK(run_command_line({"report", folder / "nowhere"}) == 2);
}

TEST_CASE("charts draw what can be drawn: one number, none, and all alike") {
  const auto plain = [](double value) { return std::to_string(value); };
  CHECK(draw(LineChart{.title = "t", .x_name = "x", .format = plain, .lines = {}}).empty());
  CHECK(
      draw(LineChart{
               .title = "t", .x_name = "x", .format = plain, .lines = {{.name = "a", .points = {{1, NAN}}}}})
          .empty());
  CHECK(draw(BarChart{.title = "t",
                      .x_name = "x",
                      .format = plain,
                      .bars = {"1"},
                      .parts = {{.name = "a", .values = {0}}}})
            .empty());
  CHECK(draw(LaneChart{.title = "t", .format = plain, .lanes = {"l"}, .spans = {}}).empty());
  for (const auto& points : {std::vector<std::pair<double, double>>{{1, 5}},
                             {{1, 0.6931471805599453}, {2, 0.6931471805599454}},
                             {{1e17, 1}, {1e17 + 16, 2}},
                             {{1, 0}, {2, 0}},
                             {{1, -1e308}, {2, 1e308}},
                             {{1, 5e-324}},
                             {{1, 3}, {2, NAN}, {3, 4}}}) {
    const std::string chart = draw(
        LineChart{.title = "t", .x_name = "x", .format = plain, .lines = {{.name = "a", .points = points}}});
    CHECK(count(chart, "<circle") ==
          static_cast<std::size_t>(
              std::ranges::count_if(points, [](const auto& point) { return std::isfinite(point.second); })));
    CHECK_FALSE(contains(chart, "nan"));
    CHECK_FALSE(contains(chart, "inf"));
  }
  CHECK(escape_html("a<b & \"c\">") == "a&lt;b &amp; &quot;c&quot;&gt;");
}
