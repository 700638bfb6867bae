#include "sampler/preparation_in_work.h"

#include <spdlog/spdlog.h>

#include <array>
#include <span>
#include <string_view>

#include "storage/base/checksum.h"
#include "storage/base/error.h"
#include "storage/format/json_text.h"
#include "storage/io/folders.h"
#include "storage/pack/pack_checkpoint.h"

namespace gneiss {
namespace {

// Of a preparation itself; all else in the folder is for going on.
constexpr std::array<const char*, 4> file_names{pool_file_name, pack_file_name, cpu_tier_file_name,
                                                gpu_tier_file_name};

std::string journal_key(const std::string& name) { return "preparing/" + name; }

// Its files are written and removed, so it must lie in the dataset.
std::filesystem::path folder_of(const Dataset& dataset, const std::string& name) {
  const std::filesystem::path folder = preparation_folder(dataset, name).string() + ".partial";
  refuse_link(folder.parent_path());
  refuse_link(folder);
  return folder;
}

// The journal's JSON: made_from, and while sealing the entry to be. Null when there is none that can be read.
nlohmann::json read_journal(const Dataset& dataset, const std::string& name) {
  const auto text = dataset.catalog().get(journal_key(name));
  auto journal = text ? parse_json(*text) : nlohmann::json();
  return journal.is_object() ? journal : nlohmann::json();
}

void remove_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  if (error) fail_errno(folder.string(), "remove what an earlier run left", error.value());
}

void remove_durably(const std::filesystem::path& folder) {
  remove_folder(folder);
  std::error_code ignored;
  if (std::filesystem::exists(folder.parent_path(), ignored)) sync_folder(folder.parent_path());
}

std::uint64_t checksum_of(std::string_view text) { return checksum(std::as_bytes(std::span(text))); }

bool is_file_of_preparation(const std::filesystem::path& path) {
  for (const char* name : file_names) {
    if (path.filename() == name) return true;
  }
  return false;
}

}  // namespace

PreparationInWork::PreparationInWork(Dataset& dataset, std::string name, const nlohmann::json& made_from)
    : dataset_(dataset),
      name_(std::move(name)),
      folder_(folder_of(dataset, name_)),
      made_from_(checksum_of(made_from.dump())) {
  const nlohmann::json journal = read_journal(dataset, name_);
  if (!journal.is_object() || journal.value("made_from", nlohmann::json()) != made_from) {
    if (std::filesystem::exists(folder_)) {
      spdlog::info("preparation '{}': what an earlier run left was to be made otherwise, and is removed",
                   name_);
    }
    remove_durably(folder_);  // before the journal speaks of what it will hold
    dataset.catalog().apply({{journal_key(name_), nlohmann::json{{"made_from", made_from}}.dump()}});
  }
  make_folders(folder_);
}

bool PreparationInWork::finish_sealing(Dataset& dataset, const std::string& name,
                                       const nlohmann::json& made_from) {
  const nlohmann::json journal = read_journal(dataset, name);
  if (!journal.is_object()) return false;
  // Only what seal() has written is gone on with: a journal that was made up must not enter another key.
  const std::string entry_key = preparation_key(name);
  const auto entry = journal.value("entry", nlohmann::json());
  if (journal.value("entry_key", nlohmann::json()) != entry_key || !entry.is_string()) return false;
  const auto target = preparation_folder(dataset, name);
  const auto folder = folder_of(dataset, name);
  // Whoever read the old preparation has let go before sealing began, or is waited for.
  const FileLock alone = FileLock::wait_for(target / pool_file_name, FileLock::Mode::exclusive,
                                            "those who read the old preparation");
  if (std::filesystem::exists(folder)) {
    for (const auto& file : entries_of(folder)) {
      if (!is_file_of_preparation(file)) remove_folder(file);
    }
    remove_folder(target);
    sync_folder(folder);
    publish(folder, target);
    sync_folder(dataset.folder());  // which may have just received prepared/
  }
  dataset.catalog().apply({{entry_key, entry.get<std::string>()}, {journal_key(name), std::nullopt}});
  return journal.value("made_from", nlohmann::json()) == made_from;
}

void PreparationInWork::discard(Dataset& dataset, const std::string& name) {
  const auto folder = folder_of(dataset, name);
  remove_durably(folder);
  std::error_code ignored;
  const bool held_nothing_else = std::filesystem::remove(folder.parent_path(), ignored);
  if (held_nothing_else) sync_folder(dataset.folder());
  if (dataset.catalog().contains(journal_key(name))) {
    dataset.catalog().apply({{journal_key(name), std::nullopt}});
  }
}

void PreparationInWork::remove(const char* file) const { remove_folder(folder_ / file); }

void PreparationInWork::remove_planned_files() const {
  remove(samples_checkpoint_name);
  remove(pack_checkpoint_name);
  for (const char* name : file_names) {
    remove(name);
    remove((std::string(name) + ".tmp").c_str());
  }
  sync_folder(folder_);
}

std::uint64_t PreparationInWork::bytes_of_files() const {
  std::uint64_t bytes = 0;
  std::error_code ignored;
  for (const char* name : file_names) {
    for (const char* ending : {"", ".tmp"}) {
      const auto size = std::filesystem::file_size(folder_ / (std::string(name) + ending), ignored);
      if (!ignored) bytes += size;
    }
  }
  return bytes;
}

std::string PreparationInWork::progress() const {
  if (has(pack_file_name)) return "packing";
  if (has(pack_checkpoint_name)) return "a part of packing";
  if (has(pool_file_name)) return "writing the samples";
  if (has(samples_checkpoint_name)) return "a part of writing the samples";
  if (has(inputs_checkpoint_name) || has(batches_checkpoint_name)) return "sampling, or a part of it";
  return {};
}

void PreparationInWork::seal(const PreparationInfo& info) {
  const auto [entry_key, entry] = seal_preparation(folder_, name_, info);
  nlohmann::json journal = read_journal(dataset_, name_);
  journal["entry_key"] = entry_key;
  journal["entry"] = entry.value();
  {
    const FileLock alone =
        FileLock::wait_for(preparation_folder(dataset_, name_) / pool_file_name, FileLock::Mode::exclusive,
                           "those who read the old preparation");
    // From here on the old preparation is no more.
    is_sealing_ = true;
    dataset_.catalog().apply({{entry_key, std::nullopt}, {journal_key(name_), journal.dump()}});
  }
  finish_sealing(dataset_, name_, {});
}

}  // namespace gneiss
