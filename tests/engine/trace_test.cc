// The timeline has every batch in every stage, in an order that can be.
#include "engine/pipeline/trace.h"

#include <doctest/doctest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "storage/io/file.h"
#include "tests/engine/learnable_graph.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

struct Span {
  double begin = 0;
  double end = 0;
};

nlohmann::json written(const Trace& trace, const std::filesystem::path& path) {
  trace.write(path);
  return nlohmann::json::parse(read_text_file(path)).at("traceEvents");
}

}  // namespace

TEST_CASE("every batch is read, assembled and computed, one after the other, and lanes have names") {
  const LearnableGraph graph;
  Trace trace;
  TrainOptions options = short_run();
  options.schedule.epochs = 1;
  options.pipeline.slot_count = 3;
  options.pipeline.trace = &trace;
  const RunResult traced = graph.train(options);
  options.pipeline.trace = nullptr;
  CHECK(same_run(graph.train(options), traced));

  std::map<std::string, std::map<std::string, Span>> spans;  // by batch, then by name
  std::set<std::string> lanes;
  for (const auto& event : written(trace, graph.folder() / "t.json")) {
    if (event.at("ph") == "M") {
      if (event.at("name") == "thread_name") lanes.insert(event.at("args").at("name"));
      continue;
    }
    CHECK(event.at("dur") >= 0);
    const Span span{event.at("ts"), event.at("ts").get<double>() + event.at("dur").get<double>()};
    if (event.contains("args")) spans[event.at("args").at("batch")][event.at("name")] = span;
  }
  CHECK(lanes ==
        std::set<std::string>{"compute", "assemble", "drive, slot 0", "drive, slot 1", "drive, slot 2"});
  std::size_t trained = 0;
  for (const auto& [batch, by_name] : spans) {
    CAPTURE(batch);
    CHECK(by_name.at("read").end <= by_name.at("assemble").begin + 0.001);
    const bool is_training = batch.starts_with("train");
    const Span& first = by_name.at(is_training ? "forward" : "evaluate");
    CHECK(by_name.at("assemble").end <= first.begin + 0.001);
    if (!is_training) continue;
    ++trained;
    CHECK(first.end <= by_name.at("backward").begin + 0.001);
    CHECK(by_name.at("backward").end <= by_name.at("optimizer").begin + 0.001);
  }
  CHECK(trained == traced.epochs.front().batches);
  CHECK(spans.size() > trained);  // validation and test as well
}

TEST_CASE("a full timeline keeps its first events and counts the others, whoever records") {
  const TemporaryFolder folder;
  Trace trace(1000);
  {
    std::vector<std::jthread> threads;
    for (std::uint32_t lane = 1; lane <= 4; ++lane) {
      threads.emplace_back([&trace, lane] {
        for (int i = 0; i < 400; ++i) const TraceSpan span(&trace, lane, "work");
      });
    }
  }
  CHECK(trace.event_count() == 1000);
  CHECK(trace.left_out_count() == 600);
  std::size_t events = 0;
  for (const auto& event : written(trace, folder / "t.json")) events += event.at("ph") == "X" ? 1 : 0;
  CHECK(events == 1000);
  const TraceSpan nowhere(nullptr, 1, "nothing");
}
