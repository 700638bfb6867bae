// How shared rows are laid out decides what a batch reads, for a given space on the drive: DiskGNN's layout,
// random order, ours, and the bytes that must be read at the least.
//
//   bench_shared_layout DATASET PREPARATION GROUP_SIZES BUDGETS
//
// GROUP_SIZES (1,4,12,25,49): consecutive batches that share rows. BUDGETS (1.5,3,5,10): space, as multiples
// of the features; for each, every layout's best is printed. Counted for the rows that the preparation's
// training batches read from disk, in 4 KiB pages:
// - random, MinHash: as DiskGNN has it. Rows that few batches of a group read are copied for each (`copied
//   below`: how few), the others are shared in the order of one or four MinHashes; group size and copies are
//   searched for each budget.
// - whole sets: as gneiss has it; all rows of a group are shared.
// Every layout reads over gaps that cost less than another read. `time / least` is bytes plus what the drive
// could read in the time of each read that lies apart (by its profile, measured with 'gneiss bench io
// --dataset'), over the bytes needed: 1 is the least. Memory: about 130 bytes a node; not for large graphs.
#include "storage/pack/shared_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "storage/base/aligned_buffer.h"
#include "storage/base/random.h"
#include "storage/format/drive_record.h"
#include "storage/format/preparation.h"

namespace gneiss {
namespace {

constexpr double usual_bytes_lost = 9000;
enum class Order { random, minhash_1, minhash_4, sets };
struct Layout {
  Order order;
  const char* name;
  bool may_copy;  // rows that few batches read
};
constexpr std::array<Layout, 4> layouts{{{Order::random, "random", true},
                                         {Order::minhash_1, "MinHash, 1 hash", true},
                                         {Order::minhash_4, "MinHash, 4 hashes", true},
                                         {Order::sets, "whole sets (gneiss)", false}}};
// Rows that fewer batches of a group read are copied; 1: none.
constexpr std::array<int, 6> copy_limits{1, 2, 3, 4, 6, 10};

struct Drive {
  double bytes_lost = usual_bytes_lost;  // by each read that lies apart
  std::uint64_t gap_bytes = usual_read_gap_bytes;
};

// Sums over all groups of one size.
struct Reads {
  double stored = 0;
  double bytes = 0;
  double pieces = 0;
  double needed = 0;
};

struct Result {
  std::size_t layout = 0;
  std::size_t group_size = 0;
  int copied_below = 1;
  Reads reads;

  double time_over_least(const Drive& drive) const {
    return (reads.bytes + drive.bytes_lost * reads.pieces) / reads.needed;
  }
};

// Of a group's batches, those that read a row.
class BatchSet {
 public:
  static constexpr std::size_t words = divide_up(group_batches_max, 64);

  void add(std::size_t batch) { bits_[batch / 64] |= std::uint64_t{1} << (63 - batch % 64); }
  bool empty() const { return bits_ == std::array<std::uint64_t, words>{}; }
  int count() const {
    int sum = 0;
    for (const std::uint64_t word : bits_) sum += std::popcount(word);
    return sum;
  }
  template <class Use>
  void for_each(const Use& use) const {
    for (std::size_t w = 0; w < words; ++w) {
      for (std::uint64_t left = bits_[w]; left != 0;) {
        const auto place = static_cast<std::size_t>(std::countl_zero(left));
        left &= ~(std::uint64_t{1} << (63 - place));
        use(64 * w + place);
      }
    }
  }
  // The set's place in a Gray code, whose consecutive sets differ in one batch.
  std::array<std::uint64_t, words> gray_rank() const {
    std::array<std::uint64_t, words> rank{};
    bool is_odd = false;
    for (std::size_t w = 0; w < words; ++w) {
      std::uint64_t word = bits_[w];
      for (int shift = 1; shift < 64; shift *= 2) word ^= word >> shift;
      rank[w] = is_odd ? ~word : word;
      is_odd = is_odd != (std::popcount(bits_[w]) % 2 != 0);
    }
    return rank;
  }

