// What a power cut may leave of recorded operations on files: a file system that promises no more than POSIX
// does.
//
// Durable:  a file's bytes and size once it was synced; a name's creation, change or removal once its folder
// was. The rest: any of the written blocks of 4 KiB in any order, the old size or the new one (then zeros
// where no block came),
//           and any of the changes of names. As on real file systems a rename is done whole or not at all.
// Source:   Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014): the weakest of their
//           models, with renames that are atomic.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "storage/base/random.h"
#include "tests/faults/scenario.h"

namespace gneiss::test {

class CrashModel {
 public:
  // `base` lies below `root`, whole and durable.
  CrashModel(const std::filesystem::path& root, const Tree& base);

  void apply(const RecordedOperation& operation);

  Tree now() const;           // as every process sees it
  Tree only_durable() const;  // the least that a power cut leaves
  // What hurts an order that was taken for granted: of all that was not synced, only the last is there.
  Tree with_only_the_last_change() const;
  // One of the many trees that it may leave.
  Tree after_power_cut(std::uint64_t seed) const;

 private:
  using NodeId = std::size_t;
  struct Change {
    std::uint64_t operation = 0;
    std::string name;
    std::optional<NodeId> node;  // nothing: removed
  };
  using Entries = std::map<std::string, NodeId>;
  struct Node {
    bool is_folder = false;
    std::string bytes{};
    std::string durable_bytes{};
    std::set<std::uint64_t> unsynced_blocks{};
    bool is_emptied = false;  // since it was synced
    Entries entries{};
    Entries durable_entries{};
    std::vector<Change> unsynced_changes{};
  };

  struct Place {
    NodeId folder;
    std::string name;
  };
  std::string relative(const std::string& path) const;
  std::optional<NodeId> find(const std::string& path) const;
  std::optional<Place> place_of(const std::string& path) const;
  void change(const Place& place, std::optional<NodeId> node);
  void write(Node& file, std::uint64_t offset, const std::string& data);
  void sync(Node& node);
  void make_durable(std::uint64_t operation);
  std::string file_after_cut(const Node& file, RandomStream& random) const;

  std::string root_;
  std::vector<Node> nodes_;
  std::map<std::string, NodeId> nameless_;  // by what the system calls them
  std::uint64_t operation_ = 0;
};

}  // namespace gneiss::test
