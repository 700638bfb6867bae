// Takes a frame apart and builds it again with other sections, as a later version or an attacker would.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "storage/base/aligned_buffer.h"
#include "storage/base/checksum.h"
#include "storage/format/section_table.h"

namespace gneiss::test {

struct EditedSection {
  SectionEntry entry;
  std::vector<std::byte> bytes;

  // The section's bytes as one T, to be changed.
  template <class T>
  T get(std::size_t index) const {
    T value{};
    std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
    return value;
  }
  template <class T>
  void set(std::size_t index, T value) {
    std::memcpy(bytes.data() + index * sizeof(T), &value, sizeof(T));
  }
};

class FrameEditor {
 public:
  FrameEditor(std::span<const std::byte> frame, const Magic& magic) : magic_(magic) {
    const auto table =
        parse_section_table(frame, magic, frame.size(), "a frame", [](SectionKind) { return true; });
    for (const SectionEntry& entry : table.entries) {
      const auto bytes = frame.subspan(entry.offset, entry.bytes);
      sections.push_back({entry, {bytes.begin(), bytes.end()}});
    }
  }
  void add(SectionKind kind, std::vector<std::byte> bytes) {
    SectionEntry entry{};
    entry.kind = kind;
    entry.dtype = Dtype::u8;
    entry.columns = 1;
    sections.push_back({entry, std::move(bytes)});
  }
  EditedSection& at(SectionKind kind) {
    for (EditedSection& section : sections) {
      if (section.entry.kind == kind) return section;
    }
    GNEISS_ASSERT(false);
    return sections.front();
  }
  void remove(SectionKind kind) {
    std::erase_if(sections, [kind](const EditedSection& section) { return section.entry.kind == kind; });
  }
  // Offsets, lengths and checksums are made right again.
  AlignedBuffer build() const {
    std::vector<SectionEntry> entries;
    std::uint64_t position = header_bytes_for(sections.size(), frame_section_alignment);
    for (const EditedSection& section : sections) {
      SectionEntry entry = section.entry;
      entry.offset = position;
      entry.bytes = section.bytes.size();
      entry.rows = entry.bytes / (entry.columns * size_of(entry.dtype));
      entry.xxh3 = checksum(section.bytes);
      position = round_up(position + entry.bytes, frame_section_alignment);
      entries.push_back(entry);
    }
    const auto header = build_section_table(magic_, frame_section_alignment, position, 0, entries);
    AlignedBuffer frame(position);
    std::memcpy(frame.data(), header.data(), header.size());
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (entries[i].bytes > 0)
        std::memcpy(frame.data() + entries[i].offset, sections[i].bytes.data(), entries[i].bytes);
    }
    return frame;
  }

  std::vector<EditedSection> sections;

 private:
  Magic magic_;
};

}  // namespace gneiss::test