 private:
  std::array<std::uint64_t, words> bits_{};
};

std::uint64_t min_hash(const BatchSet& set, std::uint64_t which) {
  std::uint64_t least = ~std::uint64_t{0};
  set.for_each([&](std::size_t batch) { least = std::min(least, mix_key(which, batch)); });
  return least;
}

// What rows are sorted by; ties by the node's own hash, so that ids lend no order.
using Key = std::array<std::uint64_t, BatchSet::words + 1>;
Key key_of(Order order, const BatchSet& set, std::uint64_t node) {
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
  Key key{};
  std::ranges::copy(set.gray_rank(), key.begin());
  key.back() = tie;
  return key;
}

void count_reads(const std::vector<BatchSet>& sets, std::uint64_t row_bytes, std::uint64_t gap_bytes,
                 Reads& reads) {
  reads.stored += static_cast<double>(sets.size() * row_bytes);
  std::array<std::optional<std::uint64_t>, group_batches_max> ends;  // of what each batch reads
  for (std::uint64_t position = 0; position < sets.size(); ++position) {
    const std::uint64_t from = round_down(position * row_bytes, shared_page_bytes);
    const std::uint64_t to = round_up((position + 1) * row_bytes, shared_page_bytes);
    sets[position].for_each([&](std::size_t batch) {
      std::optional<std::uint64_t>& end = ends[batch];
      reads.needed += static_cast<double>(row_bytes);
      if (!end || from > *end + gap_bytes) {
        ++reads.pieces;
        reads.bytes += static_cast<double>(to - from);
        end = to;
      } else if (to > *end) {
        reads.bytes += static_cast<double>(to - *end);
        end = to;
      }
    });
  }
}

// Rows that few batches read lie in each one's own segment: one piece more a batch.
void count_copies(double copies, std::size_t batches, std::uint64_t row_bytes, Reads& reads) {
  if (copies == 0) return;
  const double bytes = copies * static_cast<double>(row_bytes);
  reads.stored += bytes;
  reads.bytes += bytes;
  reads.needed += bytes;
  reads.pieces += static_cast<double>(batches);
}

struct Row {
  std::uint32_t node = 0;
  int readers = 0;  // batches of the group
};

class Study {
 public:
  Study(const Dataset& dataset, const Preparation& preparation)
      : preparation_(preparation),
        node_count_(dataset.info().node_count),
        row_bytes_(dataset.info().row_bytes()) {
    if (const auto profile = stored_drive_profile(dataset)) {
      drive_ = {.bytes_lost = profile->bytes_lost_by_a_read(), .gap_bytes = read_gap_for(*profile)};
    }
    for (const BatchEntry& entry : preparation.pool().entries()) {
      if (entry.key.split == Split::train) keys_.push_back(entry.key);
    }
  }

  void lay_out(std::size_t group_size) {
    const std::size_t first = results_.size();
    for (std::size_t l = 0; l < layouts.size(); ++l) {
      for (const int limit : copy_limits) {
        if (limit == 1 || layouts[l].may_copy) results_.push_back({l, group_size, limit, {}});
      }
    }
    std::vector<BatchSet> sets(node_count_);
    std::vector<std::pair<Key, Row>> rows;
    std::vector<BatchSet> shared;
    for (const BatchGroup& group : group_batches(keys_, group_size, group_batches_max)) {
      const std::vector<Row> nodes = rows_of(group, sets);
      rows.reserve(nodes.size());
      shared.reserve(nodes.size());
      std::size_t sorted_for = layouts.size();
      for (std::size_t r = first; r < results_.size(); ++r) {
        Result& result = results_[r];
        if (result.layout != sorted_for) {
          sorted_for = result.layout;
          rows.clear();
          for (const Row& row : nodes) {
            rows.emplace_back(key_of(layouts[sorted_for].order, sets[row.node], row.node), row);
          }
          std::ranges::sort(rows, {}, [](const auto& row) -> const Key& { return row.first; });
        }
        shared.clear();
        double copies = 0;
        for (const auto& [key, row] : rows) {
          if (row.readers >= result.copied_below) {
            shared.push_back(sets[row.node]);
          } else {
            copies += row.readers;
          }
        }
        count_reads(shared, row_bytes_, drive_.gap_bytes, result.reads);
        count_copies(copies, group.batch_count, row_bytes_, result.reads);
      }
      for (const Row& row : nodes) sets[row.node] = {};
    }
  }

