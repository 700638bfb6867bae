#include "storage/format/batch_frame.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <functional>

#include "storage/format/node_labels.h"
#include "tests/support/expect_error.h"
#include "tests/support/frame_editor.h"

namespace gneiss {
namespace {

// Two hops: seeds 30, 10; hidden nodes 30, 10, 20; inputs 10, 40 (cached), 20, 30 (from disk).
struct Source {
  std::array<NodeId, 2> seeds{NodeId{30}, NodeId{10}};
  std::array<NodeId, 3> hidden{NodeId{30}, NodeId{10}, NodeId{20}};
  std::array<NodeId, 4> inputs{NodeId{10}, NodeId{40}, NodeId{20}, NodeId{30}};
  std::vector<std::int32_t> targets{1, -1};
  std::vector<std::uint32_t> target_seeds;
  std::vector<PlanRange> plan{{0, Tier::cpu, 0, 2, 0}, {0, Tier::disk, 2, 2, 0}};
  std::array<std::uint32_t, 2> slots{5, 9};
  std::vector<PageRun> runs;
  std::array<std::uint32_t, 1> admitted_rows{3};
  std::array<std::uint32_t, 1> admitted_slots{7};
  std::array<std::uint32_t, 4> indptr0{0, 2, 3, 4};
  std::array<std::uint32_t, 4> indices0{1, 0, 3, 2};
  std::array<std::uint32_t, 3> dst_in_src{3, 0, 2};
  std::array<std::uint32_t, 3> indptr1{0, 1, 3};
  std::array<std::uint32_t, 3> indices1{2, 0, 2};
  std::vector<std::uint64_t> positions0{7, std::uint64_t{1} << 40, 0, 3};
  std::vector<std::uint64_t> positions1{4, 5, 6};

