#include "tests/faults/scenario.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "storage/base/random.h"
#include "storage/format/catalog.h"
#include "storage/format/npy_writer.h"
#include "tests/sampler/prepare_fixture.h"
#include "tests/storage/import_fixtures.h"
#include "tests/support/run_command.h"

namespace gneiss::test {
namespace fs = std::filesystem;
namespace {

// Of a run's records, what the same run has again: losses and scores.
nlohmann::json without_clock(const nlohmann::json& record) {
  nlohmann::json kept = nlohmann::json::object();
  for (const auto& [key, value] : record.items()) {
    const bool is_list = key == "epochs" || key == "runs";
    const bool is_result = key == "epoch" || key == "seed" || key == "loss" || key == "best_epoch" ||
                           key == "options" || key.find("accuracy") != std::string::npos;
    if (is_result) kept[key] = value;
    for (const auto& item : is_list ? value : nlohmann::json::array())
      kept[key].push_back(without_clock(item));
  }
  return kept;
}

std::string what_counts(const fs::path& path, const std::string& bytes) {
  if (path.filename() == "timeline.json") return "";
  if (path.filename() == "summary.json") {
    const auto summary = nlohmann::json::parse(bytes, nullptr, false);
    return summary.is_object() ? without_clock(summary).dump() : bytes;
  }
  if (path.filename() != "metrics.jsonl") return bytes;
  std::istringstream lines(bytes);
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    const auto epoch = nlohmann::json::parse(line, nullptr, false);
    text += (epoch.is_object() ? without_clock(epoch).dump() : line) + '\n';
  }
  return text;
}

bool is_in_catalog(const std::string& path) { return path.find("catalog/") != std::string::npos; }

Command gneiss_command(std::initializer_list<std::string> arguments) {
  Command command{GNEISS_PROGRAM, "--quiet"};
  command.insert(command.end(), arguments);
  return command;
}

Command generate(const std::string& target, const char* seed) {
  return gneiss_command({"generate",     target, "--nodes",       "400", "--features",    "12",
                         "--classes",    "4",    "--train-share", "0.5", "--valid-share", "0.2",
                         "--test-share", "0.2",  "--seed",        seed,  "--memory",      "64MiB",
                         "--threads",    "2"});
}

Command prepare(const std::string& dataset, const char* name) {
  return gneiss_command({"prepare", "--dataset", dataset, "--name", name, "--fanout", "3,3", "--batch-size",
                         "20", "--sample-epochs", "2", "--cpu-cache", "2KiB", "--memory", "256MiB",
                         "--threads", "2"});
}

Command train(const std::string& dataset, const std::string& run) {
  return gneiss_command({"train", "--dataset", dataset, "--preparation", "P", "--hidden", "8", "--epochs",
                         "3", "--run", run, "--memory", "256MiB", "--threads", "2", "--device", "cpu"});
}

Command with(Command command, std::initializer_list<std::string> more) {
  command.insert(command.end(), more);
  return command;
}

void expect_done(const Command& command) {
  const CommandResult result = run_command(command);
  REQUIRE_MESSAGE(result.exit_code == 0, result.output);
}

// Four columns of nodes in a grid with wrapped rows: what an importer reads.
void write_source(const fs::path& folder) {
  fs::create_directories(folder);
  constexpr std::int64_t nodes = 300;
  std::vector<std::int64_t> from;
  std::vector<std::int64_t> to;
  std::vector<std::int64_t> labels;
  std::vector<float> values;
  for (std::int64_t node = 0; node < nodes; ++node) {
    for (const std::int64_t step : {1, 7, 31}) {
      from.push_back(node);
      to.push_back((node + step) % nodes);
    }
    labels.push_back(node % 3);
    for (int column = 0; column < 10; ++column) values.push_back(static_cast<float>(node * column % 17));
  }
  from.insert(from.end(), to.begin(), to.end());
  const std::array<std::uint64_t, 2> edges{2, to.size()};
  write_npy(folder / "edge_index.npy", Dtype::i64, edges, std::as_bytes(std::span(from)));
  const std::array<std::uint64_t, 2> rows{nodes, 10};
  write_npy(folder / "node_feat.npy", Dtype::f32, rows, std::as_bytes(std::span(values)));
  write_npy_vector<std::int64_t>(folder / "node_label.npy", Dtype::i64, labels);
  const auto write_split = [&](const char* name, std::int64_t first, std::int64_t last) {
    std::vector<std::int64_t> ids;
    for (std::int64_t node = first; node < last; ++node) ids.push_back(node);
    write_npy_vector<std::int64_t>(folder / name, Dtype::i64, ids);
  };
  write_split("train_idx.npy", 0, 150);
  write_split("val_idx.npy", 150, 200);
  write_split("test_idx.npy", 200, 250);
}

// The same in the layout of OGB's archives: tables of text, compressed.
void write_ogb_source(const fs::path& folder) {
  constexpr int nodes = 300;
  std::string edges;
  std::string features;
  std::string labels;
  std::map<std::string, std::string> splits;
  for (int node = 0; node < nodes; ++node) {
    for (const int step : {1, 7, 31}) edges += fmt::format("{},{}\n", node, (node + step) % nodes);
    for (int column = 0; column < 10; ++column)
      features += fmt::format("{}{}", node * column % 17, column == 9 ? "\n" : ",");
    labels += fmt::format("{}\n", node % 3);
    const char* split = node < 150 ? "train" : node < 200 ? "valid" : node < 250 ? "test" : nullptr;
    if (split != nullptr) splits[split] += fmt::format("{}\n", node);
  }
  write_file(folder / "raw/edge.csv.gz", gzip(edges));
  write_file(folder / "raw/node-feat.csv.gz", gzip(features));
  write_file(folder / "raw/node-label.csv.gz", gzip(labels));
  write_file(folder / "raw/num-node-list.csv.gz", gzip("300\n"));
  write_file(folder / "raw/num-edge-list.csv.gz", gzip("900\n"));
  for (const auto& [name, ids] : splits) write_file(folder / "split/time" / (name + ".csv.gz"), gzip(ids));
}

struct Definition {
  Command command;
  std::vector<Command> before;
  Command unfinished{};  // run after these, and killed when its pack is made
};

Definition define(const Workshop& workshop, const std::string& name) {
  const std::string dataset = workshop.dataset();
  const std::string run = workshop.root() / "run";
  const Command make = generate(dataset, "7");
  const Command own = prepare(dataset, "P");
  // A budget that segments of their own do not fit in.
  const Command shared = with(prepare(dataset, "P"), {"--residency", "belady", "--disk-budget", "800KiB"});
  if (name == "generate") return {make, {}};
  if (name == "generate over another")
    return {with(make, {"--force"}),
            {generate(dataset, "8"), prepare(dataset, "P"), train(dataset, dataset + "/runs/kept")}};
  if (name == "import")
    return {
        gneiss_command({"import", "npy", workshop.source(), dataset, "--undirected", "--memory", "64MiB"}),
        {}};
  if (name == "import ogb")
    return {gneiss_command({"import", "ogb", workshop.ogb_source(), dataset, "--memory", "64MiB"}), {}};
  if (name == "prepare") return {own, {make}};
  if (name == "prepare over another")
    return {with(own, {"--force"}), {make, with(prepare(dataset, "P"), {"--seed", "9"})}};
  // What the other has left goes first; a power cut may bring it back.
  if (name == "prepare over an unfinished one")
    return {own, {make}, with(prepare(dataset, "P"), {"--seed", "9"})};
  if (name == "prepare shared rows") return {shared, {make}};
  if (name == "prepare with checkpoints")
    return {child_command("prepare with own segments", dataset), {make}};
  if (name == "prepare shared rows with checkpoints")
    return {child_command("prepare with shared rows", dataset), {make}};
  // More edges than the memory that is left holds.
  if (name == "prepare swept")
    return {
        child_command("prepare while sweeping", dataset),
        {gneiss_command({"generate", dataset, "--nodes", "20000", "--avg-degree", "10", "--features", "2",
                         "--classes", "3", "--train-share", "0.01", "--seed", "7", "--memory", "64MiB"})}};
  if (name == "train") return {train(dataset, run), {make, own}};
  if (name == "train over another")
    return {with(train(dataset, run), {"--force", "--activation", "tanh"}),
            {make, own, with(train(dataset, run), {"--keep-last", "2"})}};
  if (name == "infer")
    return {gneiss_command({"infer", "--dataset", dataset, "--run", run, "--what", "logits", "--out",
                            workshop.root() / "logits.npy"}),
            {make, own, train(dataset, run)}};
  REQUIRE(name == "train several");
  return {with(train(dataset, run), {"--runs", "2", "--summary", workshop.root() / "summary.json"}),
          {make, shared}};
}

// Kills the command behind the rename of pack.bin: of a preparation all is made, and nothing sealed.
void leave_unfinished(const Workshop& workshop, const Command& command) {
  const Tree before = read_tree(workshop.root());
  CommandResult result;
  const auto operations = record_operations(workshop.root(), command, result);
  std::uint64_t renames = 0;
  for (const RecordedOperation& operation : operations) {
    if (operation.kind != FileOperation::rename) continue;
    ++renames;
    if (operation.second_path.ends_with("/pack.bin")) break;
  }
  write_tree(before, workshop.root());
  const FaultedResult killed =
      run_with_fault(workshop.root(), command,
                     {.mode = Fault::Mode::after, .at = renames, .kinds = mask_of(FileOperation::rename)});
  REQUIRE_MESSAGE(killed.struck.ends_with("/pack.bin"), killed.output);
}

}  // namespace

