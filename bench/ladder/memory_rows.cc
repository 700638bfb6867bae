#include "bench/ladder/memory_rows.h"

#include <nlohmann/json.hpp>

#include "bench/ladder/copy_rows.h"
#include "storage/io/io_engine.h"

namespace gneiss::ladder {

MemoryRows::MemoryRows(const RowFile& file, std::size_t threads)
    : row_bytes_(file.row_bytes),
      rows_(round_up(file.row_count * file.row_bytes, direct_io_alignment)),
      pool_(threads) {
  const auto engine = make_io_engine("auto", {.queue_depth = 32, .direct = true});
  read_blocking(*engine, engine->open(file.path), file.offset, rows_.bytes());
}

void MemoryRows::deliver(std::uint64_t /*position*/, const RowList& list, std::span<std::byte> target) {
  cost_.copy_seconds += copy_rows(pool_, list.size(), row_bytes_, [&](std::size_t i) {
    return RowCopy{.from = rows_.data() + to_index(list.nodes[i]) * row_bytes_,
                   .to = target.data() + list.targets[i] * row_bytes_};
  });
  cost_.rows += list.size();
  cost_.rows_from_cache += list.size();
}

nlohmann::json MemoryRows::describe() const { return {{"gather_threads", pool_.thread_count()}}; }

}  // namespace gneiss::ladder
