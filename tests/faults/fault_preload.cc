// Stands between a program and the C library, by LD_PRELOAD, and records, fails or cuts short what it does to
// the files below one folder. The environment says what: see fault_log.h.
//
// Why:     the program that is tested is the one that is shipped, RocksDB and the standard library included.
// What:    every function that they import and that changes files, as `nm -D --undefined-only` lists them;
//          reads only wait (tests/support/faulty_core.h does more to them).
// Threads: one operation at a time, so that the record's order is the files'.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/faults/fault_log.h"

namespace {

using gneiss::test::FaultRecord;
using gneiss::test::FileOperation;

enum class Mode { off, record, kill, tear, after, fail, flip, lose, stall };

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::uint64_t number(const char* name, std::uint64_t otherwise) {
  const std::string text = environment(name);
  return text.empty() ? otherwise : std::strtoull(text.c_str(), nullptr, 10);
}

Mode mode_of(std::string_view name) {
  if (name == "record") return Mode::record;
  if (name == "kill") return Mode::kill;
  if (name == "tear") return Mode::tear;
  if (name == "after") return Mode::after;
  if (name == "flip") return Mode::flip;
  if (name == "lose") return Mode::lose;
  if (name == "stall") return Mode::stall;
  return name == "fail" ? Mode::fail : Mode::off;
}

struct Settings {
  std::string folder = environment(gneiss::test::fault_folder_variable);
  Mode mode = folder.empty() ? Mode::off : mode_of(environment(gneiss::test::fault_mode_variable));
  std::uint64_t at = number(gneiss::test::fault_at_variable, 0);
  std::uint64_t kinds = number(gneiss::test::fault_kinds_variable, gneiss::test::all_operations);
  int error = static_cast<int>(number(gneiss::test::fault_error_variable, EIO));
  std::uint64_t bit = number(gneiss::test::fault_bit_variable, 0);
  std::chrono::milliseconds stall{number(gneiss::test::fault_stall_variable, 0)};
  bool is_lasting = number(gneiss::test::fault_lasting_variable, 0) != 0;
  int log = -1;
  std::mutex mutex;         // guards the count, the log and the files themselves
  std::uint64_t count = 0;  // of operations that count

