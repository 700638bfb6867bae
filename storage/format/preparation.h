// A preparation: sample pool, plan and pack, made for given fanouts, batch size and budgets.
//
// Why:     training takes all sizes from here, so that memory is known before the first step.
// Errors:  config (no such preparation), input (made from another dataset: stale), corruption.
// Format:  storage/FORMAT.md, "Preparation".
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "storage/format/dataset.h"
#include "storage/format/pack_file.h"
#include "storage/format/sample_pool.h"
#include "storage/io/file_lock.h"

namespace gneiss {

inline constexpr Magic cpu_tier_magic{'G', 'N', 'E', 'I', 'S', 'C', 'P', 'U'};
inline constexpr const char* cpu_tier_file_name = "cpu.bin";
inline constexpr Magic gpu_tier_magic{'G', 'N', 'E', 'I', 'S', 'G', 'P', 'U'};
inline constexpr const char* gpu_tier_file_name = "gpu.bin";  // only where the gpu tier has rows

enum class SamplerKind { neighbor, labor };
std::string_view name_of(SamplerKind kind) noexcept;
SamplerKind parse_sampler(std::string_view name);  // throws Error(config)

// Which rows the cpu tier holds: the most read for good, or at each batch those whose next use is nearest.
enum class Residency { fixed, belady, automatic };
std::string_view name_of(Residency residency) noexcept;  // "static", "belady", "auto"
Residency parse_residency(std::string_view name);        // throws Error(config)

struct PreparationOptions {
  std::vector<std::int32_t> fanouts{10, 10};
  std::uint32_t batch_size = 1024;
  std::uint32_t sample_epochs = 1;
  SamplerKind sampler = SamplerKind::neighbor;
  bool layer_dependency = false;       // of LABOR: hops share their random variates
  std::uint32_t batch_dependency = 1;  // of LABOR: batches until the variates are new
  bool replace = false;
  bool edge_positions = false;
  bool evaluation = true;
  std::uint64_t seed = 0;
  std::uint64_t gpu_cache_bytes = 0;
  std::uint64_t cpu_cache_bytes = 0;
  Residency residency = Residency::fixed;

  bool operator==(const PreparationOptions&) const = default;
};
nlohmann::json to_json(const PreparationOptions& options);
PreparationOptions preparation_options_from_json(const nlohmann::json& json);

struct PreparationInfo {
  PreparationOptions options;
  std::uint64_t dataset_fingerprint = 0;
  std::uint32_t train_batches_per_epoch = 0;
  Residency planned = Residency::fixed;  // what `automatic` became; never automatic
  bool has_gpu_tier = false;             // rows in gpu.bin; without, there is no such file
};

// Up to 200 of letters, digits, '-', '_' and '.', the first no dot: the name of a folder, and no way out of
// one.
bool is_preparation_name(std::string_view name) noexcept;
std::string preparation_key(std::string_view name);  // in the catalog
// Throws Error(corruption) for what is no name: it came from a catalog, for the user's are checked before.
std::filesystem::path preparation_folder(const Dataset& dataset, std::string_view name);
// As the catalog has them.
std::vector<std::string> preparation_names(const Dataset& dataset);
// Those whose folder is there under its own name while the catalog neither has them nor has one in
// work: RocksDB takes a log of its files that was cut short for an older one.
std::vector<std::string> lost_preparations(const Dataset& dataset);
[[noreturn]] void fail_lost(const Dataset& dataset, std::string_view name);
// The sealed preparation's catalog entry, if there is one.
std::optional<nlohmann::json> preparation_entry(const Dataset& dataset, std::string_view name);

class Preparation {
 public:
  static Preparation open(const Dataset& dataset, const std::string& name);

  const std::string& name() const noexcept { return name_; }
  const PreparationInfo& info() const noexcept { return info_; }
  const SamplePool& pool() const noexcept { return pool_; }
  const PackFile& pack() const noexcept { return pack_; }
  const SectionFile& cpu_tier() const noexcept { return cpu_tier_; }
  // Null where the gpu tier has no rows.
  const SectionFile* gpu_tier() const noexcept { return gpu_tier_ ? &*gpu_tier_ : nullptr; }
  std::uint64_t gpu_row_count() const;
  // Rows that the cpu tier holds when training begins, and the most that it ever holds.
  std::uint64_t cpu_row_count() const { return cpu_tier_.require(SectionKind::feature_rows).rows; }
  std::uint64_t cpu_slot_count() const;
  // Where the row in each slot goes when the pool begins anew: a permutation of the slots, or empty where
  // rows stay. Throws Error(corruption) when it is not one.
  std::vector<std::uint32_t> read_tier_moves() const;
  std::uint64_t bytes() const noexcept;  // of all files

  // Every checksum, and that each batch's frame, index and slots agree. Throws Error: corruption, cancelled.
  void verify(Progress* progress) const;

 private:
  Preparation(std::string name, PreparationInfo info, const std::filesystem::path& folder, FileLock lock);
  static Preparation open_described(const Dataset& dataset, const std::string& name,
                                    const nlohmann::json& entry);
  class TierCheck;

  std::string name_;
  PreparationInfo info_;
  FileLock lock_;  // shared, of the pool's file: a preparation is not replaced under those who read it
  SamplePool pool_;
  PackFile pack_;
  SectionFile cpu_tier_;
  std::optional<SectionFile> gpu_tier_;
};

// The catalog's change that seals a preparation whose files stand in `folder`.
Catalog::Change seal_preparation(const std::filesystem::path& folder, const std::string& name,
                                 const PreparationInfo& info);

}  // namespace gneiss
