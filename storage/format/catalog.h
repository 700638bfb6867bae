// The catalog of a dataset: what files belong to it, its splits, preparations and runs, in RocksDB.
//
// Why:     entries change together or not at all, and a kill in between leaves the old state.
// Threads: const members may run concurrently. One process writes; any number read.
// Errors:  input (no catalog there), io (locked by another writer, device), corruption.
// Format:  storage/FORMAT.md, "Catalog": the keys and their values.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rocksdb {
class DB;
}

namespace gneiss {

class Catalog {
 public:
  // read leaves the folder untouched, so that a read-only dataset can be trained on.
  enum class Access { read, write, create };

  Catalog(const std::filesystem::path& folder, Access access);
  ~Catalog();
  Catalog(Catalog&&) noexcept;

  std::optional<std::string> get(std::string_view key) const;
  std::vector<std::string> keys(std::string_view prefix) const;  // ascending
  // Throws Error(corruption) when the entry is missing or is not JSON.
  nlohmann::json get_json(std::string_view key) const;
  bool contains(std::string_view key) const { return get(key).has_value(); }

  // One durable step: all changes or none. An absent value deletes the key.
  using Change = std::pair<std::string, std::optional<std::string>>;
  void apply(const std::vector<Change>& changes);

  // Makes the catalog's files durable and closes it; nothing may follow.
  void close();

  // Re-reads every block and log record with RocksDB's own checksums. Throws Error(corruption).
  void verify() const;

 private:
  [[noreturn]] void fail_status(const char* attempt, const std::string& status, bool corrupt) const;

  std::string path_;
  Access access_;
  std::unique_ptr<rocksdb::DB> database_;
};

}  // namespace gneiss