  void print_all() const {
    print_heading("batches a group");
    for (const Result& result : results_) {
      if (result.copied_below == 1) print(fmt::format("{}", result.group_size), result);
    }
  }
  void print_best(double budget) const {
    for (std::size_t l = 0; l < layouts.size(); ++l) {
      const Result* best = nullptr;
      for (const Result& result : results_) {
        if (result.layout != l || result.reads.stored > budget * features()) continue;
        if (best == nullptr || result.time_over_least(drive_) < best->time_over_least(drive_)) best = &result;
      }
      if (best != nullptr) {
        print(fmt::format("{} | {}", budget, best->group_size), *best);
      } else {
        fmt::print("| {} | | {} | does not fit | | | | |\n", budget, layouts[l].name);
      }
    }
  }
  static void print_heading(const char* first) {
    fmt::print(
        "\n| {} | layout | copied below | stored / features | read / needed | reads a batch | time / least "
        "|\n"
        "|{}---|---|---|---|---|---|---|\n",
        first, std::string_view(first).find('|') == std::string_view::npos ? "" : "---|");
  }
  void print_drive() const {
    fmt::print(
        "{} batches; another read costs what {:.0f} bytes in sequence do, gaps up to {} are read over\n",
        keys_.size(), drive_.bytes_lost, drive_.gap_bytes);
  }

 private:
  double features() const { return static_cast<double>(node_count_) * static_cast<double>(row_bytes_); }

  // The group's rows, and in `sets` who reads each.
  std::vector<Row> rows_of(const BatchGroup& group, std::vector<BatchSet>& sets) const {
    std::vector<Row> rows;
    for (std::size_t i = 0; i < group.batch_count; ++i) {
      const BatchEntry& entry = preparation_.pool().entries()[group.first_batch + i];
      const auto nodes = preparation_.pool().read_input_nodes(entry);
      for (const NodeId node : std::span(nodes).subspan(entry.gpu_rows() + entry.cpu_rows)) {
        BatchSet& set = sets[to_index(node)];
        if (set.empty()) rows.push_back({static_cast<std::uint32_t>(to_index(node)), 0});
        set.add(i);
      }
    }
    for (Row& row : rows) row.readers = sets[row.node].count();
    return rows;
  }
  void print(const std::string& first, const Result& result) const {
    const Reads& reads = result.reads;
    fmt::print("| {} | {} | {} | {:.2f} | {:.3f} | {:.0f} | {:.3f} |\n", first, layouts[result.layout].name,
               result.copied_below == 1 ? "-" : std::to_string(result.copied_below),
               reads.stored / features(), reads.bytes / reads.needed,
               reads.pieces / static_cast<double>(keys_.size()), result.time_over_least(drive_));
    std::fflush(stdout);
  }

  const Preparation& preparation_;
  const std::uint64_t node_count_;
  const std::uint64_t row_bytes_;
  Drive drive_;
  std::vector<BatchKey> keys_;
  std::vector<Result> results_;
};

template <class Number>
std::optional<std::vector<Number>> parse_list(std::string_view text) {
  std::vector<Number> numbers;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    Number number{};
    const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), number);
    if (error != std::errc() || end != item.data() + item.size()) return std::nullopt;
    numbers.push_back(number);
    text.remove_prefix(std::min(text.size(), item.size() + 1));
  }
  return numbers;
}

int run(std::span<char*> arguments) {
  const auto sizes = arguments.size() == 5 ? parse_list<std::size_t>(arguments[3]) : std::nullopt;
  const auto budgets = arguments.size() == 5 ? parse_list<double>(arguments[4]) : std::nullopt;
  const bool are_possible = sizes && budgets && std::ranges::all_of(*sizes, [](std::size_t size) {
                              return size >= 1 && size <= group_batches_max;
                            });
  if (!are_possible) {
    fmt::print(stderr,
               "usage: {} DATASET PREPARATION GROUP_SIZES BUDGETS, with 1,4,25 (up to {}) and 1.5,3\n",
               arguments[0], group_batches_max);
    return 2;
  }
  const Dataset dataset = Dataset::open(arguments[1]);
  const Preparation preparation = Preparation::open(dataset, arguments[2]);
  Study study(dataset, preparation);
  study.print_drive();
  for (const std::size_t size : *sizes) study.lay_out(size);
  study.print_all();
  Study::print_heading("budget / features | batches a group");
  for (const double budget : *budgets) study.print_best(budget);
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
