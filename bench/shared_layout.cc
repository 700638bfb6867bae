// How the order of shared rows decides what a batch reads: random, MinHash as DiskGNN orders them, whole
// sets.
//
//   bench_shared_layout DATASET PREPARATION GROUP_SIZE...
//
// Takes the rows that the preparation's training batches read from disk, shares them in groups of so many
// consecutive batches, and counts for each order what the batches then read: 4 KiB pages, gaps of up to 8 KiB
// read over. `time` is bytes plus 9,000 for each read that lies apart (a random 4 KiB read takes as long as
// 13 KB in sequence), over the bytes needed: 1 is the least. Memory: about 40 bytes a node; not for large
// graphs.
#include "storage/pack/shared_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <vector>

#include "storage/base/random.h"
#include "storage/format/preparation.h"

namespace gneiss {
namespace {

constexpr double bytes_lost_a_read = 9000;
enum class Order { random, minhash_1, minhash_4, sets };
constexpr std::array<std::pair<Order, const char*>, 4> orders{{{Order::random, "random"},
                                                               {Order::minhash_1, "MinHash, 1 hash"},
                                                               {Order::minhash_4, "MinHash, 4 hashes"},
                                                               {Order::sets, "whole sets (Gray code)"}}};

struct Reads {
  double stored = 0;
  double bytes = 0;
  double pieces = 0;
  double needed = 0;
};

std::uint64_t min_hash(std::uint64_t set, std::uint64_t which) {
  std::uint64_t least = ~std::uint64_t{0};
  for (std::uint64_t bit = 0; bit < 64; ++bit) {
    if ((set >> bit & 1) != 0) least = std::min(least, mix_key(which, bit));
  }
  return least;
}

std::uint64_t gray_rank(std::uint64_t set) {
  for (int shift = 1; shift < 64; shift *= 2) set ^= set >> shift;
  return set;
}

// What rows are sorted by; ties by the node's own hash, so that ids lend no order.
using Key = std::array<std::uint64_t, 5>;
Key key_of(Order order, std::uint64_t set, std::uint64_t node) {
  const std::uint64_t tie = mix64(node);
  switch (order) {
    case Order::random:
      return {tie};
    case Order::minhash_1:
      return {min_hash(set, 1), tie};
    case Order::minhash_4:
      return {min_hash(set, 1), min_hash(set, 2), min_hash(set, 3), min_hash(set, 4), tie};
    case Order::sets:
      break;
  }
  return {gray_rank(set), tie};
}

void count_reads(const std::vector<std::uint64_t>& sets, std::size_t batches, std::uint64_t row_bytes,
                 Reads& reads) {
  reads.stored += static_cast<double>(sets.size() * row_bytes);
  for (std::size_t batch = 0; batch < batches; ++batch) {
    const std::uint64_t bit = std::uint64_t{1} << (63 - batch);
    std::uint64_t end = 0;
    bool first = true;
    for (std::uint64_t position = 0; position < sets.size(); ++position) {
      if ((sets[position] & bit) == 0) continue;
      reads.needed += static_cast<double>(row_bytes);
      const std::uint64_t from = round_down(position * row_bytes, shared_page_bytes);
      const std::uint64_t to = round_up((position + 1) * row_bytes, shared_page_bytes);
      if (first || from > end + shared_gap_bytes) {
        ++reads.pieces;
        reads.bytes += static_cast<double>(to - from);
      } else if (to > end) {
        reads.bytes += static_cast<double>(to - end);
      }
      end = std::max(end, to);
      first = false;
    }
  }
}

void study(const Dataset& dataset, const Preparation& preparation, std::size_t group_size) {
  const std::uint64_t node_count = dataset.info().node_count;
  const std::uint64_t row_bytes = dataset.info().row_bytes();
  std::vector<BatchKey> keys;
  for (const BatchEntry& entry : preparation.pool().entries()) {
    if (entry.key.split == Split::train) keys.push_back(entry.key);
  }
  std::array<Reads, orders.size()> sums{};
  for (const BatchGroup& group : group_batches(keys, group_size, group_batches_max)) {
    std::vector<std::uint64_t> sets(node_count);
    for (std::size_t i = 0; i < group.batch_count; ++i) {
      const BatchEntry& entry = preparation.pool().entries()[group.first_batch + i];
      const auto nodes = preparation.pool().read_input_nodes(entry);
      for (const NodeId node : std::span(nodes).subspan(entry.cpu_rows)) {
        sets[to_index(node)] |= std::uint64_t{1} << (63 - i);
      }
    }
    for (std::size_t o = 0; o < orders.size(); ++o) {
      std::vector<std::pair<Key, std::uint64_t>> rows;
      for (std::uint64_t node = 0; node < node_count; ++node) {
        if (sets[node] != 0) rows.emplace_back(key_of(orders[o].first, sets[node], node), sets[node]);
      }
      std::ranges::sort(rows);
      std::vector<std::uint64_t> in_order;
      in_order.reserve(rows.size());
      for (const auto& row : rows) in_order.push_back(row.second);
      count_reads(in_order, group.batch_count, row_bytes, sums[o]);
    }
  }
  const double features = static_cast<double>(node_count) * static_cast<double>(row_bytes);
  for (std::size_t o = 0; o < orders.size(); ++o) {
    const Reads& reads = sums[o];
    fmt::print("| {} | {} | {:.2f} | {:.3f} | {:.0f} | {:.3f} |\n", group_size, orders[o].second,
               reads.stored / features, reads.bytes / reads.needed,
               reads.pieces / static_cast<double>(keys.size()),
               (reads.bytes + bytes_lost_a_read * reads.pieces) / reads.needed);
    std::fflush(stdout);
  }
}

int run(std::span<char*> arguments) {
  if (arguments.size() < 4) {
    fmt::print(stderr, "usage: {} DATASET PREPARATION GROUP_SIZE...\n", arguments[0]);
    return 2;
  }
  const Dataset dataset = Dataset::open(arguments[1]);
  const Preparation preparation = Preparation::open(dataset, arguments[2]);
  fmt::print(
      "| batches a group | order | stored / features | read / needed | reads a batch | time / least |\n"
      "|---|---|---|---|---|---|\n");
  for (const char* argument : arguments.subspan(3)) {
    std::size_t size = 0;
    const std::string_view text(argument);
    std::from_chars(text.data(), text.data() + text.size(), size);
    if (size < 1 || size > group_batches_max) {
      fmt::print(stderr, "a group of '{}' batches is not possible; give 1 to {}\n", text, group_batches_max);
      return 2;
    }
    study(dataset, preparation, size);
  }
  return 0;
}

}  // namespace
}  // namespace gneiss

int main(int count, char** arguments) {
  try {
    return gneiss::run(std::span(arguments, static_cast<std::size_t>(count)));
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
