#include "engine/compute/cuda/copy_rows.h"
#include "engine/compute/cuda/launch.cuh"

namespace gneiss::cuda {
namespace {

template <class Word>
__global__ void copy_rows_kernel(const std::byte* base, const std::uint32_t* slots, std::size_t slot_bytes,
                                 std::uint32_t count, std::uint32_t row_words, Word* to) {
  const std::uint32_t row = blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= count) return;
  const auto* const from =
      reinterpret_cast<const Word*>(base + std::size_t{slots == nullptr ? row : slots[row]} * slot_bytes);
  Word* const out = to + std::size_t{row} * row_words;
  for (std::uint32_t i = threadIdx.x; i < row_words; i += blockDim.x) out[i] = from[i];
}

template <class Word>
bool fits(const TierRange& from, std::size_t row_bytes, const std::byte* to) {
  return (reinterpret_cast<std::uintptr_t>(from.base) | reinterpret_cast<std::uintptr_t>(to) |
          from.slot_bytes | row_bytes) %
             sizeof(Word) ==
         0;
}

template <class Word>
void copy_words(cudaStream_t stream, const TierRange& from, std::size_t row_bytes, std::byte* to) {
  const auto words = static_cast<std::uint32_t>(row_bytes / sizeof(Word));
  launch(stream, row_grid(from.count, words, 1), copy_rows_kernel<Word>, from.base, from.slots,
         from.slot_bytes, from.count, words, reinterpret_cast<Word*>(to));
}

}  // namespace

void copy_rows(cudaStream_t stream, const TierRange& from, std::size_t row_bytes, std::byte* to) {
  if (fits<uint4>(from, row_bytes, to)) return copy_words<uint4>(stream, from, row_bytes, to);
  if (fits<std::uint32_t>(from, row_bytes, to)) return copy_words<std::uint32_t>(stream, from, row_bytes, to);
  if (fits<std::uint16_t>(from, row_bytes, to)) return copy_words<std::uint16_t>(stream, from, row_bytes, to);
  copy_words<unsigned char>(stream, from, row_bytes, to);
}

}  // namespace gneiss::cuda
