#include "tests/storage/io_fixture.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

#include "storage/base/aligned_buffer.h"
#include "storage/base/error.h"
#include "storage/base/random.h"

namespace gneiss::test {

bool has_io_uring() {
  try {
    return make_io_engine("io_uring", {})->name() == "io_uring";
  } catch (const Error&) {
    return false;
  }
}

std::vector<std::byte> write_random_file(const std::filesystem::path& path, std::size_t bytes,
                                         std::uint64_t seed) {
  std::vector<std::byte> content(bytes);
  RandomStream random(mix64(seed));
  for (std::byte& byte : content) byte = static_cast<std::byte>(random.next() & 0xFF);
  const File file = File::create(path);
  file.write_at(0, content);
  file.sync();
  return content;
}

std::size_t read_random_ranges(IoEngine& engine, FileId file, const std::vector<std::byte>& content,
                               RandomReads reads) {
  constexpr std::size_t range_bytes_max = 128 << 10;
  const std::uint32_t depth = engine.queue_depth();
  const std::uint64_t alignment = std::max<std::uint64_t>(engine.alignment(file), 1);
  AlignedBuffer memory(depth * range_bytes_max);
  RandomStream random(mix64(reads.seed));
  std::vector<ReadRequest> by_slot(depth);
  std::vector<std::uint32_t> free_slots;
  for (std::uint32_t slot = 0; slot < depth; ++slot) free_slots.push_back(slot);
  std::vector<ReadCompletion> completions(depth);
  std::size_t submitted = 0;
  std::size_t finished = 0;
  std::size_t failed = 0;
  while (finished < reads.count) {
    const std::size_t room = std::min<std::size_t>(free_slots.size(), reads.count - submitted);
    std::vector<ReadRequest> batch;
    for (std::size_t i = 0, some = random.below(room + 1); i < some; ++i) {
      const std::uint32_t slot = free_slots.back();
      free_slots.pop_back();
      const std::uint64_t offset = round_down(random.below(content.size()), alignment);
      const std::uint64_t longest = round_up(content.size() - offset, alignment);
      const std::uint64_t bytes = std::min(round_up(1 + random.below(range_bytes_max), alignment), longest);
      by_slot[slot] = {.file = file,
                       .offset = offset,
                       .target = memory.bytes().subspan(slot * range_bytes_max, bytes),
                       .tag = slot};
      batch.push_back(by_slot[slot]);
    }
    engine.submit(batch);
    submitted += batch.size();
    const std::size_t count = engine.reap(completions, random.below(engine.in_flight() + 1));
    finished += count;
    for (const ReadCompletion& completion : std::span(completions).first(count)) {
      const auto slot = static_cast<std::uint32_t>(completion.tag);
      free_slots.push_back(slot);
      const ReadRequest& request = by_slot[slot];
      if (completion.error != 0) {
        ++failed;
        continue;
      }
      const std::size_t bytes = std::min(request.target.size(), content.size() - request.offset);
      const bool is_equal = std::memcmp(request.target.data(), content.data() + request.offset, bytes) == 0;
      CHECK_MESSAGE(is_equal, "the bytes at offset ", request.offset, " differ");
    }
  }
  return failed;
}

}  // namespace gneiss::test
