// Where what is packed so far is recorded, and how both packers take it up.
#pragma once

#include <spdlog/spdlog.h>

#include <memory>

#include "storage/base/error.h"
#include "storage/format/checkpoint.h"
#include "storage/pack/packer.h"

namespace gneiss {

inline constexpr const char* pack_checkpoint_name = "pack.state";

inline void write_pack_checkpoint(const PackTask& task, std::span<const std::uint64_t> numbers) {
  write_checkpoint(task.folder / pack_checkpoint_name, task.made_from, numbers);
}

// Returns open(checkpoint), or, where there is none or it is damaged, open(nothing): a packer that begins.
template <class Packer, class Open>
std::unique_ptr<Packer> go_on_or_begin(const PackTask& task, const Open& open) {
  if (!task.checkpoint_seconds) return open(std::nullopt);
  const auto path = task.folder / pack_checkpoint_name;
  if (auto saved = CheckpointReader::open(path, task.made_from)) {
    try {
      return open(std::move(saved));
    } catch (const Error& error) {
      if (error.kind() != Kind::corruption) throw;
      spdlog::warn("what an earlier run has packed is not used: {}", error.what());
    }
  }
  std::error_code ignored;  // it speaks of files that are about to be emptied
  if (std::filesystem::remove(path, ignored)) sync_folder(task.folder);
  return open(std::nullopt);
}

}  // namespace gneiss
