// Tells of a drive that does not answer: once, what is waited for and where.
//
// Why:     a call into the kernel waits for a hung drive without end and without a word; all that the user
//          sees is a bar that stands.
// What:    who makes such a call says so for as long as it takes (DriveWait), and the watch's thread looks
//          around ten times in `notice_seconds`. IoEngine tells of its reads in flight itself.
// Time:    counted in looks: a process that was stopped (SIGSTOP, a debugger) has no stalling drive.
// Threads: any. One watch at a time; without one a DriveWait does nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <thread>

namespace gneiss {

class StallWatch {
 public:
  // Where the system gives no thread there is no watch, and no error.
  explicit StallWatch(double notice_seconds = 5);
  ~StallWatch();
  StallWatch(const StallWatch&) = delete;
  StallWatch& operator=(const StallWatch&) = delete;

 private:
  std::jthread looker_;
};

class DriveWait {
 public:
  // "reading", "making durable": what is done to the file at `path`, which outlives this, as `attempt` does.
  //   bytes  from `offset`; 0: all of the file
  DriveWait(std::string_view attempt, const std::string& path, std::uint64_t offset = 0,
            std::uint64_t bytes = 0);
  ~DriveWait();
  DriveWait(const DriveWait&) = delete;
  DriveWait& operator=(const DriveWait&) = delete;

 private:
  friend class WaitList;
  std::string_view attempt_;
  const std::string& path_;
  std::uint64_t offset_;
  std::uint64_t bytes_;
  int looks_ = 0;  // of the watch's that this has been there for
  bool is_listed_ = false;
  DriveWait* previous_ = nullptr;
  DriveWait* next_ = nullptr;
};

}  // namespace gneiss
