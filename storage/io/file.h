// A file descriptor with an owner, and the few operations that must get errors, short transfers and
// durability right.
//
// Errors:  every failure is Error(io) with the path, the offset and the system's reason; reading past the
//          end is Error(corruption), for all our sizes come from headers that were checked.
// Durable: write to a temporary name, sync, rename, sync the folder: publish() is the last two steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace gneiss {

class File {
 public:
  File() = default;
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  // Missing, or no regular file: Error(input).
  //   name  what errors call it, where its path would tell nothing; empty: the path
  static File open_for_reading(const std::filesystem::path& path, std::string name = {});
  // Empty, readable and writable. What has the name, a link too, is removed: nothing is written through it.
  static File create(const std::filesystem::path& path);
  // A readable and writable file without a name: gone when closed, however the process ends. Lies in
  // `folder`, or in the system's temporary folder where that cannot be written.
  static File create_anonymous(const std::filesystem::path& folder);
  // The same, to be named by publish_as() later; an empty File where the file system of `folder` cannot.
  static File create_nameable(const std::filesystem::path& folder);
  // Readable and writable, kept as it is. A link is Error(corruption): it may lead anywhere.
  static File open_existing(const std::filesystem::path& path);

  // A second descriptor on the same file that bypasses the page cache; an empty File where the file
  // system refuses (tmpfs), or there is no way to it. Offsets, sizes and memory must then be multiples of
  // direct_io_alignment.
  File reopen_direct(bool writable) const;

  explicit operator bool() const noexcept { return descriptor_ >= 0; }
  int descriptor() const noexcept { return descriptor_; }
  const std::string& path() const noexcept { return path_; }

  std::uint64_t size() const;
  void read_at(std::uint64_t offset, std::span<std::byte> target) const;
  void write_at(std::uint64_t offset, std::span<const std::byte> source) const;
  void resize(std::uint64_t bytes) const;
  // Takes the space now, so that a full disk is known before the work: Error(io) with what is missing.
  void reserve(std::uint64_t bytes) const;
  void sync() const;
  // Asks the kernel to begin writing the range to the drive, without waiting for it.
  void start_write_back(std::uint64_t offset, std::uint64_t bytes) const noexcept;
  // Waits until the range is on its way to the drive, then drops it from the page cache: bounds dirty memory.
  // Throws Error(io) where a write to the drive failed: sync() would not tell of it any more.
  void write_back(std::uint64_t offset, std::uint64_t bytes) const;
  // By what a file without a name may be opened once more.
  std::filesystem::path descriptor_path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }
  // Gives a synced file of create_nameable() its name, durably; what had it is replaced.
  void publish_as(const std::filesystem::path& path) const;
  // Tells the kernel that pages of [offset, offset + bytes) need not stay in memory; 0 bytes: to the end.
  void drop_cache(std::uint64_t offset = 0, std::uint64_t bytes = 0) const noexcept;

 private:
  File(int descriptor, std::string path, bool is_direct = false)
      : descriptor_(descriptor), path_(std::move(path)), is_direct_(is_direct) {}
  int descriptor_ = -1;
  std::string path_;
  bool is_direct_ = false;
};

void sync_folder(const std::filesystem::path& folder);
// Renames a synced `temporary` to `target` and makes the rename durable. What cannot be renamed stays, for
// the same command to go on with it.
void publish(const std::filesystem::path& temporary, const std::filesystem::path& target);
// The same for a file that nothing goes on with: what cannot be renamed is removed.
void publish_or_remove(const std::filesystem::path& temporary, const std::filesystem::path& target);
// A second name for the synced `source`, durable; takes the place of what is called `target`. Where the file
// system has no hard links, a copy. Error(io).
void publish_link(const std::filesystem::path& source, const std::filesystem::path& target);
std::uint64_t free_bytes(const std::filesystem::path& folder);
// For what the user named: temporary, sync, rename; a link stays one, and a device is written to.
void write_text_file(const std::filesystem::path& given, std::string_view text);
// For files of our own: the same, but a link is replaced and not followed.
void replace_file(const std::filesystem::path& path, std::string_view text);
std::string read_text_file(const std::filesystem::path& path);

}  // namespace gneiss
