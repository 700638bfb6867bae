// What describes a batch's memory: transposed edges, blocks that hold together, DLPack's view of them.
#include <doctest/doctest.h>

#include <array>
#include <vector>

#include "engine/compute/block_view.h"
#include "engine/compute/tensor_view.h"
#include "tests/engine/framed_matrix.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using namespace gneiss::test;

TEST_CASE("edges transposed are the same edges, by source, in their order") {
  const std::vector<std::uint32_t> indptr{0, 3, 3, 5, 6};
  const std::vector<std::uint32_t> indices{4, 0, 4, 4, 1, 0};
  BlockView block{.dst_count = 4, .src_count = 6, .indptr = indptr, .indices = indices};
  std::vector<std::uint32_t> t_indptr(7);
  std::vector<std::uint32_t> t_indices(6);
  std::vector<std::uint32_t> t_edges(6);
  transpose(block, t_indptr, t_indices, t_edges);
  CHECK(t_indptr == std::vector<std::uint32_t>{0, 2, 3, 3, 3, 6, 6});
  CHECK(t_indices == std::vector<std::uint32_t>{0, 3, 2, 0, 0, 2});
  CHECK(t_edges == std::vector<std::uint32_t>{1, 5, 4, 0, 2, 3});
  CHECK(block.is_transposed());
}

TEST_CASE("a block that does not hold together is reported as corruption") {
  const std::vector<std::uint32_t> indptr{0, 2, 3};
  const std::vector<std::uint32_t> indices{0, 2, 1};
  const BlockView good{.dst_count = 2, .src_count = 3, .indptr = indptr, .indices = indices};
  check_block(good, "block");
  const auto with = [&](auto change) {
    BlockView block = good;
    change(block);
    check_block(block, "train epoch 0 batch 3");
  };
  const std::vector<std::uint32_t> falling{0, 4, 3};
  const std::vector<std::uint32_t> late{1, 2, 3};
  const std::vector<std::uint32_t> far{3, 0};
  const std::vector<std::uint32_t> one{0};
  EXPECT_ERROR(with([&](BlockView& b) { b.indptr = falling; }), Kind::corruption, "batch 3");
  EXPECT_ERROR(with([&](BlockView& b) { b.indptr = late; }), Kind::corruption, "offsets");
  EXPECT_ERROR(with([&](BlockView& b) { b.dst_count = 3; }), Kind::corruption, "offsets");
  EXPECT_ERROR(with([&](BlockView& b) { b.src_count = 2; }), Kind::corruption, "outside the 2 rows");
  EXPECT_ERROR(with([&](BlockView& b) { b.dst_in_src = far; }), Kind::corruption, "outside");
  EXPECT_ERROR(with([&](BlockView& b) { b.dst_in_src = one; }), Kind::corruption, "1 of 2");
}

TEST_CASE("views describe themselves as DLPack does") {
  const Framed framed = random_matrix(1, 3, 5);
  const TensorView tensor = tensor_view(framed.view);
  CHECK(tensor.data == framed.memory.data());
  CHECK(tensor.shape == std::array<std::int64_t, 2>{3, 5});
  CHECK(tensor.strides == std::array<std::int64_t, 2>{8, 1});
  CHECK(to_dlpack(tensor.dtype) == DlpackDtype{2, 32, 1});
  CHECK(to_dlpack(Dtype::bf16) == DlpackDtype{4, 16, 1});
  CHECK(tensor.device == Device{Device::Type::cpu, 0});
  const std::vector<std::int32_t> labels{1, 2};
  CHECK(tensor_view(std::span(labels), Dtype::i32).shape[0] == 2);
  std::vector<std::uint16_t> rows(20);
  TieredRows tiers(Dtype::f16, 4, 10);
  tiers.append(reinterpret_cast<const std::byte*>(rows.data()), 4);
  CHECK(tensor_view(tiers, 0).strides[0] == 5);
}