Tree read_tree(const fs::path& root) {
  Tree tree;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    const std::string name = entry.path().lexically_relative(root);
    if (entry.is_directory()) {
      tree[name + "/"];
      continue;
    }
    std::ifstream file(entry.path(), std::ios::binary);
    tree[name] = std::string(std::istreambuf_iterator<char>(file), {});
  }
  return tree;
}

void write_tree(const Tree& tree, const fs::path& root) {
  fs::remove_all(root);
  fs::create_directories(root);
  for (const auto& [name, bytes] : tree) {  // a folder comes before what is in it
    if (name.ends_with('/')) {
      fs::create_directory(root / name.substr(0, name.size() - 1));
    } else {
      std::ofstream(root / name, std::ios::binary) << bytes;
    }
  }
}

Outcome outcome_of(const fs::path& root) {
  Outcome outcome;
  for (const auto& [name, bytes] : read_tree(root)) {
    if (name.ends_with("catalog/")) {
      const Catalog catalog(root / name.substr(0, name.size() - 1), Catalog::Access::read);
      for (const std::string& key : catalog.keys(""))
        outcome.entries[name + key] = catalog.get(key).value_or("");
    }
    struct stat status{};
    if (name.ends_with('/') || ::stat((root / name).c_str(), &status) != 0) {
      outcome.files[name];
    } else if (is_in_catalog(name)) {
      outcome.catalog_bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
      if (name.ends_with(".dbtmp")) outcome.files[name];  // RocksDB would keep it for ever
    } else {
      outcome.allocated_bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
      outcome.files[name] = what_counts(name, bytes);
    }
  }
  return outcome;
}