  Settings() {
    if (mode == Mode::off) return;
    const std::string path = environment(gneiss::test::fault_log_variable);
    // Far above the few that a program counts on.
    const long low =
        ::syscall(SYS_openat, AT_FDCWD, path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    log = ::fcntl(static_cast<int>(low), F_DUPFD_CLOEXEC, 900);
    ::close(static_cast<int>(low));
    ::alarm(static_cast<unsigned>(number(gneiss::test::fault_seconds_variable, 0)));
  }
};

Settings& settings() {
  static auto* const only = new Settings;  // never destroyed: other libraries' ends still write
  return *only;
}

// An alarm is set also where the program hangs before its first file.
[[gnu::constructor]] void begin() { settings(); }

void put(int descriptor, const void* data, std::size_t bytes) {
  const auto* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const long put = ::syscall(SYS_write, descriptor, at, bytes);
    if (put <= 0) return;
    at += put;
    bytes -= static_cast<std::size_t>(put);
  }
}

std::string name_of(int descriptor) {
  std::array<char, 4096> name{};
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t bytes = ::readlink(link.c_str(), name.data(), name.size());
  return bytes > 0 ? std::string(name.data(), static_cast<std::size_t>(bytes)) : "";
}

std::string name_of(int folder, const char* path) {
  std::array<char, 4096> here{};
  std::string base;
  if (path[0] != '/' && folder != AT_FDCWD) base = name_of(folder);
  if (path[0] != '/' && folder == AT_FDCWD && ::getcwd(here.data(), here.size()) != nullptr)
    base = here.data();
  std::string name = (std::filesystem::path(base) / path).lexically_normal();
  if (name.ends_with('/')) name.pop_back();
  return name;
}

bool is_inside(std::string_view path) {
  const std::string& folder = settings().folder;
  return path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/');
}

// The offset of a write that goes where the file's own place is.
constexpr std::uint64_t own_place = ~std::uint64_t{0};

// One operation: what it is, and how it is done in whole or in part.
struct Operation {
  FileOperation kind{};
  std::string path;
  std::string second_path{};
  std::uint64_t offset = 0;
  FaultRecord record{};  // what only the operation knows
  const iovec* pieces = nullptr;
  int piece_count = 0;
  bool is_direct = false;
};

void tell(const Operation& operation, std::int64_t result, std::size_t data_bytes) {
  FaultRecord record = operation.record;
  record.kind = operation.kind;
  record.error = result < 0 ? errno : 0;
  record.path_bytes = static_cast<std::uint32_t>(operation.path.size());
  record.second_path_bytes = static_cast<std::uint32_t>(operation.second_path.size());
  record.offset = operation.offset;
  record.data_bytes = data_bytes;
  const int log = settings().log;
  put(log, &record, sizeof(record));
  put(log, operation.path.data(), operation.path.size());
  put(log, operation.second_path.data(), operation.second_path.size());
  for (int i = 0; i < operation.piece_count && data_bytes > 0; ++i) {
    const std::size_t take = std::min(data_bytes, operation.pieces[i].iov_len);
    put(log, operation.pieces[i].iov_base, take);
    data_bytes -= take;
  }
}

[[noreturn]] void die() {
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

// Half of a write, in whole blocks where there are several or direct access allows no less.
std::size_t half_of(std::size_t bytes, bool is_direct) {
  return is_direct || bytes > 8192 ? bytes / 2 / 4096 * 4096 : bytes / 2;
}

// The drive keeps other bytes than it was given: those of `operation`, with one bit changed.
std::int64_t write_flipped(const Operation& operation, std::size_t bytes, int descriptor) {
  constexpr std::size_t alignment = 4096;  // what direct access wants of memory
  std::vector<char> memory(bytes + alignment);
  char* data = memory.data() + (alignment - reinterpret_cast<std::uintptr_t>(memory.data()) % alignment);
  std::size_t filled = 0;
  for (int i = 0; i < operation.piece_count; ++i) {
    std::memcpy(data + filled, operation.pieces[i].iov_base, operation.pieces[i].iov_len);
    filled += operation.pieces[i].iov_len;
  }
  const std::uint64_t bit = settings().bit % (bytes * 8);
  data[bit / 8] = static_cast<char>(data[bit / 8] ^ (1 << bit % 8));
  if (operation.offset == own_place) return ::syscall(SYS_write, descriptor, data, bytes);
  return ::syscall(SYS_pwrite64, descriptor, data, bytes, operation.offset);
}

// Runs `perform(bytes)`, which does the operation with at most so many bytes of a write, or what is asked
// instead.
//   descriptor  of a write
template <class Perform>
std::int64_t intercept(Operation& operation, std::size_t bytes, const Perform& perform, int descriptor = -1) {
  Settings& all = settings();
  const std::scoped_lock lock(all.mutex);
  const bool counts = (all.kinds & mask_of(operation.kind)) != 0;
  const std::uint64_t number = counts ? ++all.count : 0;
  const bool is_it = counts && (number == all.at || (all.is_lasting && number > all.at));
  const bool is_write = operation.kind == FileOperation::write;
  const std::size_t half = half_of(bytes, operation.is_direct);
  if (is_it && all.mode != Mode::record) {
    if (number == all.at) {
      errno = 0;
      tell(operation, 0, 0);
    }
    switch (all.mode) {
      case Mode::kill:
        die();
      case Mode::tear:
        if (is_write) perform(half);
        die();
      case Mode::after:
        perform(bytes);
        die();
      case Mode::fail:
        if (all.error == 0) return perform(half > 0 ? half : bytes);
        errno = all.error;
        return -1;
      case Mode::flip:
        return is_write && bytes > 0 ? write_flipped(operation, bytes, descriptor) : perform(bytes);
      case Mode::lose:
        if (!is_write) return perform(bytes);
        if (operation.offset == own_place) ::lseek(descriptor, static_cast<off_t>(bytes), SEEK_CUR);
        return static_cast<std::int64_t>(bytes);
      case Mode::stall:
        std::this_thread::sleep_for(all.stall);  // and who comes after it waits for the mutex
        return perform(bytes);
      default:
        break;
    }
  }
  const std::int64_t result = perform(bytes);
  if (all.mode == Mode::record) {
    const int error = errno;
    tell(operation, result, is_write && result > 0 ? static_cast<std::size_t>(result) : 0);
    errno = error;
  }
  return result;
}

bool is_off() { return settings().mode == Mode::off; }

std::int64_t on_path(FileOperation kind, const std::string& path, const std::string& second,
                     const auto& perform) {
  if (is_off() || (!is_inside(path) && !is_inside(second))) return perform();
  Operation operation{.kind = kind, .path = path, .second_path = second};
  return intercept(operation, 0, [&](std::size_t) { return perform(); });
}

std::int64_t on_descriptor(FileOperation kind, int descriptor, std::uint64_t size, const auto& perform) {
  if (is_off()) return perform();
  std::string path = name_of(descriptor);
  if (!is_inside(path)) return perform();
  Operation operation{.kind = kind, .path = std::move(path), .offset = size};
  return intercept(operation, 0, [&](std::size_t) { return perform(); });
}

// `perform(bytes)` writes at most so many; `offset` of one that moves the file's own place is found
// afterwards.
std::int64_t on_write(int descriptor, const iovec* pieces, int count, std::int64_t offset,
                      const auto& perform) {
  std::size_t bytes = 0;
  for (int i = 0; i < count; ++i) bytes += pieces[i].iov_len;
  if (is_off()) return perform(bytes);
  std::string path = name_of(descriptor);
  if (!is_inside(path)) return perform(bytes);
  Operation operation{.kind = FileOperation::write,
                      .path = std::move(path),
                      .offset = static_cast<std::uint64_t>(offset),
                      .pieces = pieces,
                      .piece_count = count,
                      .is_direct = (::fcntl(descriptor, F_GETFL) & O_DIRECT) != 0};
  return intercept(
      operation, bytes,
      [&](std::size_t most) {
        const std::int64_t put = perform(most);
        if (offset < 0 && put > 0)
          operation.offset = static_cast<std::uint64_t>(::lseek(descriptor, 0, SEEK_CUR) - put);
        return put;
      },
      descriptor);
}

bool exists(const std::string& path) {
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0;
}

std::int64_t on_open(int folder, const char* path, int flags, const auto& perform) {
  if (is_off()) return perform();
  std::string name = name_of(folder, path);
  // A second descriptor of an open file, which may have no name any more.
  if (name.starts_with("/proc/self/fd/")) name = name_of(std::atoi(name.c_str() + name.rfind('/') + 1));
  if (!is_inside(name)) return perform();
  const bool is_unnamed = (flags & O_TMPFILE) == O_TMPFILE;
  const bool creates = (flags & (O_CREAT | O_TRUNC)) != 0 || is_unnamed;
  Operation operation{.kind = creates ? FileOperation::create : FileOperation::open_only,
                      .path = std::move(name)};
  return intercept(operation, 0, [&](std::size_t) {
    const bool was_there = exists(operation.path);
    operation.record.is_new = !was_there && !is_unnamed ? 1 : 0;
    operation.record.is_emptied = was_there && (flags & O_TRUNC) != 0 ? 1 : 0;
    return perform();
  });
}

int open_at(int folder, const char* path, int flags, mode_t mode) {
  return static_cast<int>(
      on_open(folder, path, flags, [&] { return ::syscall(SYS_openat, folder, path, flags, mode); }));
}

int remove_at(int folder, const char* path, int flags) {
  return static_cast<int>(on_path(FileOperation::remove, name_of(folder, path), "",
                                  [&] { return ::syscall(SYS_unlinkat, folder, path, flags); }));
}

int reserve(int descriptor, int mode, off_t offset, off_t length) {
  const bool gives_back = (mode & FALLOC_FL_PUNCH_HOLE) != 0;
  const bool grows = (mode & FALLOC_FL_KEEP_SIZE) == 0;
  return static_cast<int>(
      on_descriptor(gives_back ? FileOperation::punch_hole : FileOperation::reserve, descriptor,
                    grows ? static_cast<std::uint64_t>(offset + length) : 0,
                    [&] { return ::syscall(SYS_fallocate, descriptor, mode, offset, length); }));
}

template <class Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

std::FILE* open_stream(const char* name, const char* path, const char* mode) {
  const auto real = next<std::FILE* (*)(const char*, const char*)>(name);
  int flags = std::strchr(mode, 'r') != nullptr ? 0 : O_CREAT;
  if (std::strchr(mode, 'w') != nullptr) flags |= O_TRUNC;
  std::FILE* stream = nullptr;
  on_open(AT_FDCWD, path, flags, [&]() -> std::int64_t {
    stream = real(path, mode);
    return stream == nullptr ? -1 : 0;
  });
  return stream;
}

DIR* open_folder(const char* path) {
  const auto real = next<DIR* (*)(const char*)>("opendir");
  DIR* folder = nullptr;
  on_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, [&]() -> std::int64_t {
    folder = real(path);
    return folder == nullptr ? -1 : 0;
  });
  return folder;
}

mode_t mode_in(int flags, va_list arguments) {
  return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t) : 0;
}

}  // namespace

