#include "tests/faults/crash_model.h"

#include <algorithm>
#include <functional>

namespace gneiss::test {
namespace {

constexpr std::uint64_t block_bytes = 4096;

void set_entry(std::map<std::string, std::size_t>& entries, const std::string& name,
               std::optional<std::size_t> node) {
  if (node) {
    entries[name] = *node;
  } else {
    entries.erase(name);
  }
}

}  // namespace

CrashModel::CrashModel(const std::filesystem::path& root, const Tree& base) : root_(root) {
  nodes_.push_back({.is_folder = true});
  for (const auto& [name, bytes] : base) {
    const bool is_folder = name.ends_with('/');
    const auto place = place_of(root_ + "/" + (is_folder ? name.substr(0, name.size() - 1) : name));
    nodes_.push_back({.is_folder = is_folder, .bytes = bytes, .durable_bytes = bytes});
    nodes_[place->folder].entries[place->name] = nodes_.size() - 1;
    nodes_[place->folder].durable_entries[place->name] = nodes_.size() - 1;
  }
}

std::string CrashModel::relative(const std::string& path) const {
  return path.size() > root_.size() ? path.substr(root_.size() + 1) : std::string();
}

std::optional<CrashModel::NodeId> CrashModel::find(const std::string& path) const {
  NodeId node = 0;
  const std::string names = relative(path);
  for (std::size_t at = 0; at < names.size();) {
    const std::size_t end = std::min(names.find('/', at), names.size());
    const auto entry = nodes_[node].entries.find(names.substr(at, end - at));
    if (entry == nodes_[node].entries.end()) return std::nullopt;
    node = entry->second;
    at = end + 1;
  }
  return node;
}

std::optional<CrashModel::Place> CrashModel::place_of(const std::string& path) const {
  const std::size_t slash = path.rfind('/');
  const auto folder = find(path.substr(0, slash));
  if (!folder) return std::nullopt;
  return Place{*folder, path.substr(slash + 1)};
}

void CrashModel::change(const Place& place, std::optional<NodeId> node) {
  set_entry(nodes_[place.folder].entries, place.name, node);
  nodes_[place.folder].unsynced_changes.push_back({operation_, place.name, node});
}

void CrashModel::write(Node& file, std::uint64_t offset, const std::string& data) {
  if (data.empty()) return;
  if (file.bytes.size() < offset + data.size()) file.bytes.resize(offset + data.size());
  file.bytes.replace(offset, data.size(), data);
  for (std::uint64_t block = offset / block_bytes; block * block_bytes < offset + data.size(); ++block)
    file.unsynced_blocks.insert(block);
}

void CrashModel::sync(Node& node) {
  if (!node.is_folder) {
    node.durable_bytes = node.bytes;
    node.unsynced_blocks.clear();
    node.is_emptied = false;
    return;
  }
  while (!node.unsynced_changes.empty()) make_durable(node.unsynced_changes.front().operation);
}

// With what else the operation changed, and what was done to those names before.
void CrashModel::make_durable(std::uint64_t operation) {
  for (Node& folder : nodes_) {
    std::set<std::string> names;
    for (const Change& change : folder.unsynced_changes) {
      if (change.operation == operation) names.insert(change.name);
    }
    std::erase_if(folder.unsynced_changes, [&](const Change& change) {
      if (change.operation > operation || !names.contains(change.name)) return false;
      set_entry(folder.durable_entries, change.name, change.node);
      return true;
    });
  }
}

void CrashModel::apply(const RecordedOperation& operation) {
  ++operation_;
  if (!operation.is_done) return;
  const bool is_nameless = operation.path.ends_with(" (deleted)");
  if (is_nameless && !nameless_.contains(operation.path)) {
    nodes_.push_back({});
    nameless_[operation.path] = nodes_.size() - 1;
  }
  const auto node = is_nameless ? nameless_.at(operation.path) : find(operation.path);
  switch (operation.kind) {
    case FileOperation::create:
      if (operation.is_new) {
        nodes_.push_back({});
        change(*place_of(operation.path), nodes_.size() - 1);
      } else if (operation.is_emptied && node) {
        nodes_[*node].bytes.clear();
        nodes_[*node].unsynced_blocks.clear();
        nodes_[*node].is_emptied = true;
      }
      break;
    case FileOperation::make_folder:
      nodes_.push_back({.is_folder = true});
      change(*place_of(operation.path), nodes_.size() - 1);
      break;
    case FileOperation::write:
      if (node) write(nodes_[*node], operation.offset, operation.data);
      break;
    case FileOperation::resize:
      if (node) nodes_[*node].bytes.resize(operation.offset);
      break;
    case FileOperation::reserve:
      if (node && nodes_[*node].bytes.size() < operation.offset) nodes_[*node].bytes.resize(operation.offset);
      break;
    case FileOperation::sync:
      if (node) sync(nodes_[*node]);
      break;
    case FileOperation::rename:
      if (!node) break;
      change(*place_of(operation.path), std::nullopt);
      change(*place_of(operation.second_path), *node);
      break;
    case FileOperation::link:
      if (node) change(*place_of(operation.second_path), *node);
      nameless_.erase(operation.path);
      break;
    case FileOperation::remove:
      if (const auto place = place_of(operation.path)) change(*place, std::nullopt);
      break;
    case FileOperation::open_only:
    case FileOperation::read:
    case FileOperation::punch_hole:  // of scratch files alone, which have no names
    case FileOperation::start_sync:
      break;
  }
}

namespace {

// Walks folders from the first node down.
template <class Node, class EntriesOf, class BytesOf>
Tree to_tree(const std::vector<Node>& nodes, const EntriesOf& entries_of, const BytesOf& bytes_of) {
  Tree tree;
  const std::function<void(std::size_t, const std::string&)> walk = [&](std::size_t folder,
                                                                        const std::string& path) {
    for (const auto& [name, node] : entries_of(folder)) {
      if (nodes[node].is_folder) {
        tree[path + name + "/"];
        walk(node, path + name + "/");
      } else {
        tree[path + name] = bytes_of(node);
      }
    }
  };
  walk(0, "");
  return tree;
}

}  // namespace

Tree CrashModel::now() const {
  return to_tree(
      nodes_, [&](NodeId node) { return nodes_[node].entries; },
      [&](NodeId node) { return nodes_[node].bytes; });
}

Tree CrashModel::only_durable() const {
  return to_tree(
      nodes_, [&](NodeId node) { return nodes_[node].durable_entries; },
      [&](NodeId node) { return nodes_[node].durable_bytes; });
}

Tree CrashModel::with_only_the_last_change() const {
  std::vector<Entries> entries;
  for (const Node& node : nodes_) {
    Entries& of_node = entries.emplace_back(node.durable_entries);
    for (const Change& change : node.unsynced_changes) {
      if (change.operation == operation_) set_entry(of_node, change.name, change.node);
    }
  }
  return to_tree(
      nodes_, [&](NodeId node) { return entries[node]; },
      [&](NodeId node) { return nodes_[node].durable_bytes; });
}

std::string CrashModel::file_after_cut(const Node& file, RandomStream& random) const {
  // Until the emptying is on disk, so is all of the old file and nothing of the new one.
  if (file.is_emptied && random.below(2) == 0) return file.durable_bytes;
  std::string bytes = file.is_emptied ? std::string() : file.durable_bytes;
  if (random.below(2) == 0) bytes.resize(file.bytes.size());
  const double share = random.uniform();
  for (const std::uint64_t block : file.unsynced_blocks) {
    const std::uint64_t at = block * block_bytes;
    if (random.uniform() >= share || at >= bytes.size() || at >= file.bytes.size()) continue;
    const std::uint64_t end = std::min({at + block_bytes, bytes.size(), file.bytes.size()});
    bytes.replace(at, end - at, file.bytes, at, end - at);
  }
  return bytes;
}

Tree CrashModel::after_power_cut(std::uint64_t seed) const {
  RandomStream random(seed);
  std::set<std::uint64_t> unsynced;
  for (const Node& node : nodes_) {
    for (const Change& change : node.unsynced_changes) unsynced.insert(change.operation);
  }
  // As a journal does it, all until one of them; or any.
  const bool in_order = random.below(2) == 0;
  const double share = random.uniform();
  std::set<std::uint64_t> done;
  for (const std::uint64_t operation : unsynced) {
    const bool is_done = random.uniform() < share;
    if (is_done) done.insert(operation);
    if (!is_done && in_order) break;
  }
  std::vector<Entries> entries;
  std::vector<std::string> bytes;
  for (const Node& node : nodes_) {
    Entries& of_node = entries.emplace_back(node.durable_entries);
    for (const Change& change : node.unsynced_changes) {
      if (done.contains(change.operation)) set_entry(of_node, change.name, change.node);
    }
    bytes.push_back(node.is_folder ? std::string() : file_after_cut(node, random));
  }
  return to_tree(
      nodes_, [&](NodeId node) { return entries[node]; }, [&](NodeId node) { return bytes[node]; });
}

}  // namespace gneiss::test
