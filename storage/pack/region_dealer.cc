#include "storage/pack/region_dealer.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "storage/base/bounded_queue.h"
#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/pack/node_places.h"

namespace gneiss {
namespace {

constexpr std::uint64_t block_bytes = segment_checksum_block_bytes;
constexpr std::size_t window_nodes = 8U << 10;

}  // namespace

// Reads the parts' dealt rows one ahead of who orders them, and checks them.
class RegionDealer::Loader {
 public:
  Loader(const RegionDealer& dealer, std::size_t first, std::uint64_t largest_bytes)
      : dealer_(dealer), empty_(2), full_(2) {
    for (int i = 0; i < 2; ++i) empty_.push(AlignedBuffer::uninitialized(largest_bytes), {});
    reader_ = std::jthread([this, first](const std::stop_token& stop) { read_all(first, stop); });
  }
  ~Loader() {
    empty_.close();
    full_.close();
  }
  AlignedBuffer next() {
    auto part = full_.pop({});
    if (!part) std::rethrow_exception(failure_);  // each part is asked for once: the end is not
    return std::move(*part);
  }
  void give_back(AlignedBuffer part) { empty_.push(std::move(part), {}); }

 private:
  void read_all(std::size_t first, const std::stop_token& stop) {
    try {
      for (std::size_t i = first; i < dealer_.parts_.size(); ++i) {
        auto buffer = empty_.pop(stop);
        if (!buffer) return;
        read(dealer_.parts_[i], *buffer);
        if (!full_.push(std::move(*buffer), stop)) return;
      }
    } catch (...) {
      failure_ = std::current_exception();  // read by next() after the queue closed
    }
    full_.close();
  }
  void read(const Part& part, AlignedBuffer& buffer) const {
    const File& file = *dealer_.task_.file;
    const std::uint64_t offset = dealer_.dealt_offset(part);
    file.read_at(offset, buffer.bytes().first(part.bytes));
    file.drop_cache(offset, part.bytes);
    const auto rows =
        std::span<const std::byte>(buffer.bytes()).first(part.row_count * dealer_.task_.row_bytes);
    for (std::uint64_t at = 0; at < rows.size(); at += block_bytes) {
      const auto block = rows.subspan(at, std::min<std::uint64_t>(block_bytes, rows.size() - at));
      if (checksum(block) == part.checksums.at(at / block_bytes)) continue;
      fail(Kind::corruption, "{}: {} bytes at byte {} do not match their checksum; prepare it again",
           file.path(), block.size(), offset + at);
    }
  }

  const RegionDealer& dealer_;
  BoundedQueue<AlignedBuffer> empty_;
  BoundedQueue<AlignedBuffer> full_;
  std::exception_ptr failure_;
  std::jthread reader_;
};

RegionDealer::RegionDealer(const RegionTask& task) : task_(task), part_nodes_(task.pack->folder) {
  const SharedLayout& layout = *task.layout;
  // Parts begin at pages: so many rows are whole pages.
  const std::uint64_t rows_of_pages = shared_page_bytes / page_row_unit(task.row_bytes);
  const std::uint64_t rows =
      std::max(rows_of_pages, round_down(task.shape.part_bytes / task.row_bytes, rows_of_pages));
  std::uint64_t largest = 0;
  for (std::size_t group = 0; group < layout.groups.size(); ++group) {
    const std::uint64_t row_count = layout.region_nodes.size(group);
    for (std::uint64_t first = 0; first < row_count; first += rows) {
      const std::uint64_t count = std::min(rows, row_count - first);
      parts_.push_back({.group = group,
                        .first_row = first,
                        .row_count = count,
                        .offset = layout.region_offsets[group] + first * task.row_bytes,
                        .bytes = round_up(count * task.row_bytes, shared_page_bytes),
                        .checksums = {}});
      largest = std::max(largest, parts_.back().bytes);
    }
  }
  shift_bytes_ = RegionShape::parts_a_record * largest;
}

std::vector<NodePlace> RegionDealer::nodes_of(const Part& part) const {
  std::vector<NodeId> nodes(part.row_count);
  task_.layout->region_nodes.read(part.group, part.first_row, nodes);
  std::vector<NodePlace> places;
  places.reserve(nodes.size());
  for (const NodeId node : nodes) places.push_back({node, static_cast<std::uint32_t>(places.size())});
  sort_by_node(places, task_.node_count());
  return places;
}

void RegionDealer::begin_dealing() {
  std::vector<NodeId> nodes;
  for (const Part& part : parts_) {
    throw_if_interrupted();
    nodes.clear();
    for (const NodePlace& each : nodes_of(part)) nodes.push_back(each.node);
    part_nodes_.append(nodes);
  }
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    streams_.push_back(std::make_unique<RowStream<ListedNodes>>(ListedNodes(part_nodes_, i, window_nodes),
                                                                RowPlace{.offset = dealt_offset(parts_[i]),
                                                                         .row_count = parts_[i].row_count,
                                                                         .row_bytes = task_.row_bytes},
                                                                *task_.writer, task_.shape.piece_bytes));
  }
}