std::string difference(const Outcome& whole, const Outcome& now) {
  std::string text;
  const auto compare = [&](const auto& expected, const auto& found) {
    for (const auto& [name, bytes] : expected) {
      const auto at = found.find(name);
      if (at == found.end()) text += name + " is missing; ";
      if (at != found.end() && at->second != bytes) text += name + " is another; ";
    }
    for (const auto& [name, bytes] : found) {
      if (!expected.contains(name)) text += name + " is too many; ";
    }
  };
  compare(whole.files, now.files);
  compare(whole.entries, now.entries);
  constexpr std::uint64_t file_slack = 64U << 10;  // how a file system rounds
  constexpr std::uint64_t catalog_slack = 256U << 10;
  if (now.allocated_bytes > whole.allocated_bytes + file_slack)
    text += fmt::format("files take {} bytes instead of {}; ", now.allocated_bytes, whole.allocated_bytes);
  if (now.catalog_bytes > whole.catalog_bytes + catalog_slack)
    text += fmt::format("catalogs take {} bytes instead of {}; ", now.catalog_bytes, whole.catalog_bytes);
  return text;
}

Workshop::Workshop() : root_(fs::canonical(folder_.path()) / "w") {
  fs::create_directory(root_);
  write_source(source());
  write_ogb_source(ogb_source());
}

