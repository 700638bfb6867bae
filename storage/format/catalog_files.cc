#include "storage/format/catalog_files.h"

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <exception>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "storage/io/file.h"

namespace gneiss {
namespace {

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

// RocksDB hands on statuses, and no exception would come through it.
template <class Call>
IOStatus status_of(const Call& call) {
  try {
    call();
    return IOStatus::OK();
  } catch (const std::exception& error) {
    return IOStatus::IOError(error.what());
  }
}

class WritableFile final : public rocksdb::FSWritableFile {
 public:
  explicit WritableFile(File file) : file_(std::move(file)), bytes_(file_.size()) {}

  using FSWritableFile::Append;
  IOStatus Append(const rocksdb::Slice& data, const IOOptions&, IODebugContext*) override {
    return status_of([&] {
      file_.write_at(bytes_, std::as_bytes(std::span(data.data(), data.size())));
      bytes_ += data.size();
    });
  }
  // Of a log that an earlier process left: where RocksDB reserved space for it, it is longer than its
  // records.
  IOStatus Truncate(std::uint64_t bytes, const IOOptions&, IODebugContext*) override {
    return status_of([&] {
      file_.resize(bytes);
      bytes_ = bytes;
    });
  }
  IOStatus Flush(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }  // keeps no buffer
  IOStatus Sync(const IOOptions&, IODebugContext*) override {
    return status_of([&] { file_.sync(); });
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override {
    file_ = File();
    return IOStatus::OK();
  }
  bool IsSyncThreadSafe() const override { return true; }
  std::uint64_t GetFileSize(const IOOptions&, IODebugContext*) override { return bytes_; }

 private:
  File file_;
  std::uint64_t bytes_;
};

class Directory final : public rocksdb::FSDirectory {
 public:
  explicit Directory(std::string path) : path_(std::move(path)) {}

  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    return status_of([&] { sync_folder(path_); });
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
  std::string path_;
};

// What a catalog never asks for (files that are written again or at any place) stays RocksDB's.
class CatalogFiles final : public rocksdb::FileSystemWrapper {
 public:
  CatalogFiles() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "GneissCatalogFiles"; }

  IOStatus NewWritableFile(const std::string& path, const FileOptions&,
                           std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext*) override {
    return status_of([&] { *file = std::make_unique<WritableFile>(File::create(path)); });
  }
  IOStatus ReopenWritableFile(const std::string& path, const FileOptions&,
                              std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext*) override {
    return status_of([&] { *file = std::make_unique<WritableFile>(File::open_existing(path)); });
  }
  IOStatus NewDirectory(const std::string& path, const IOOptions&,
                        std::unique_ptr<rocksdb::FSDirectory>* directory, IODebugContext*) override {
    return status_of([&] { *directory = std::make_unique<Directory>(path); });
  }
  // CURRENT names a manifest whose own name only the folder's sync makes durable, and RocksDB syncs it after
  // the rename: a power cut in between may have left a CURRENT that leads nowhere.
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* context) override {
    const IOStatus status = status_of([&] { sync_folder(std::filesystem::path(from).parent_path()); });
    return status.ok() ? FileSystemWrapper::RenameFile(from, to, options, context) : status;
  }
};

}  // namespace

rocksdb::Env* catalog_environment() {
  // Never destroyed: RocksDB's threads may still use it when the process ends.
  static rocksdb::Env* const only = rocksdb::NewCompositeEnv(std::make_shared<CatalogFiles>()).release();
  return only;
}

}  // namespace gneiss
