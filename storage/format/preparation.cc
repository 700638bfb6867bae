#include "storage/format/preparation.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/format/file_record.h"
#include "storage/format/json_text.h"
#include "storage/format/section_stream.h"

namespace gneiss {
namespace {

bool is_gpu_tier_section(SectionKind kind) {
  return kind == SectionKind::feature_rows || kind == SectionKind::tier_nodes;
}

bool is_cpu_tier_section(SectionKind kind) {
  return is_gpu_tier_section(kind) || kind == SectionKind::tier_moves;
}

//   gpu_tier  null: there is none
nlohmann::json describe_files(const SectionFile& pool, const SectionFile& pack, const SectionFile& cpu_tier,
                              const SectionFile* gpu_tier) {
  nlohmann::json files{{pool_file_name, describe_file(pool)},
                       {pack_file_name, describe_file(pack)},
                       {cpu_tier_file_name, describe_file(cpu_tier)}};
  if (gpu_tier != nullptr) files[gpu_tier_file_name] = describe_file(*gpu_tier);
  return files;
}

// Whether a batch of these options can have these counts in this dataset. Buffers are sized by them, so no
// batch may claim more than what the dataset's files, which are there, can give.
bool has_possible_counts(const BatchEntry& entry, const DatasetInfo& info,
                         const PreparationOptions& options) {
  // An edge is drawn at most once in a hop, or, with replacement, at most `fanout` times for a destination.
  unsigned __int128 edges = 0;
  for (const std::int32_t fanout : options.fanouts) {
    edges += options.replace ? static_cast<unsigned __int128>(entry.hidden_count) *
                                   static_cast<std::uint32_t>(std::max(fanout, 1))
                             : info.edge_count;
  }
  return entry.input_count <= info.node_count && entry.seed_count <= options.batch_size &&
         entry.edge_count <= edges;
}

// Whether the image holds rows of the dataset, and as many nodes.
bool is_tier_of(const SectionFile& image, const DatasetInfo& info) {
  const SectionEntry& rows = image.require(SectionKind::feature_rows);
  expect_shape(image.require(SectionKind::tier_nodes), Dtype::u32, rows.rows, 1, image.name());
  return rows.checksum_block_bytes == feature_checksum_block_bytes && rows.dtype == info.feature_dtype &&
         rows.columns == info.feature_dim && rows.rows <= info.node_count;
}

// The pool's and the pack's entries must speak of the same batches.
void check_agreement(const Preparation& preparation, const Dataset& dataset) {
  const auto entries = preparation.pool().entries();
  const auto segments = preparation.pack().entries();
  const std::uint64_t row_bytes = dataset.info().row_bytes();
  bool agree = entries.size() == segments.size();
  for (std::size_t i = 0; agree && i < entries.size(); ++i) {
    agree = entries[i].key == segments[i].key &&
            entries[i].page_rows + entries[i].disk_rows == segments[i].row_count &&
            (preparation.pack().is_shared() ? entries[i].disk_rows : entries[i].page_rows) == 0 &&
            (entries[i].gpu_rows() == 0 || preparation.gpu_tier() != nullptr) &&
            segments[i].row_bytes == row_bytes &&
            has_possible_counts(entries[i], dataset.info(), preparation.info().options);
  }
  agree = agree && is_tier_of(preparation.cpu_tier(), dataset.info()) &&
          preparation.cpu_row_count() <= preparation.cpu_slot_count() &&
          preparation.cpu_slot_count() <= dataset.info().node_count;
  if (const SectionFile* gpu_tier = preparation.gpu_tier()) {
    agree = agree && is_tier_of(*gpu_tier, dataset.info());
  }
  if (!agree) {
    fail(Kind::corruption, "preparation '{}': its files do not belong together; prepare it again",
         preparation.name());
  }
}

}  // namespace

std::string_view name_of(SamplerKind kind) noexcept {
  return kind == SamplerKind::labor ? "labor" : "neighbor";
}

SamplerKind parse_sampler(std::string_view name) {
  if (name == "neighbor") return SamplerKind::neighbor;
  if (name == "labor") return SamplerKind::labor;
  fail(Kind::config, "--sampler '{}' is unknown; use neighbor or labor", name);
}

std::string_view name_of(Residency residency) noexcept {
  switch (residency) {
    case Residency::fixed:
      return "static";
    case Residency::belady:
      return "belady";
    case Residency::automatic:
      break;
  }
  return "auto";
}

Residency parse_residency(std::string_view name) {
  for (const Residency residency : {Residency::fixed, Residency::belady, Residency::automatic}) {
    if (name_of(residency) == name) return residency;
  }
  fail(Kind::config, "--residency '{}' is unknown; use static, belady or auto", name);
}

nlohmann::json to_json(const PreparationOptions& options) {
  nlohmann::json json{{"fanout", options.fanouts},
                      {"batch_size", options.batch_size},
                      {"sample_epochs", options.sample_epochs},
                      {"replace", options.replace},
                      {"edge_positions", options.edge_positions},
                      {"evaluation", options.evaluation},
                      {"seed", options.seed},
                      {"cpu_cache_bytes", options.cpu_cache_bytes},
                      {"sampler", name_of(options.sampler)},
                      {"layer_dependency", options.layer_dependency},
                      {"batch_dependency", options.batch_dependency},
                      {"residency", name_of(options.residency)}};
  // Only where there is one: preparations of before this option are those made without it.
  if (options.gpu_cache_bytes > 0) json["gpu_cache_bytes"] = options.gpu_cache_bytes;
  return json;
}

PreparationOptions preparation_options_from_json(const nlohmann::json& json) {
  PreparationOptions options;
  options.fanouts.clear();
  for (const nlohmann::json& fanout : json.at("fanout")) {
    options.fanouts.push_back(integer_of<std::int32_t>(fanout));
  }
  options.batch_size = integer_of<std::uint32_t>(json.at("batch_size"));
  options.sample_epochs = integer_of<std::uint32_t>(json.at("sample_epochs"));
  json.at("replace").get_to(options.replace);
  json.at("edge_positions").get_to(options.edge_positions);
  json.at("evaluation").get_to(options.evaluation);
  options.seed = integer_of<std::uint64_t>(json.at("seed"));
  options.sampler = parse_sampler(json.at("sampler").get<std::string>());
  // Absent in preparations made before LABOR.
  options.layer_dependency = json.value("layer_dependency", options.layer_dependency);
  options.batch_dependency = json.value("batch_dependency", options.batch_dependency);
  if (json.contains("gpu_cache_bytes")) {
    options.gpu_cache_bytes = integer_of<std::uint64_t>(json.at("gpu_cache_bytes"));
  }
  options.cpu_cache_bytes = integer_of<std::uint64_t>(json.at("cpu_cache_bytes"));
  options.residency = parse_residency(json.at("residency").get<std::string>());
  return options;
}

bool is_preparation_name(std::string_view name) noexcept {
  constexpr std::size_t name_bytes_max = 200;  // a file name with ".partial" is at most 255
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  return !name.empty() && name.front() != '.' && name.size() <= name_bytes_max &&
         !name.ends_with(".partial") && std::ranges::all_of(name, is_plain);
}

std::string preparation_key(std::string_view name) { return fmt::format("preparation/{}", name); }

std::filesystem::path preparation_folder(const Dataset& dataset, std::string_view name) {
  if (!is_preparation_name(name)) {
    fail(Kind::corruption, "{}: the catalog has a preparation '{}', which cannot be the name of one",
         dataset.folder().string(), name);
  }
  return dataset.folder() / "prepared" / name;
}

std::vector<std::string> preparation_names(const Dataset& dataset) {
  std::vector<std::string> names;
  for (const std::string& key : dataset.catalog().keys("preparation/")) {
    names.push_back(key.substr(std::string_view("preparation/").size()));
  }
  return names;
}

namespace {

std::string preparing_key(std::string_view name) { return fmt::format("preparing/{}", name); }

// The dataset's own is as it was when it was opened, where another process writes.
Catalog catalog_now(const Dataset& dataset) { return {dataset.folder() / "catalog", Catalog::Access::read}; }

// The old one is no more, and the new one is not there yet.
bool is_sealing(const Catalog& catalog, std::string_view name) {
  const auto journal = parse_json(catalog.get(preparing_key(name)).value_or(""));
  return journal.is_object() && journal.contains("entry_key");
}

[[noreturn]] void fail_replaced(std::string_view name) {
  fail(Kind::io,
       "preparation '{}' is being replaced by another gneiss; wait until it ends, and where that was killed, "
       "run it again",
       name);
}

bool is_known(const Catalog& catalog, std::string_view name) {
  return catalog.contains(preparation_key(name)) || catalog.contains(preparing_key(name));
}

}  // namespace

std::vector<std::string> lost_preparations(const Dataset& dataset) {
  std::vector<std::string> lost;
  std::error_code none;
  for (const auto& folder : std::filesystem::directory_iterator(dataset.folder() / "prepared", none)) {
    const std::string name = folder.path().filename();
    if (!folder.is_directory(none) || name.ends_with(".partial")) continue;
    if (!is_known(dataset.catalog(), name)) lost.push_back(name);
  }
  if (lost.empty()) return lost;
  // Made since the catalog was read.
  const Catalog now = catalog_now(dataset);
  std::erase_if(lost, [&](const std::string& name) { return is_known(now, name); });
  std::ranges::sort(lost);
  return lost;
}

void fail_lost(const Dataset& dataset, std::string_view name) {
  fail(Kind::corruption,
       "the catalog {} lacks preparation '{}', whose folder is there: it was cut short; prepare it again",
       (dataset.folder() / "catalog").string(), name);
}

std::optional<nlohmann::json> preparation_entry(const Dataset& dataset, std::string_view name) {
  if (!dataset.catalog().contains(preparation_key(name))) return std::nullopt;
  return dataset.catalog().get_json(preparation_key(name));
}

Preparation::Preparation(std::string name, PreparationInfo info, const std::filesystem::path& folder,
                         FileLock lock)
    : name_(std::move(name)),
      info_(std::move(info)),
      lock_(std::move(lock)),
      pool_(folder / pool_file_name),
      pack_(folder / pack_file_name),
      cpu_tier_(folder / cpu_tier_file_name, cpu_tier_magic, is_cpu_tier_section) {
  if (info_.has_gpu_tier) gpu_tier_.emplace(folder / gpu_tier_file_name, gpu_tier_magic, is_gpu_tier_section);
}

Preparation Preparation::open(const Dataset& dataset, const std::string& name) {
  auto entry = preparation_entry(dataset, name);
  if (!entry) {
    const Catalog now = catalog_now(dataset);
    if (now.contains(preparation_key(name))) entry = now.get_json(preparation_key(name));
    if (!entry && is_sealing(now, name)) fail_replaced(name);
  }
  if (!entry) {
    const auto lost = lost_preparations(dataset);
    if (std::ranges::find(lost, name) != lost.end()) fail_lost(dataset, name);
    std::string known;
    for (const std::string& other : preparation_names(dataset)) known += (known.empty() ? "" : ", ") + other;
    fail(Kind::config, "{} has no preparation '{}'; {}", dataset.folder().string(), name,
         known.empty() ? "run 'gneiss prepare' first" : "it has: " + known);
  }
  constexpr int tries_max = 5;
  for (int tries = 1;; ++tries) {
    try {
      return open_described(dataset, name, *entry);
    } catch (const Error& error) {
      // What another process has replaced since the catalog was read is no damage.
      if (error.kind() != Kind::corruption || tries == tries_max) throw;
      const Catalog now = catalog_now(dataset);
      const auto text = now.get(preparation_key(name));
      if (!text && now.contains(preparing_key(name))) fail_replaced(name);
      if (!text || parse_json(*text) == *entry) throw;
      entry = now.get_json(preparation_key(name));
    }
  }
}

// As the catalog's `entry` says that it is.
Preparation Preparation::open_described(const Dataset& dataset, const std::string& name,
                                        const nlohmann::json& entry) {
  PreparationInfo info;
  try {
    const auto version = integer_of<std::uint32_t>(entry.at("format_version"));
    if (version != format_version) {
      fail(Kind::input, "preparation '{}' has format version {}, this program reads version {}; {}", name,
           version, format_version,
           version > format_version ? "use a newer gneiss" : "prepare it again with --force");
    }
    info.options = preparation_options_from_json(entry.at("options"));
    info.dataset_fingerprint = integer_of<std::uint64_t>(entry.at("dataset_fingerprint"));
    info.train_batches_per_epoch = integer_of<std::uint32_t>(entry.at("train_batches_per_epoch"));
    info.planned = parse_residency(entry.value("planned_residency", "static"));
  } catch (const nlohmann::json::exception& error) {
    fail(Kind::corruption, "preparation '{}': its catalog entry is damaged: {}", name, error.what());
  }
  if (info.dataset_fingerprint != dataset.fingerprint()) {
    fail(Kind::input,
         "preparation '{}' was made from other files than {} now has; prepare it again with --force", name,
         dataset.folder().string());
  }
  const auto folder = preparation_folder(dataset, name);
  auto lock = FileLock::try_take(folder / pool_file_name, FileLock::Mode::shared);
  if (!lock) fail_replaced(name);
  const nlohmann::json described = entry.value("files", nlohmann::json());
  info.has_gpu_tier = described.contains(gpu_tier_file_name);
  Preparation preparation(name, std::move(info), folder, std::move(*lock));
  const auto files = describe_files(preparation.pool_.file(), preparation.pack_.file(), preparation.cpu_tier_,
                                    preparation.gpu_tier());
  if (described != files) {
    fail(Kind::corruption,
         "preparation '{}': its files are not those that the catalog describes; prepare it again", name);
  }
  check_agreement(preparation, dataset);
  return preparation;
}

std::uint64_t Preparation::gpu_row_count() const {
  return gpu_tier_ ? gpu_tier_->require(SectionKind::feature_rows).rows : 0;
}

std::uint64_t Preparation::cpu_slot_count() const {
  const SectionEntry* moves = cpu_tier_.find(SectionKind::tier_moves);
  return moves != nullptr ? moves->rows : cpu_row_count();
}

std::vector<std::uint32_t> Preparation::read_tier_moves() const {
  const SectionEntry* section = cpu_tier_.find(SectionKind::tier_moves);
  if (section == nullptr) return {};
  expect_shape(*section, Dtype::u32, section->rows, 1, cpu_tier_.name());
  const AlignedBuffer bytes = cpu_tier_.read_section(*section);
  const auto moves = bytes.as<std::uint32_t>();
  std::vector<bool> is_taken(moves.size());
  for (const std::uint32_t to : moves) {
    if (to >= moves.size() || is_taken[to]) {
      fail(Kind::corruption, "{}: two rows of the cpu tier would move to slot {}; prepare it again",
           cpu_tier_.name(), to);
    }
    is_taken[to] = true;
  }
  return {moves.begin(), moves.end()};
}

std::uint64_t Preparation::bytes() const noexcept {
  return pool_.file().file_bytes() + pack_.file().file_bytes() + cpu_tier_.file_bytes() +
         (gpu_tier_ ? gpu_tier_->file_bytes() : 0);
}

// Follows what the tiers in memory hold, batch by batch, and compares every frame with them.
class Preparation::TierCheck {
 public:
  explicit TierCheck(const Preparation& preparation)
      : preparation_(preparation), holds_(preparation.cpu_slot_count()), stays_(holds_.size(), true) {
    first_ = nodes_of(preparation.cpu_tier_);
    if (preparation.gpu_tier_) gpu_holds_ = nodes_of(*preparation.gpu_tier_);
    std::ranges::copy(first_, holds_.begin());
    std::fill(stays_.begin() + static_cast<std::ptrdiff_t>(first_.size()), stays_.end(), false);
    moves_ = preparation.read_tier_moves();
  }