// The C library's own declarations are matched, with both names where it has two.
extern "C" {

#define GNEISS_OPEN(name)                          \
  int name(const char* path, int flags, ...) {     \
    va_list arguments;                             \
    va_start(arguments, flags);                    \
    const mode_t mode = mode_in(flags, arguments); \
    va_end(arguments);                             \
    return open_at(AT_FDCWD, path, flags, mode);   \
  }
#define GNEISS_OPENAT(name)                                \
  int name(int folder, const char* path, int flags, ...) { \
    va_list arguments;                                     \
    va_start(arguments, flags);                            \
    const mode_t mode = mode_in(flags, arguments);         \
    va_end(arguments);                                     \
    return open_at(folder, path, flags, mode);             \
  }
GNEISS_OPEN(open)
GNEISS_OPEN(open64)
GNEISS_OPENAT(openat)
GNEISS_OPENAT(openat64)

std::FILE* fopen(const char* path, const char* mode) { return open_stream("fopen", path, mode); }
std::FILE* fopen64(const char* path, const char* mode) { return open_stream("fopen64", path, mode); }

DIR* opendir(const char* path) { return open_folder(path); }

ssize_t write(int descriptor, const void* data, size_t bytes) {
  const iovec piece{const_cast<void*>(data), bytes};
  return on_write(descriptor, &piece, 1, -1,
                  [&](std::size_t most) { return ::syscall(SYS_write, descriptor, data, most); });
}

ssize_t pread(int descriptor, void* data, size_t bytes, off_t offset) {
  const auto perform = [&] { return ::syscall(SYS_pread64, descriptor, data, bytes, offset); };
  if (settings().mode != Mode::stall) return perform();
  return on_descriptor(FileOperation::read, descriptor, bytes, perform);
}
ssize_t pread64(int descriptor, void* data, size_t bytes, off64_t offset) {
  return pread(descriptor, data, bytes, offset);
}

ssize_t pwrite(int descriptor, const void* data, size_t bytes, off_t offset) {
  const iovec piece{const_cast<void*>(data), bytes};
  return on_write(descriptor, &piece, 1, offset,
                  [&](std::size_t most) { return ::syscall(SYS_pwrite64, descriptor, data, most, offset); });
}
ssize_t pwrite64(int descriptor, const void* data, size_t bytes, off64_t offset) {
  return pwrite(descriptor, data, bytes, offset);
}

ssize_t writev(int descriptor, const iovec* pieces, int count) {
  return on_write(descriptor, pieces, count, -1, [&](std::size_t most) -> std::int64_t {
    std::size_t all = 0;
    for (int i = 0; i < count; ++i) all += pieces[i].iov_len;
    if (most == all) return ::syscall(SYS_writev, descriptor, pieces, count);
    return ::syscall(SYS_write, descriptor, pieces[0].iov_base, std::min(most, pieces[0].iov_len));
  });
}

int ftruncate(int descriptor, off_t size) noexcept {
  return static_cast<int>(on_descriptor(FileOperation::resize, descriptor, static_cast<std::uint64_t>(size),
                                        [&] { return ::syscall(SYS_ftruncate, descriptor, size); }));
}
int ftruncate64(int descriptor, off64_t size) noexcept { return ftruncate(descriptor, size); }

int fallocate(int descriptor, int mode, off_t offset, off_t length) {
  return reserve(descriptor, mode, offset, length);
}
int fallocate64(int descriptor, int mode, off64_t offset, off64_t length) {
  return reserve(descriptor, mode, offset, length);
}
// Returns the error instead of setting it.
int posix_fallocate(int descriptor, off_t offset, off_t length) {
  return reserve(descriptor, 0, offset, length) == 0 ? 0 : errno;
}
int posix_fallocate64(int descriptor, off64_t offset, off64_t length) {
  return posix_fallocate(descriptor, offset, length);
}

int fsync(int descriptor) {
  return static_cast<int>(
      on_descriptor(FileOperation::sync, descriptor, 0, [&] { return ::syscall(SYS_fsync, descriptor); }));
}
int fdatasync(int descriptor) {
  return static_cast<int>(on_descriptor(FileOperation::sync, descriptor, 0,
                                        [&] { return ::syscall(SYS_fdatasync, descriptor); }));
}
int sync_file_range(int descriptor, off64_t offset, off64_t length, unsigned flags) {
  return static_cast<int>(on_descriptor(FileOperation::start_sync, descriptor, 0, [&] {
    return ::syscall(SYS_sync_file_range, descriptor, offset, length, flags);
  }));
}

int rename(const char* from, const char* to) noexcept {
  return static_cast<int>(on_path(FileOperation::rename, name_of(AT_FDCWD, from), name_of(AT_FDCWD, to),
                                  [&] { return ::syscall(SYS_rename, from, to); }));
}
int link(const char* from, const char* to) noexcept {
  return static_cast<int>(on_path(FileOperation::link, name_of(AT_FDCWD, from), name_of(AT_FDCWD, to),
                                  [&] { return ::syscall(SYS_link, from, to); }));
}
// Only what gives a nameless file its name: the link in /proc leads to what the writes to it were recorded
// under.
int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) noexcept {
  std::string source = name_of(from_folder, from);
  std::array<char, 4096> target{};
  if ((flags & AT_SYMLINK_FOLLOW) != 0) {
    const ssize_t bytes = ::readlink(source.c_str(), target.data(), target.size());
    if (bytes > 0) source.assign(target.data(), static_cast<std::size_t>(bytes));
  }
  return static_cast<int>(on_path(FileOperation::link, source, name_of(to_folder, to), [&] {
    return ::syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
  }));
}
int mkdir(const char* path, mode_t mode) noexcept {
  return static_cast<int>(on_path(FileOperation::make_folder, name_of(AT_FDCWD, path), "",
                                  [&] { return ::syscall(SYS_mkdir, path, mode); }));
}

int unlink(const char* path) noexcept { return remove_at(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char* path, int flags) noexcept { return remove_at(folder, path, flags); }
int rmdir(const char* path) noexcept { return remove_at(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char* path) noexcept {
  struct stat status{};
  const bool is_folder = ::lstat(path, &status) == 0 && S_ISDIR(status.st_mode);
  return remove_at(AT_FDCWD, path, is_folder ? AT_REMOVEDIR : 0);
}

}  // extern "C"