  BatchFrame frame() const {
    return {.seeds = seeds,
            .targets = targets,
            .target_seeds = target_seeds,
            .hidden_nodes = hidden,
            .plan = plan,
            .cpu_slots = slots,
            .admitted_rows = admitted_rows,
            .admitted_slots = admitted_slots,
            .page_runs = runs,
            .blocks = {{3, 4, indptr0, indices0, dst_in_src, positions0},
                       {2, 3, indptr1, indices1, {}, positions1}}};
  }
};

AlignedBuffer aligned(std::span<const std::byte> bytes) {
  AlignedBuffer copy(bytes.size());
  std::ranges::copy(bytes, copy.data());
  return copy;
}

AlignedBuffer encode(const BatchFrame& frame) {
  std::vector<std::byte> bytes;
  encode_batch_frame(frame, bytes);
  return aligned(bytes);
}

BatchFrame parse(const AlignedBuffer& bytes, bool check_sections = true) {
  BatchFrame frame;
  parse_batch_frame(bytes.bytes(), "the frame", check_sections, frame);
  return frame;
}

bool same_plan(std::span<const PlanRange> a, std::span<const PlanRange> b) {
  return std::ranges::equal(std::as_bytes(a), std::as_bytes(b));
}

void expect_same(const BatchFrame& a, const BatchFrame& b) {
  CHECK(std::ranges::equal(a.seeds, b.seeds));
  CHECK(std::ranges::equal(a.targets, b.targets));
  CHECK(std::ranges::equal(a.target_seeds, b.target_seeds));
  CHECK(std::ranges::equal(a.label_rows, b.label_rows));
  CHECK(a.label_columns == b.label_columns);
  CHECK(std::ranges::equal(a.hidden_nodes, b.hidden_nodes));
  CHECK(same_plan(a.plan, b.plan));
  CHECK(std::ranges::equal(a.gpu_slots, b.gpu_slots));
  CHECK(std::ranges::equal(a.cpu_slots, b.cpu_slots));
  CHECK(std::ranges::equal(a.admitted_rows, b.admitted_rows));
  CHECK(std::ranges::equal(a.admitted_slots, b.admitted_slots));
  REQUIRE(a.blocks.size() == b.blocks.size());
  for (std::size_t i = 0; i < a.blocks.size(); ++i) {
    CHECK(a.blocks[i].dst_count == b.blocks[i].dst_count);
    CHECK(a.blocks[i].src_count == b.blocks[i].src_count);
    CHECK(std::ranges::equal(a.blocks[i].indptr, b.blocks[i].indptr));
    CHECK(std::ranges::equal(a.blocks[i].indices, b.blocks[i].indices));
    CHECK(std::ranges::equal(a.blocks[i].dst_in_src, b.blocks[i].dst_in_src));
    CHECK(std::ranges::equal(a.blocks[i].edge_positions, b.blocks[i].edge_positions));
  }
}

template <class T>
void expect_flaw(SectionKind kind, std::size_t index, T value, const char* flaw) {
  CAPTURE(flaw);
  const Source source;
  test::FrameEditor editor(encode(source.frame()).bytes(), frame_magic);
  editor.at(kind).set<T>(index, value);
  const AlignedBuffer bytes = editor.build();
  EXPECT_ERROR(parse(bytes), Kind::corruption, flaw);
}

}  // namespace

TEST_CASE("a frame gives back what was encoded, edge positions too") {
  const Source source;
  const AlignedBuffer bytes = encode(source.frame());
  expect_same(parse(bytes), source.frame());
  CHECK(parse(bytes).input_count() == 4);
  CHECK(parse(bytes).edge_count() == 7);
}

TEST_CASE("edge positions are optional, and so is a plan") {
  Source source;
  source.positions0.clear();
  source.positions1.clear();
  source.plan.clear();
  BatchFrame frame = source.frame();
  frame.cpu_slots = {};
  const AlignedBuffer bytes = encode(frame);
  expect_same(parse(bytes), frame);
}

TEST_CASE("targets can be apart from seeds: pairs, or several labels of one seed") {
  Source source;
  source.targets = {1, 0, 1};
  source.target_seeds = {1, 1, 0};
  const AlignedBuffer bytes = encode(source.frame());
  expect_same(parse(bytes), source.frame());
}

TEST_CASE("labels of several columns take the place of targets, and only 0, 1 and none are labels") {
  const Source source;
  const std::vector<std::uint8_t> labels{0, 1, unlabelled, 1, unlabelled, 0};
  BatchFrame frame = source.frame();
  frame.targets = {};
  frame.label_rows = labels;
  frame.label_columns = 3;
  const AlignedBuffer bytes = encode(frame);
  expect_same(parse(bytes), frame);

  const auto edited = [&](const auto& change) {
    test::FrameEditor editor(bytes.bytes(), frame_magic);
    change(editor);
    const AlignedBuffer built = editor.build();
    parse(built);
  };
  using enum SectionKind;
  for (const std::uint8_t value : std::array<std::uint8_t, 3>{2, 127, 254}) {
    EXPECT_ERROR(edited([&](test::FrameEditor& editor) { editor.at(frame_label_rows).set(5, value); }),
                 Kind::corruption, "neither 0 nor 1 nor none");
  }
  EXPECT_ERROR(edited([](test::FrameEditor& editor) { editor.remove(frame_label_rows); }), Kind::corruption,
               "targets have the wrong length");
  for (const std::size_t length : {0U, 3U, 9U}) {
    EXPECT_ERROR(edited([&](test::FrameEditor& editor) { editor.at(frame_label_rows).bytes.resize(length); }),
                 Kind::corruption, "labels have the wrong length");
  }
  EXPECT_ERROR(edited([](test::FrameEditor& editor) {
                 editor.at(frame_label_rows).entry.columns = 5000;
                 editor.at(frame_label_rows).bytes.resize(10'000);
               }),
               Kind::corruption, "5000 labels a seed");
  EXPECT_ERROR(
      edited([](test::FrameEditor& editor) { editor.at(frame_label_rows).entry.dtype = Dtype::u16; }),
      Kind::corruption, "expected u8");
  const AlignedBuffer with_targets = encode(source.frame());
  EXPECT_ERROR(
      edited([&](test::FrameEditor& editor) {
        editor.sections.push_back(test::FrameEditor(with_targets.bytes(), frame_magic).at(frame_targets));
      }),
      Kind::corruption, "both classes and label columns");
  for (std::size_t bit = 0; bit < bytes.size() * 8; bit += 3) {
    AlignedBuffer copy = aligned(bytes.bytes());
    copy.data()[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    try {
      expect_same(parse(copy), frame);  // the padding between sections
      parse(copy, /*check_sections=*/false);
    } catch (const Error& error) {
      CHECK((error.kind() == Kind::corruption || error.kind() == Kind::input));
    }
  }
}

TEST_CASE("a plan names feature stores and tiers, several ranges of each") {
  Source source;
  source.plan = {{0, Tier::cpu, 0, 1, 0},
                 {7, Tier::cpu, 1, 1, 0},
                 {3, Tier::page, 2, 1, 0},
                 {65535, Tier::disk, 3, 1, 0}};
  source.runs = {{1, 77}};
  const AlignedBuffer bytes = encode(source.frame());
  const BatchFrame frame = parse(bytes);
  REQUIRE(frame.page_runs.size() == 1);
  CHECK(frame.page_runs[0].position == 77);
  CHECK(same_plan(frame.plan, source.plan));
  CHECK(frame.plan[3].store == 65535);
}

TEST_CASE("rows of the gpu tier have a slot each, and are not admitted into the cpu tier") {
  Source source;
  source.plan = {{0, Tier::gpu, 0, 1, 0}, {0, Tier::cpu, 1, 1, 0}, {0, Tier::disk, 2, 2, 0}};
  BatchFrame frame = source.frame();
  frame.gpu_slots = frame.cpu_slots.first(1);
  frame.cpu_slots = frame.cpu_slots.last(1);
  const AlignedBuffer sound = encode(frame);
  expect_same(parse(sound), frame);
  const auto expect_refused = [&](const std::function<void(test::FrameEditor&)>& change, const char* flaw) {
    test::FrameEditor editor(sound.bytes(), frame_magic);
    change(editor);
    const AlignedBuffer damaged = editor.build();
    EXPECT_ERROR(parse(damaged), Kind::corruption, flaw);
  };
  expect_refused([](test::FrameEditor& editor) { editor.remove(SectionKind::frame_gpu_slots); },
                 "slots have the wrong length");
  expect_refused([](test::FrameEditor& editor) { editor.at(SectionKind::frame_gpu_slots).bytes.resize(8); },
                 "the frame: ");
  expect_refused(
      [](test::FrameEditor& editor) { editor.at(SectionKind::frame_plan).set<std::uint16_t>(1, 1); },
      "slots have the wrong length");
  expect_refused(
      [](test::FrameEditor& editor) { editor.at(SectionKind::frame_admitted_rows).set<std::uint32_t>(0, 0); },
      "a row of the gpu tier is admitted");
}

TEST_CASE("runs of shared rows are as many rows as the page tier has") {
  Source source;
  source.plan = {{0, Tier::cpu, 0, 2, 0}, {0, Tier::page, 2, 2, 0}};
  source.runs = {{1, 8}, {1, 0}};
  const AlignedBuffer sound = encode(source.frame());
  expect_same(parse(sound), source.frame());
  for (const std::uint32_t count : {0U, 2U, 0xFFFFFFFFU}) {
    test::FrameEditor editor(sound.bytes(), frame_magic);
    editor.at(SectionKind::frame_page_runs).set<std::uint32_t>(0, count);
    const AlignedBuffer damaged = editor.build();
    EXPECT_ERROR(parse(damaged), Kind::corruption, "runs of shared rows");
  }
}

TEST_CASE("a frame of a batch without edges") {
  const std::array<NodeId, 1> node{NodeId{3}};
  const std::array<std::int32_t, 1> target{0};
  const std::array<std::uint32_t, 2> indptr{0, 0};
  const std::array<std::uint32_t, 1> self{0};
  const std::array<PlanRange, 1> plan{{{0, Tier::disk, 0, 1, 0}}};
  BatchFrame frame{.seeds = node,
                   .targets = target,
                   .target_seeds = {},
                   .hidden_nodes = node,
                   .plan = plan,
                   .cpu_slots = {},
                   .admitted_rows = {},
                   .admitted_slots = {},
                   .page_runs = {},
                   .blocks = {{1, 1, indptr, {}, self, {}}}};
  const AlignedBuffer bytes = encode(frame);
  expect_same(parse(bytes), frame);
}

TEST_CASE("unknown optional sections of a frame are skipped, required ones refused") {
  const Source source;
  const AlignedBuffer bytes = encode(source.frame());
  test::FrameEditor optional(bytes.bytes(), frame_magic);
  optional.add(static_cast<SectionKind>((1U << 31) + 60'000), std::vector<std::byte>(10));
  optional.add(block_section(static_cast<SectionKind>((1U << 31) + 1030), 1), std::vector<std::byte>(10));
  const AlignedBuffer skipped = optional.build();
  expect_same(parse(skipped), source.frame());
  // Kinds that lie between the known ones too: 55 and 1028 were once taken for known.
  for (const std::uint32_t kind :
       {1U, 49U, 55U, 59U, 70U, 1023U, 1027U, 1028U, 1031U, 1036U, 1024U + 8 * 64}) {
    test::FrameEditor required(bytes.bytes(), frame_magic);
    required.add(static_cast<SectionKind>(kind), std::vector<std::byte>(10));
    const AlignedBuffer refused = required.build();
    EXPECT_ERROR(parse(refused), Kind::input, fmt::format("kind {}", kind));
  }
}

TEST_CASE("a section of another node or edge type, or a second of its kind, does not pass for the only one") {
  const Source source;
  const AlignedBuffer bytes = encode(source.frame());
  for (const auto type : {&SectionEntry::node_type, &SectionEntry::edge_type}) {
    test::FrameEditor editor(bytes.bytes(), frame_magic);
    editor.at(SectionKind::frame_seeds).entry.*type = 1;
    const AlignedBuffer typed = editor.build();
    EXPECT_ERROR(parse(typed), Kind::input, "newer gneiss");
  }
  test::FrameEditor editor(bytes.bytes(), frame_magic);
  editor.sections.push_back(editor.at(SectionKind::frame_seeds));
  const AlignedBuffer twice = editor.build();
  EXPECT_ERROR(parse(twice), Kind::corruption, "twice");
}

TEST_CASE("every flipped bit of a frame is found, or harmless") {
  const Source source;
  const AlignedBuffer whole = encode(source.frame());
  std::size_t found = 0;
#ifdef GNEISS_SANITIZED
  constexpr std::size_t step = 13;  // every bit is minutes there; 13 meets each bit of a byte and all fields
#else
  constexpr std::size_t step = 1;
#endif
  for (std::size_t bit = 0; bit < whole.size() * 8; bit += step) {
    AlignedBuffer copy = aligned(whole.bytes());
    copy.data()[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    try {
      expect_same(parse(copy), source.frame());  // the padding between sections
    } catch (const Error& error) {
      CHECK((error.kind() == Kind::corruption || error.kind() == Kind::input));
      ++found;
    }
    // Without the sections' checksums nothing may be read out of bounds: the sanitizers look on.
    try {
      parse(copy, /*check_sections=*/false);
    } catch (const Error&) {
      continue;
    }
  }
  CHECK(found > whole.size() * 4 / step);
}

TEST_CASE("a frame cut anywhere is refused") {
  const AlignedBuffer whole = encode(Source().frame());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const AlignedBuffer cut = aligned(whole.bytes().first(length));
    EXPECT_ERROR(parse(cut), Kind::corruption, "cut short");
  }
}

TEST_CASE("ids and offsets out of range are refused even with the right checksums") {
  using enum SectionKind;
  const SectionKind indices1 = block_section(block_indices, 1);
  expect_flaw<std::uint32_t>(block_indices, 1, 4, "source is out of range");
  expect_flaw<std::uint32_t>(indices1, 0, 3, "source is out of range");
  expect_flaw<std::uint32_t>(block_indptr, 1, 4, "do not ascend");
  expect_flaw<std::uint32_t>(block_indptr, 0, 1, "offsets are off");
  expect_flaw<std::uint32_t>(block_indptr, 3, 5, "offsets are off");
  expect_flaw<std::uint32_t>(block_dst_in_src, 2, 4, "row is out of range");
  expect_flaw<std::uint32_t>(frame_plan, 2, 0xFFFFFFFFU, "follow one another");  // the first range's end
  expect_flaw<std::uint16_t>(frame_plan, 1, 4, "follow one another");            // its tier
  expect_flaw<std::uint32_t>(frame_plan, 6, 1, "does not cover");
  expect_flaw<std::uint32_t>(frame_admitted_rows, 0, 4, "admitted row is out of range");
  expect_flaw<std::uint32_t>(frame_block_shapes, 0, 0xFFFFFFFFU, "wrong length");
  expect_flaw<std::uint32_t>(frame_block_shapes, 1, 3, "out of range");
  expect_flaw<std::uint32_t>(frame_block_shapes, 3, 9, "follow one another");
}

TEST_CASE("sections that are missing or of another length are refused") {
  const Source source;
  const AlignedBuffer bytes = encode(source.frame());
  using enum SectionKind;
  for (const SectionKind kind :
       {frame_seeds, frame_targets, frame_hidden_nodes, frame_cpu_slots, frame_block_shapes, block_indptr,
        block_indices, block_dst_in_src, block_section(block_indptr, 1)}) {
    CAPTURE(static_cast<std::uint32_t>(kind));
    test::FrameEditor without(bytes.bytes(), frame_magic);
    without.remove(kind);
    const AlignedBuffer missing = without.build();
    EXPECT_ERROR(parse(missing), Kind::corruption, "the frame: ");
    test::FrameEditor editor(bytes.bytes(), frame_magic);
    auto& section = editor.at(kind);
    section.bytes.resize(section.bytes.size() + 8);
    const AlignedBuffer longer = editor.build();
    EXPECT_ERROR(parse(longer), Kind::corruption, "the frame: ");
  }
  test::FrameEditor deep(bytes.bytes(), frame_magic);
  deep.at(frame_block_shapes).bytes.resize(65 * 8);
  const AlignedBuffer hops = deep.build();
  EXPECT_ERROR(parse(hops), Kind::corruption, "65 hops");
  test::FrameEditor typed(bytes.bytes(), frame_magic);
  typed.at(frame_seeds).entry.dtype = Dtype::f32;
  const AlignedBuffer other = typed.build();
  EXPECT_ERROR(parse(other), Kind::corruption, "expected u32");
}

TEST_CASE("input nodes are a frame of their own") {
  const Source source;
  std::vector<std::byte> bytes;
  encode_input_frame(source.inputs, bytes);
  const AlignedBuffer some = aligned(bytes);
  CHECK(std::ranges::equal(parse_input_frame(some.bytes(), "inputs"), source.inputs));
  encode_input_frame({}, bytes);
  const AlignedBuffer none = aligned(bytes);
  CHECK(parse_input_frame(none.bytes(), "inputs").empty());
}

}  // namespace gneiss