  void check(const BatchEntry& entry) {
    const SamplePool& pool = preparation_.pool();
    const AlignedBuffer raw = pool.read_frame(entry);
    parse_batch_frame(raw.bytes(), pool.file().name(), true, frame_);
    const auto inputs = pool.read_input_nodes(entry);
    const bool is_train = entry.key.split == Split::train;
    bool agree = frame_.seeds.size() == entry.seed_count &&
                 frame_.hidden_nodes.size() == entry.hidden_count &&
                 frame_.input_count() == entry.input_count && frame_.edge_count() == entry.edge_count &&
                 frame_.gpu_slots.size() == entry.gpu_rows() && frame_.cpu_slots.size() == entry.cpu_rows &&
                 (is_train || frame_.admitted_rows.empty());
    std::size_t at = 0;
    std::size_t gpu_at = 0;
    for (const PlanRange& range : frame_.plan) {
      for (std::uint32_t i = 0; agree && range.tier == Tier::gpu && i < range.count; ++i) {
        const std::uint32_t slot = frame_.gpu_slots[gpu_at++];
        agree = slot < gpu_holds_.size() && gpu_holds_[slot] == inputs[range.first + i];
      }
      for (std::uint32_t i = 0; agree && range.tier == Tier::cpu && i < range.count; ++i) {
        const std::uint32_t slot = frame_.cpu_slots[at++];
        agree = slot < holds_.size() && holds_[slot] == inputs[range.first + i] && (is_train || stays_[slot]);
      }
    }
    for (std::size_t i = 0; agree && i < frame_.admitted_rows.size(); ++i) {
      const std::uint32_t slot = frame_.admitted_slots[i];
      agree = slot < holds_.size() && frame_.admitted_rows[i] >= gpu_at + at;
      if (agree) holds_[slot] = inputs[frame_.admitted_rows[i]];
    }
    if (!agree) {
      fail(Kind::corruption, "{}: {} is not what the index{} say; prepare it again", pool.file().name(),
           to_string(entry.key), gpu_holds_.empty() ? " and cpu.bin" : ", cpu.bin and gpu.bin");
    }
    if (is_train && entry.key.batch + 1 == preparation_.info().train_batches_per_epoch) end_epoch(entry.key);
  }

