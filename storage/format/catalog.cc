#include "storage/format/catalog.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/options.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "storage/base/error.h"
#include "storage/format/catalog_files.h"
#include "storage/format/json_text.h"
#include "storage/io/folders.h"
#include "storage/io/stall_watch.h"

namespace gneiss {
namespace {

// RocksDB would write a LOG file into the dataset, which may be read-only.
class SilentLogger : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

rocksdb::Options catalog_options(Catalog::Access access) {
  rocksdb::Options options;
  options.create_if_missing = access == Catalog::Access::create;
  options.error_if_exists = access == Catalog::Access::create;
  options.info_log = std::make_shared<SilentLogger>();
  options.paranoid_checks = true;
  options.env = catalog_environment();
  options.write_buffer_size = 128U << 10;  // the catalog is small: no memory to show beside a run's budget
  options.max_open_files = 64;
  options.max_background_jobs = 1;
  // Its sixteen threads at each opening end the process where the system gives none.
  options.max_file_opening_threads = 1;
  options.keep_log_file_num = 1;
  options.compression = rocksdb::kNoCompression;
  return options;
}

// RocksDB opens what it writes by name, and would follow a link to someone else's file.
void refuse_links(const std::filesystem::path& folder) {
  refuse_link(folder);
  std::error_code error;  // what cannot be listed cannot be opened either, and RocksDB says why
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    refuse_link(at->path());
  }
}

// RocksDB goes on by itself after an interrupted write, and not after an interrupted open.
rocksdb::Status open_database(rocksdb::Options options, const std::string& path, Catalog::Access access,
                              rocksdb::DB** database) {
  constexpr int tries_max = 8;
  rocksdb::Status status;
  for (int i = 0; i < tries_max; ++i) {
    status = access == Catalog::Access::read ? rocksdb::DB::OpenForReadOnly(options, path, database)
                                             : rocksdb::DB::Open(options, path, database);
    if (!status.IsIOError() || status.ToString().find(std::strerror(EINTR)) == std::string::npos) break;
    options.error_if_exists = false;  // the first try may have left a part
  }
  return status;
}

// The system refused, whatever the files hold: of its reasons RocksDB has no codes, only words.
bool is_refusal(const rocksdb::Status& status) {
  const std::string text = status.ToString();
  return status.IsIOError() &&
         std::ranges::any_of(
             std::array{EMFILE, ENFILE, EIO, ENOMEM, EACCES, EPERM, EINTR, ESTALE, ETIMEDOUT},
             [&](int reason) { return text.find(std::strerror(reason)) != std::string::npos; });
}

// Nor would RocksDB ever come back from opening a pipe.
void refuse_pipes(const std::filesystem::path& folder) {
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::error_code ignored;
    const auto type = std::filesystem::status(at->path(), ignored).type();
    if (type == std::filesystem::file_type::fifo || type == std::filesystem::file_type::socket ||
        type == std::filesystem::file_type::character) {
      fail(Kind::corruption, "{} is a pipe, a socket or a device in the place of one of the catalog's files",
           at->path().string());
    }
  }
}

// What RocksDB was killed over: it never removes such a file, and we hold its lock now.
void remove_temporaries(const std::filesystem::path& folder) {
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::error_code ignored;
    if (at->path().extension() == ".dbtmp") std::filesystem::remove(at->path(), ignored);
  }
}

// What a writer that opens, writes or closes changes in the folder: which files there are, and their sizes.
std::map<std::string, std::uint64_t> files_of(const std::filesystem::path& folder) {
  std::map<std::string, std::uint64_t> files;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::error_code gone;
    files[at->path().filename()] = at->file_size(gone);
  }
  return files;
}

// Runs `read` until the folder has not changed under it: one process writes while others read, and what that
// removes meanwhile looks like damage. A writer is at it for moments only.
template <class Read>
rocksdb::Status read_undisturbed(const std::filesystem::path& folder, const Read& read) {
  constexpr int tries_max = 40;
  constexpr std::chrono::milliseconds pause(5);
  for (int tries = 1;; ++tries) {
    const auto before = files_of(folder);
    rocksdb::Status status = read();
    if (tries == tries_max || files_of(folder) == before) return status;
    std::this_thread::sleep_for(pause);
  }
}

// Nothing is read twice: what would be cached is memory that nobody counts.
rocksdb::ReadOptions read_options() {
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  return options;
}

rocksdb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