std::vector<std::string> scenario_names() {
  std::vector<std::string> names{"generate",
                                 "generate over another",
                                 "import",
                                 "import ogb",
                                 "prepare",
                                 "prepare over another",
                                 "prepare over an unfinished one",
                                 "prepare shared rows",
                                 "prepare with checkpoints",
                                 "prepare shared rows with checkpoints",
                                 "prepare swept",
                                 "train",
                                 "train over another",
                                 "train several",
                                 "infer"};
  if (const char* only = std::getenv("GNEISS_FAULT_SCENARIO")) {
    std::erase_if(names, [&](const std::string& name) { return name != only; });
  }
  return names;
}

Scenario make_scenario(const Workshop& workshop, const std::string& name) {
  const Definition definition = define(workshop, name);
  write_tree({}, workshop.root());
  for (const Command& command : definition.before) expect_done(command);
  if (!definition.unfinished.empty()) leave_unfinished(workshop, definition.unfinished);
  Scenario scenario{.name = name, .command = definition.command};
  scenario.base = read_tree(workshop.root());
  CommandResult result;
  scenario.operations = record_operations(workshop.root(), scenario.command, result);
  REQUIRE_MESSAGE(result.exit_code == 0, result.output);
  scenario.whole = outcome_of(workshop.root());
  return scenario;
}

void expect_recovery(const Workshop& workshop, const Scenario& scenario) {
  const CommandResult result = run_command(scenario.command);
  // What was whole before the end stays, and the same command says that it is there.
  const bool is_there =
      result.exit_code == 2 && (result.output.find("exists; choose") != std::string::npos ||
                                result.output.find("holds a finished run") != std::string::npos);
  CHECK_MESSAGE((result.exit_code == 0 || is_there), result.output);
  CHECK(difference(scenario.whole, outcome_of(workshop.root())) == "");
}

std::string last_sentence(const std::string& output) {
  const std::string lines = "\n" + output;
  const std::size_t start = lines.rfind("\ngneiss: ");
  return start == std::string::npos ? "" : lines.substr(start + 1);
}

bool is_torture() { return std::getenv("GNEISS_TORTURE") != nullptr; }

std::vector<std::uint64_t> chosen(std::uint64_t count, std::uint64_t wanted, std::uint64_t seed) {
  if (is_torture()) wanted = count;
  wanted = std::min(wanted, count);
  RandomStream random(seed);
  std::vector<std::uint64_t> numbers;
  for (std::uint64_t i = 0; i < wanted; ++i) {
    const double at = (static_cast<double>(i) + random.uniform()) * static_cast<double>(count) /
                      static_cast<double>(wanted);
    numbers.push_back(wanted == count ? i + 1 : std::min(count, static_cast<std::uint64_t>(at) + 1));
  }
  return numbers;
}

}  // namespace gneiss::test