 private:
  static std::vector<NodeId> nodes_of(const SectionFile& image) {
    const AlignedBuffer nodes = image.read_section(image.require(SectionKind::tier_nodes));
    return {nodes.as<NodeId>().begin(), nodes.as<NodeId>().end()};
  }

  void end_epoch(const BatchKey& key) {
    if (moves_.empty()) return;
    if (key.epoch + 1 < preparation_.info().options.sample_epochs) {
      for (std::size_t slot = 0; slot < first_.size(); ++slot) {
        if (holds_[slot] != first_[slot]) stays_[slot] = false;
      }
      return;
    }
    std::vector<NodeId> moved(holds_.size());
    for (std::size_t slot = 0; slot < holds_.size(); ++slot) moved[moves_[slot]] = holds_[slot];
    holds_ = std::move(moved);
    if (!std::ranges::equal(first_, std::span(holds_).first(first_.size()))) {
      fail(Kind::corruption, "{}: the cpu tier does not end as it begins; prepare it again",
           preparation_.pool().file().name());
    }
  }

  const Preparation& preparation_;
  std::vector<NodeId> gpu_holds_;  // for good
  std::vector<NodeId> holds_;      // of each slot of the cpu tier
  std::vector<bool> stays_;        // at the end of every epoch so far, the slot held what it began with
  std::vector<NodeId> first_;
  std::vector<std::uint32_t> moves_;
  BatchFrame frame_;
};

void Preparation::verify(Progress* progress) const {
  verify_sections(pool_.file(), progress);
  verify_sections(cpu_tier_, progress);
  if (gpu_tier_) verify_sections(*gpu_tier_, progress);
  TierCheck tier(*this);
  for (const BatchEntry& entry : pool_.entries()) {
    throw_if_interrupted();
    tier.check(entry);
  }
  pack_.verify(progress);
}

Catalog::Change seal_preparation(const std::filesystem::path& folder, const std::string& name,
                                 const PreparationInfo& info) {
  const SamplePool pool(folder / pool_file_name);
  const PackFile pack(folder / pack_file_name);
  const SectionFile cpu_tier(folder / cpu_tier_file_name, cpu_tier_magic, is_cpu_tier_section);
  std::optional<SectionFile> gpu_tier;
  if (info.has_gpu_tier) gpu_tier.emplace(folder / gpu_tier_file_name, gpu_tier_magic, is_gpu_tier_section);
  const nlohmann::json entry{
      {"format_version", format_version},
      {"options", to_json(info.options)},
      {"dataset_fingerprint", info.dataset_fingerprint},
      {"train_batches_per_epoch", info.train_batches_per_epoch},
      {"planned_residency", name_of(info.planned)},
      {"files", describe_files(pool.file(), pack.file(), cpu_tier, gpu_tier ? &*gpu_tier : nullptr)}};
  return {preparation_key(name), entry.dump()};
}

}  // namespace gneiss
