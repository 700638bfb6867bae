// A drive that is full, fails or interrupts, and too many open files, at any operation: the command does its
// work all the same, or says in one sentence which file could not be written; then the same command makes
// whole what it would have made.
#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "storage/base/random.h"
#include "tests/faults/scenario.h"

namespace gneiss::test {
namespace {

constexpr std::uint64_t faults_a_scenario = 2;  // of each sort, but for `make torture`

struct Sort {
  const char* name;
  std::uint32_t kinds;
  int error;  // 0: a write that does half
  bool is_lasting;
};

constexpr std::uint32_t taking_space =
    mask_of(FileOperation::create, FileOperation::write, FileOperation::reserve, FileOperation::resize,
            FileOperation::sync, FileOperation::start_sync, FileOperation::rename, FileOperation::make_folder,
            FileOperation::link);
constexpr std::uint32_t writing = changing_operations | mask_of(FileOperation::start_sync);
constexpr std::uint32_t interruptible =
    mask_of(FileOperation::create, FileOperation::write, FileOperation::reserve, FileOperation::resize,
            FileOperation::sync, FileOperation::start_sync);
constexpr std::uint32_t opening = mask_of(FileOperation::open_only, FileOperation::create);

const std::vector<Sort>& sorts() {
  static const std::vector<Sort> all{
      {"a full drive", taking_space, ENOSPC, true},
      {"a drive that was full for a moment", taking_space, ENOSPC, false},
      {"a drive that failed once", writing, EIO, false},
      {"a drive that fails from then on", writing, EIO, true},
      {"one file too many", opening, EMFILE, false},
      {"too many open files", opening, EMFILE, true},

      {"an interruption", interruptible, EINTR, false},
      {"a short write", mask_of(FileOperation::write), 0, true},
  };
  return all;
}

// Interruptions and short writes are gone on after; nobody is to hear of them.
bool is_harmless(const Sort& sort) { return sort.error == EINTR || sort.error == 0; }

void expect_sentence(const std::string& output, const std::string& root) {
  const std::string sentence = last_sentence(output);
  REQUIRE_MESSAGE(!sentence.empty(), output);
  CHECK_MESSAGE(sentence.find('\n') == sentence.size() - 1, output);
  CHECK_MESSAGE(sentence.find(root) != std::string::npos, sentence);  // a file is named
}

// Of the names that only a writer at work has, none.
void expect_no_temporaries(const Tree& tree) {
  for (const auto& [name, bytes] : tree) {
    // Kept on purpose, to go on with.
    if (name.find(".partial/") != std::string::npos && name.find("prepared/") != std::string::npos) continue;
    CHECK_MESSAGE(name.find(".tmp") == std::string::npos, name);
    CHECK_MESSAGE(name.find("scratch") == std::string::npos, name);
  }
}

std::uint64_t count_of(const std::vector<RecordedOperation>& operations, std::uint32_t kinds) {
  return static_cast<std::uint64_t>(std::ranges::count_if(
      operations,
      [&](const RecordedOperation& operation) { return (mask_of(operation.kind) & kinds) != 0; }));
}

void disturb(const Workshop& workshop, const Scenario& scenario, const Sort& sort, std::uint64_t at,
             std::uint64_t& told) {
  write_tree(scenario.base, workshop.root());
  const FaultedResult result = run_with_fault(workshop.root(), scenario.command,
                                              {.mode = Fault::Mode::fail,
                                               .at = at,
                                               .kinds = sort.kinds,
                                               .error = sort.error,
                                               .is_lasting = sort.is_lasting});
  CAPTURE(result.struck);
  CAPTURE(result.output);
  CHECK((result.exit_code == 0 || (result.exit_code == 5 && !is_harmless(sort))));
  if (result.exit_code == 5) {
    ++told;
    expect_sentence(result.output, workshop.root());
  }
  // There is a dataset under the name, the old one or the new, as long as renaming works.
  if (scenario.name == "generate over another" && !sort.is_lasting)
    CHECK(std::filesystem::exists(workshop.dataset() + "/catalog/CURRENT"));
  // Where a drive fails, or no folder can be opened any more, what is left is the next run's to remove.
  if (sort.error == ENOSPC || is_harmless(sort)) expect_no_temporaries(read_tree(workshop.root()));
  expect_recovery(workshop, scenario);
}

}  // namespace

TEST_CASE(
    "whatever operation on files fails, the command says so, and the same command again makes it good") {
  const Workshop workshop;
  std::uint64_t faults = 0;
  std::uint64_t told = 0;
  for (const std::string& name : scenario_names()) {
    if (name.find("checkpoints") != std::string::npos) continue;  // not the program, but a part of it
    CAPTURE(name);
    const Scenario scenario = make_scenario(workshop, name);
    for (const Sort& sort : sorts()) {
      CAPTURE(std::string(sort.name));
      const std::uint64_t count = count_of(scenario.operations, sort.kinds);
      for (const std::uint64_t at : chosen(count, faults_a_scenario, mix_key(count, sort.error))) {
        CAPTURE(at);
        disturb(workshop, scenario, sort, at, told);
        ++faults;
      }
    }
  }
  MESSAGE(faults << " faults, of which the command told " << told);
  if (faults > 0) CHECK(told > faults / 4);
}

TEST_CASE("verify calls no file damaged that it could not open") {
  const Workshop workshop;
  const Scenario scenario = make_scenario(workshop, "train");
  const Command verify{GNEISS_PROGRAM, "verify", "--dataset", workshop.dataset()};
  write_tree(scenario.base, workshop.root());
  CommandResult whole;
  const auto operations = record_operations(workshop.root(), verify, whole);
  REQUIRE_MESSAGE(whole.exit_code == 0, whole.output);
  const std::uint64_t count = count_of(operations, opening);
  std::uint64_t told = 0;
  for (const std::uint64_t at : chosen(count, 12, count)) {
    CAPTURE(at);
    const FaultedResult result = run_with_fault(
        workshop.root(), verify,
        {.mode = Fault::Mode::fail, .at = at, .kinds = opening, .error = EMFILE, .is_lasting = true});
    CAPTURE(result.struck);
    CHECK_MESSAGE((result.exit_code == 5 || result.exit_code == 0), result.output);
    CHECK_MESSAGE(result.output.find("DAMAGED") == std::string::npos, result.output);
    if (result.output.find("NOT READ") != std::string::npos) ++told;
  }
  CHECK(told > 0);
}

TEST_CASE("verify tells damage by its exit code, also where other parts could not be read, and counts both") {
  const Workshop workshop;
  const Scenario scenario = make_scenario(workshop, "train");
  write_tree(scenario.base, workshop.root());
  const std::string damaged_file = workshop.dataset() + "/features.bin";
  {
    std::fstream file(damaged_file, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(4096);
    file.put('\x55');
  }
  const TemporaryFolder folder;
  const std::string summary = folder / "verify.json";
  const Command verify{GNEISS_PROGRAM, "verify", "--dataset", workshop.dataset(), "--summary", summary};
  CommandResult result;
  const std::uint64_t count = count_of(record_operations(workshop.root(), verify, result), opening);
  REQUIRE_MESSAGE(result.exit_code == 4, result.output);
  std::uint64_t both = 0;
  for (std::uint64_t at = 1; at <= count; ++at) {
    std::filesystem::remove(summary);
    const FaultedResult found = run_with_fault(
        workshop.root(), verify, {.mode = Fault::Mode::fail, .at = at, .kinds = opening, .error = EMFILE});
    CAPTURE(found.struck);
    CAPTURE(found.output);
    std::ifstream stream(summary);
    const auto told = nlohmann::json::parse(stream, nullptr, false);
    REQUIRE(told.is_object());
    const auto damaged = told.at("damaged_parts").get<std::uint64_t>();
    const auto unread = told.at("unread_parts").get<std::uint64_t>();
    CHECK(damaged <= 1);
    CHECK(unread == std::ranges::count_if(told.at("parts"), [](const auto& part) {
            return part.at("is_unread").template get<bool>();
          }));
    CHECK(found.exit_code == (damaged > 0 ? 4 : 5));
    CHECK((damaged > 0) == (last_sentence(found.output).find(damaged_file) != std::string::npos &&
                            found.output.find("DAMAGED") != std::string::npos));
    if (damaged > 0 && unread > 0) ++both;
  }
  CHECK(both > 2);
}

// RocksDB tries the call at each file that it writes, and an assertion of its ended the process.
TEST_CASE("a system that refuses sync_file_range, as sandboxes do, changes nothing") {
  const Workshop workshop;
  for (const char* name : {"generate", "import", "prepare"}) {
    CAPTURE(std::string(name));
    const Scenario scenario = make_scenario(workshop, name);
    write_tree(scenario.base, workshop.root());
    const FaultedResult result = run_with_fault(workshop.root(), scenario.command,
                                                {.mode = Fault::Mode::fail,
                                                 .at = 1,
                                                 .kinds = mask_of(FileOperation::start_sync),
                                                 .error = EPERM,
                                                 .is_lasting = true});
    CHECK_MESSAGE(result.exit_code == 0, result.output);
    CHECK(difference(scenario.whole, outcome_of(workshop.root())) == "");
  }
}

// The kernel tells a failed write to the first call that waits for it, and fsync() finds nothing wrong after.
TEST_CASE("a write that fails while what was written is pushed out is told") {
  const Workshop workshop;
  const Command generate{GNEISS_PROGRAM, "--quiet", "generate", workshop.dataset(), "--nodes",   "90000",
                         "--features",   "100",     "--memory", "512MiB",           "--threads", "2"};
  constexpr std::uint32_t pushing_out = mask_of(FileOperation::start_sync);
  CommandResult whole;
  REQUIRE(count_of(record_operations(workshop.root(), generate, whole), pushing_out) > 0);
  REQUIRE_MESSAGE(whole.exit_code == 0, whole.output);
  for (const int error : {EIO, ENOSPC, EINTR}) {
    CAPTURE(error);
    write_tree({}, workshop.root());
    const FaultedResult result =
        run_with_fault(workshop.root(), generate,
                       {.mode = Fault::Mode::fail, .at = 1, .kinds = pushing_out, .error = error});
    CAPTURE(result.output);
    CHECK(result.exit_code == (error == EINTR ? 0 : 5));
    if (error == EINTR) continue;
    expect_sentence(result.output, workshop.dataset());
    expect_no_temporaries(read_tree(workshop.root()));
    CHECK(run_command(generate).exit_code == 0);
  }
}

TEST_CASE("a preparation that fails while it is put in its place is not made again") {
  if (!std::ranges::count(scenario_names(), "prepare over another")) return;
  const Workshop workshop;
  const Scenario scenario = make_scenario(workshop, "prepare over another");
  std::uint64_t syncs = 0;  // before the finished folder gets its name
  for (const RecordedOperation& operation : scenario.operations) {
    if (operation.kind == FileOperation::rename && operation.path.ends_with("/P.partial")) break;
    if (operation.kind == FileOperation::sync) ++syncs;
  }
  const std::filesystem::path pack = workshop.dataset() + "/prepared/P/pack.bin";
  for (const std::uint64_t at : {syncs + 1, syncs + 2}) {  // of prepared/, of the dataset's folder
    CAPTURE(at);
    write_tree(scenario.base, workshop.root());
    const FaultedResult failed = run_with_fault(
        workshop.root(), scenario.command,
        {.mode = Fault::Mode::fail, .at = at, .kinds = mask_of(FileOperation::sync), .error = EIO});
    CAPTURE(failed.struck);
    CHECK(failed.exit_code == 5);
    CHECK_MESSAGE(failed.output.find("the same command puts it in its place") != std::string::npos,
                  failed.output);
    const auto made = std::filesystem::last_write_time(pack);
    const CommandResult verified = run_command({GNEISS_PROGRAM, "verify", "--dataset", workshop.dataset()});
    CHECK_MESSAGE(verified.exit_code == 0, verified.output);  // it is not there yet, and nothing is damaged
    expect_recovery(workshop, scenario);
    CHECK(std::filesystem::last_write_time(pack) == made);
  }
}

}  // namespace gneiss::test