Catalog::Catalog(const std::filesystem::path& folder, Access access)
    : path_(folder.string()), access_(access) {
  if (access != Access::create && !std::filesystem::exists(folder / "CURRENT")) {
    fail(Kind::input,
         "{} is not a Gneiss dataset (it has no catalog); make one with 'gneiss import' or 'gneiss generate'",
         folder.parent_path().string());
  }
  if (access != Access::read) refuse_links(folder);
  refuse_pipes(folder);
  rocksdb::DB* database = nullptr;
  const DriveWait wait("opening", path_);
  const auto open = [&] {
    delete std::exchange(database, nullptr);
    return open_database(catalog_options(access), path_, access, &database);
  };
  const auto status = access == Access::read ? read_undisturbed(folder, open) : open();
  if (!status.ok()) {
    const std::string text = status.ToString();
    const auto says = [&](const char* part) { return text.find(part) != std::string::npos; };
    const std::string dataset = folder.parent_path().string();
    // RocksDB has no codes for these.
    if (says("Resource temporarily unavailable") || says("lock hold by current process")) {
      fail(Kind::io, "{} is being written by another gneiss; wait until it ends", dataset);
    }
    if (says("Permission denied") || says("Read-only file system")) {
      fail(Kind::io, "{} cannot be {}: {}", dataset, access == Access::read ? "read" : "written", text);
    }
    // While it tries what the file system can, RocksDB calls a file that could not be opened an invalid
    // argument.
    const bool is_refused = says("Too many open files") || says("IO error") || says("Direct I/O");
    fail_status("open", text,
                status.IsCorruption() || (status.IsInvalidArgument() && !is_refused) ||
                    says("No such file or directory"));
  }
  database_.reset(database);
  if (access != Access::read) remove_temporaries(folder);
}

Catalog::~Catalog() {
  // Moves what was written from the log into a table, which verify() can check to the last byte. What was
  // applied is durable already, so a failure here loses nothing.
  if (database_ && access_ != Access::read) static_cast<void>(database_->Flush(rocksdb::FlushOptions()));
}
Catalog::Catalog(Catalog&&) noexcept = default;

void Catalog::fail_status(const char* attempt, const std::string& status, bool corrupt) const {
  fail(corrupt ? Kind::corruption : Kind::io, "the catalog {} cannot be {}: {}", path_,
       std::string_view(attempt) == "open" ? "opened" : attempt, status);
}

std::optional<std::string> Catalog::get(std::string_view key) const {
  std::string value;
  const auto status = database_->Get(read_options(), slice(key), &value);
  if (status.IsNotFound()) return std::nullopt;
  if (!status.ok()) fail_status("read", status.ToString(), status.IsCorruption());
  return value;
}

std::vector<std::string> Catalog::keys(std::string_view prefix) const {
  std::vector<std::string> found;
  const std::unique_ptr<rocksdb::Iterator> at(database_->NewIterator(read_options()));
  for (at->Seek(slice(prefix)); at->Valid() && at->key().starts_with(slice(prefix)); at->Next()) {
    found.push_back(at->key().ToString());
  }
  if (!at->status().ok()) fail_status("read", at->status().ToString(), at->status().IsCorruption());
  return found;
}

nlohmann::json Catalog::get_json(std::string_view key) const {
  const auto text = get(key);
  if (!text) fail(Kind::corruption, "the catalog {} lacks its entry '{}'", path_, key);
  auto value = parse_json(*text);
  if (value.is_discarded()) fail(Kind::corruption, "the catalog {}: entry '{}' is not JSON", path_, key);
  return value;
}

void Catalog::apply(const std::vector<Change>& changes) {
  rocksdb::WriteBatch batch;
  for (const auto& [key, value] : changes) {
    value ? batch.Put(key, *value) : batch.Delete(key);
  }
  rocksdb::WriteOptions durable;
  durable.sync = true;
  const auto status = database_->Write(durable, &batch);
  if (!status.ok()) fail_status("written", status.ToString(), status.IsCorruption());
}

void Catalog::close() {
  if (!database_) return;
  auto status = database_->Flush(rocksdb::FlushOptions());
  if (status.ok()) status = database_->Close();
  database_.reset();
  if (!status.ok()) fail_status("closed", status.ToString(), status.IsCorruption());
}

void Catalog::verify() const {
  // Opened again: by default a log is read up to its first damaged record, which is how a kill in the middle
  // of a write is survived; here every record must be whole.
  const DriveWait wait("reading", path_);
  auto options = catalog_options(Access::read);
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kAbsoluteConsistency;
  const auto status = read_undisturbed(path_, [&]() -> rocksdb::Status {
    rocksdb::DB* opened = nullptr;
    auto opening = open_database(options, path_, Access::read, &opened);
    const std::unique_ptr<rocksdb::DB> database(opened);
    if (opening.ok()) opening = database->VerifyChecksum();
    if (!opening.ok()) return opening;
    const std::unique_ptr<rocksdb::Iterator> at(database->NewIterator(read_options()));
    for (at->SeekToFirst(); at->Valid(); at->Next()) {
    }
    return at->status();
  });
  if (!status.ok()) fail_status("verified", status.ToString(), !is_refusal(status));
}

}  // namespace gneiss