void RegionDealer::take_rows(std::uint64_t first_node, std::span<const std::byte> rows) {
  task_.pool->parallel_for(streams_.size(),
                           [&](std::size_t i, std::size_t) { streams_[i]->take_rows(first_node, rows); });
}

void RegionDealer::save_dealing(std::vector<std::uint64_t>& numbers) {
  task_.writer->finish();
  task_.pool->parallel_for(
      streams_.size(), [&](std::size_t i, std::size_t) { streams_[i]->write_unfinished_piece(*task_.file); });
  for (const auto& stream : streams_) stream->save(numbers);
}

void RegionDealer::go_on_dealing(CheckpointReader& saved, std::uint64_t node) {
  for (const auto& stream : streams_) stream->go_on(saved, *task_.file, node);
}

void RegionDealer::end_dealing() {
  task_.pool->parallel_for(streams_.size(), [&](std::size_t i, std::size_t) {
    GNEISS_ASSERT(streams_[i]->has_all_rows());
    parts_[i].checksums = streams_[i]->checksums();
    streams_[i]->flush();
  });
  task_.writer->finish();
  streams_.clear();
}

void RegionDealer::save_ordering(std::vector<std::uint64_t>& numbers) const {
  numbers.push_back(ordered_);
  for (std::size_t i = ordered_; i < parts_.size(); ++i) {
    numbers.insert(numbers.end(), parts_[i].checksums.begin(), parts_[i].checksums.end());
  }
  task_.checksums->save(ordered_ < parts_.size() ? parts_[ordered_].offset : task_.region_bytes(), numbers);
}

void RegionDealer::go_on_ordering(CheckpointReader& saved) {
  ordered_ = saved.take(parts_.size());
  for (std::size_t i = ordered_; i < parts_.size(); ++i) {
    parts_[i].checksums = saved.take_many(divide_up(parts_[i].row_count * task_.row_bytes, block_bytes));
  }
  task_.checksums->go_on(saved, ordered_ < parts_.size() ? parts_[ordered_].offset : task_.region_bytes());
}

void RegionDealer::order(const std::function<bool()>& is_due, const std::function<void()>& save,
                         Progress& progress) {
  progress.advance(ordered_);
  if (ordered_ == parts_.size()) return;
  std::uint64_t largest = 0;
  for (const Part& part : parts_) largest = std::max(largest, part.bytes);
  Loader loader(*this, ordered_, largest);
  std::size_t recorded = ordered_;
  for (; ordered_ < parts_.size(); ++ordered_) {
    throw_if_interrupted();
    const Part& part = parts_[ordered_];
    // Whose dealt rows would be written over has to be known to be in order.
    const bool is_needed = part.offset + part.bytes > shift_bytes_ + parts_[recorded].offset;
    if (recorded < ordered_ && (is_needed || is_due())) {
      task_.writer->finish();
      save();
      recorded = ordered_;
    }
    AlignedBuffer dealt = loader.next();
    put_in_order(part, dealt.bytes());
    loader.give_back(std::move(dealt));
    progress.advance(1);
  }
  task_.writer->finish();
}

void RegionDealer::put_in_order(const Part& part, std::span<const std::byte> dealt) {
  const std::uint64_t row_bytes = task_.row_bytes;
  std::vector<std::uint32_t> dealt_rows(part.row_count);  // of each place
  {
    std::uint32_t row = 0;
    for (const NodePlace& each : nodes_of(part)) dealt_rows[each.place] = row++;
  }
  const std::uint64_t piece_bytes = task_.shape.piece_bytes;
  std::vector<AlignedBuffer> pieces(task_.pool->thread_count());
  task_.pool->parallel_for(divide_up(part.bytes, piece_bytes), [&](std::size_t i, std::size_t worker) {
    AlignedBuffer& piece = pieces[worker];
    if (piece.empty()) piece = AlignedBuffer(piece_bytes);
    const std::uint64_t begin = i * piece_bytes;
    const auto bytes = piece.bytes().first(std::min(piece_bytes, part.bytes - begin));
    std::uint64_t within = begin % row_bytes;  // a row may be cut by a piece's ends
    std::uint64_t at = 0;
    for (std::uint64_t place = begin / row_bytes; place < part.row_count && at < bytes.size(); ++place) {
      const std::uint64_t take = std::min(row_bytes - within, bytes.size() - at);
      std::memcpy(bytes.data() + at, dealt.data() + dealt_rows[place] * row_bytes + within, take);
      at += take;
      within = 0;
    }
    std::memset(bytes.data() + at, 0, bytes.size() - at);
    task_.checksums->take(part.offset + begin, bytes);
    task_.writer->write(task_.first_region + part.offset + begin, piece, bytes.size());
  });
}

}  // namespace gneiss
