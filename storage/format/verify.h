// Reads everything a dataset consists of and compares it with its checksums: what `gneiss verify` does.
//
// Why:    damage is looked for in all files, not only up to the first: the user learns at once what to make
// anew. Memory: pieces of 4 MiB, a batch and a segment at a time. Errors: damage is reported, not thrown;
// only what keeps us from looking at all is (no dataset, cancelled).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "storage/base/error.h"

namespace gneiss {

struct VerifiedPart {
  std::string name;  // "catalog", "features.bin", "preparation 'p'"
  std::uint64_t bytes = 0;
  std::string damage;            // the sentence that says what and where; empty: whole
  Kind kind = Kind::corruption;  // of the damage

  // The system refused, whatever the file holds.
  bool is_unread() const noexcept { return !damage.empty() && kind == Kind::io; }
  bool is_damaged() const noexcept { return !damage.empty() && kind != Kind::io; }
};

struct VerifyReport {
  std::vector<VerifiedPart> parts;
  std::uint64_t bytes = 0;
  double seconds = 0;

  std::size_t damaged_count() const noexcept;
  std::size_t unread_count() const noexcept;
};

struct VerifyOptions {
  std::optional<std::string> preparation;  // only this one, and the dataset's own files; else all
};

// Throws Error: input (`folder` is no dataset), config (no such preparation), cancelled.
VerifyReport verify_dataset(const std::filesystem::path& folder, const VerifyOptions& options);

}  // namespace gneiss
