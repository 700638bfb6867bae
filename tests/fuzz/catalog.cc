// What a dataset's catalog says of itself, in the keys that are read back: any value in any of them.
//
// Input: which key, then its value.
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "sampler/preparation_in_work.h"
#include "storage/format/drive_record.h"
#include "storage/format/verify.h"
#include "storage/import/statistics.h"
#include "storage/pack/shared_layout.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/prepared_files.h"

namespace gneiss::test {
namespace {

constexpr std::array<const char*, 7> keys{
    "dataset",         "statistics",    "split/train/00000000", "drive/profile",
    "preparation/own", "preparing/own", "preparation/../../own"};

class Catalogued {
 public:
  Catalogued() {
    write_fuzz_dataset(folder());
    prepare_fuzz_dataset(folder());
    dataset_.emplace(Dataset::open(folder(), Catalog::Access::write));
    DriveProfile drive{.engine = "pread", .direct = true, .points = {}};
    drive.points.push_back(
        {.sequential = true, .block_bytes = 1U << 20, .queue_depth = 8, .bytes_per_second = 1e9});
    drive.points.push_back(
        {.sequential = false, .block_bytes = 4096, .queue_depth = 32, .bytes_per_second = 1e8});
    store_drive_profile(*dataset_, drive);
    for (const char* key : keys) whole_.push_back(dataset_->catalog().get(key));
  }
  static std::filesystem::path folder() { return fuzz_folder() / "catalog"; }
  const std::vector<std::optional<std::string>>& whole() const { return whole_; }
  Dataset& dataset() { return *dataset_; }

  void change(std::size_t key, std::string_view value) {
    std::vector<Catalog::Change> changes;
    for (std::size_t i = 0; i < keys.size(); ++i) changes.emplace_back(keys[i], whole_[i]);
    changes[key].second = std::string(value);
    dataset_->catalog().apply(changes);
  }

 private:
  std::optional<Dataset> dataset_;
  std::vector<std::optional<std::string>> whole_;
};

Catalogued& catalogued() {
  static Catalogued catalog;
  return catalog;
}

std::vector<std::string> seeds() {
  std::vector<std::string> inputs;
  for (std::size_t key = 0; key < keys.size(); ++key)
    inputs.push_back(static_cast<char>(key) + catalogued().whole()[key].value_or("{}"));
  const nlohmann::json journal{{"made_from", {{"version", 3}}},
                               {"entry_key", "preparation/own"},
                               {"entry", catalogued().whole()[4].value()}};
  inputs.push_back('\5' + journal.dump());
  inputs.push_back('\6' + catalogued().whole()[4].value());
  inputs.push_back('\1' + std::string(100, '['));
  return inputs;
}

void run(std::string_view input) {
  if (input.empty()) return;
  catalogued().change(static_cast<unsigned char>(input[0]) % keys.size(), input.substr(1));
  const Dataset dataset = Dataset::open(Catalogued::folder());
  attempt([&] { format_statistics(dataset.statistics()); });
  attempt([&] { dataset.split(Split::train); });
  attempt([&] {
    const auto drive = stored_drive_profile(dataset);
    if (drive) static_cast<void>(read_gap_for(*drive));
  });
  for (const std::string& name : preparation_names(dataset))
    attempt([&] { Preparation::open(dataset, name); });
  attempt([&] { PreparationInWork::finish_sealing(catalogued().dataset(), "own", {}); });
}

}  // namespace

const FuzzTarget catalog_target{.name = "catalog", .seeds = seeds, .run = run, .replays = 60};

}  // namespace gneiss::test
