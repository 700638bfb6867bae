#include "storage/io/range_load.h"

#include <algorithm>
#include <array>
#include <vector>

#include "storage/base/error.h"

namespace gneiss {

void load_range(const FileRange& range, ReadAhead ahead, std::span<std::byte> target,
                const std::function<void(std::uint64_t bytes)>& arrived) {
  GNEISS_ASSERT(ahead.pieces > 0 && ahead.piece_bytes > 0);
  GNEISS_ASSERT(ahead.piece_bytes % direct_io_alignment == 0 && range.offset % direct_io_alignment == 0);
  GNEISS_ASSERT(target.size() == round_up(range.bytes, direct_io_alignment));
  const std::unique_ptr<IoEngine> engine = make_io_engine("auto", {.queue_depth = ahead.pieces});
  const FileId file = engine->open(range.path, range.name);
  if (range.offset + range.bytes > engine->file_bytes(file)) {
    fail(Kind::corruption, "{} ends at byte {}; the file was cut short", engine->path(file),
         engine->file_bytes(file));
  }
  const std::uint64_t piece_count = divide_up(range.bytes, ahead.piece_bytes);
  const auto request = [&](std::uint64_t piece) {
    const std::uint64_t first = piece * ahead.piece_bytes;
    return ReadRequest{.file = file,
                       .offset = range.offset + first,
                       .target = target.subspan(first, std::min(ahead.piece_bytes, target.size() - first)),
                       .tag = piece};
  };
  std::vector<char> is_there(piece_count);
  std::uint64_t submitted = 0;
  std::uint64_t in_order = 0;  // pieces that are there with all before them
  std::array<ReadCompletion, 16> completions;
  const auto submit_more = [&] {
    while (submitted < piece_count && engine->in_flight() < ahead.pieces) {
      engine->submit(request(submitted++));
    }
  };
  submit_more();
  while (in_order < piece_count) {
    const std::size_t count = engine->reap(completions, 1);
    for (const ReadCompletion& completion : std::span(completions).first(count)) {
      if (completion.error != 0) fail_read(*engine, request(completion.tag), completion.error);
      is_there[completion.tag] = 1;
    }
    submit_more();  // first: the drive goes on while what arrived is used
    const std::uint64_t before = in_order;
    while (in_order < piece_count && is_there[in_order] != 0) ++in_order;
    if (in_order > before) arrived(std::min(range.bytes, in_order * ahead.piece_bytes));
  }
}

}  // namespace gneiss
