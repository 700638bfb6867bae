// What a run left in its folder, as `gneiss report` reads and draws it.
#include "tools/report/run_record.h"

#include "tests/fuzz/fuzz_target.h"
#include "tools/report/page.h"

namespace gneiss::test {
namespace {

constexpr std::array<const char*, 4> names{"config.yaml", "metrics.jsonl", "summary.json", "timeline.json"};

std::vector<std::string> seeds() {
  const std::string config =
      "model: sage\ndataset: /d/x.gneiss\npreparation: p\nfanout: [3, 2]\nno_shuffle: true\n";
  const std::string epochs =
      "{\"epoch\":1,\"seed\":0,\"loss\":2.5,\"train_accuracy\":0.1,\"valid_accuracy\":0.2,\"seconds\":4.0,"
      "\"compute_seconds\":3.0,\"cpu_rows\":10,\"disk_rows\":20,\"bytes_read\":4096}\n"
      "{\"epoch\":2,\"seed\":0,\"loss\":1e-3,\"valid_accuracy\":0.3,\"seconds\":4.0,\"bytes_read\":8192}\n{"
      "\"epo";
  const std::string summary =
      R"({"test_accuracy":0.7,"test_accuracy_deviation":0.01,"best_epoch":2,"peak_memory_bytes":1000,)"
      R"("plan":{"read_bytes_per_epoch":4096.0,"read_seconds_per_epoch":2.0},"machine":{"cores":2},)"
      R"("prepared_with":{"fanout":[3,2]}})";
  const std::string timeline =
      R"({"traceEvents":[{"ph":"M","tid":1,"name":"thread_name","args":{"name":"compute"}},)"
      R"({"ph":"X","tid":1,"name":"forward","ts":1.5,"dur":2.5,"args":{"batch":"train epoch 0 batch 1"}},)"
      R"({"ph":"X","tid":1,"name":"read","ts":4.5,"dur":1e3}]})";
  return {join_input({config, epochs, summary, timeline}), join_input({"a: &x [*x, 1]\n", "", "{}", "{}"}),
          join_input({config, "{\"epoch\":1e308,\"loss\":-1e308}\n{\"epoch\":5e-324,\"loss\":1e308}\n", "{}",
                      R"({"traceEvents":[]})"})};
}

void run(std::string_view input) {
  const std::filesystem::path folder = fuzz_folder() / "run";
  std::filesystem::create_directories(folder);
  const auto files = split_input(input, names.size());
  for (std::size_t i = 0; i < names.size(); ++i) put_file(folder / names[i], files[i]);
  // Each alone too: what is wrong with one must not hide the others.
  attempt([&] { make_report_page(RunRecord::read(folder, folder / names[3])); });
  for (std::size_t i = 2; i < names.size(); ++i) std::filesystem::remove(folder / names[i]);
  make_report_page(RunRecord::read(folder, ""));
}

}  // namespace

const FuzzTarget run_record_target{.name = "run_record", .seeds = seeds, .run = run};

}  // namespace gneiss::test
