// A preparation's files, one of them changed, as the catalog describes them: read whole, then as training
// does.
//
// Input: which preparation, which of its files, then that file.
#include <map>
#include <memory>
#include <optional>

#include "engine/pipeline/pipelined_source.h"
#include "engine/tiers/host_gpu_tier.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/prepared_files.h"
#include "tests/fuzz/seal.h"

namespace gneiss::test {
namespace {

constexpr std::size_t head_bytes = 2;

std::size_t kind_of(char byte) { return static_cast<unsigned char>(byte) % preparation_kinds.size(); }
std::size_t file_of(char byte) { return static_cast<unsigned char>(byte) % preparation_files.size(); }

// The preparations as they were made, and the dataset, open for writing.
class Prepared {
 public:
  Prepared() {
    const std::filesystem::path folder = fuzz_folder() / "preparation";
    write_fuzz_dataset(folder);
    prepare_fuzz_dataset(folder);
    dataset_.emplace(Dataset::open(folder, Catalog::Access::write));
    for (std::size_t kind = 0; kind < preparation_kinds.size(); ++kind) {
      infos_.push_back(Preparation::open(*dataset_, preparation_kinds[kind]).info());
      for (std::size_t file = 0; file < preparation_files.size(); ++file)
        whole_[{kind, file}] = read_text_file(path(kind, file));
    }
  }

  const std::map<std::pair<std::size_t, std::size_t>, std::string>& whole() const { return whole_; }

  // Seals the files as they stand and opens them.
  Preparation open_with(std::size_t kind, std::size_t file, std::string_view bytes) {
    for (const auto& [place, content] : whole_) {
      if (place == changed_) put_file(path(place.first, place.second), content);
    }
    changed_ = {kind, file};
    put_file(path(kind, file), bytes);
    const char* name = preparation_kinds[kind];
    dataset_->catalog().apply({seal_preparation(preparation_folder(*dataset_, name), name, infos_[kind])});
    return Preparation::open(*dataset_, name);
  }
  const Dataset& dataset() const { return *dataset_; }

 private:
  std::filesystem::path path(std::size_t kind, std::size_t file) const {
    return preparation_folder(*dataset_, preparation_kinds[kind]) / preparation_files[file];
  }
  std::optional<Dataset> dataset_;
  std::vector<PreparationInfo> infos_;
  std::map<std::pair<std::size_t, std::size_t>, std::string> whole_;
  std::pair<std::size_t, std::size_t> changed_;
};

Prepared& prepared() {
  static Prepared files;
  return files;
}

std::vector<std::string> seeds() {
  std::vector<std::string> inputs;
  for (const auto& [place, bytes] : prepared().whole()) {
    inputs.push_back({static_cast<char>(place.first), static_cast<char>(place.second)});
    inputs.back() += bytes;
  }
  return inputs;
}

void train(const Preparation& preparation) {
  const HostGpuTier gpu_tier(preparation);
  CpuTier tier(preparation);
  const std::size_t count = preparation.pool().entries().size();
  PipelinedSource source(
      preparation, prepared().dataset().info(), tier,
      {.slot_count = 2, .io_engine = "pread", .queue_depth = 2, .gpu_tier = gpu_tier.base()},
      [count](std::uint64_t position) -> std::optional<std::size_t> {
        return position < count ? std::optional<std::size_t>(position) : std::nullopt;
      });
  while (const SourcedBatch* batch = source.next()) {
    std::uint64_t sum = 0;
    for (std::uint32_t row = 0; row < batch->view.input.row_count(); ++row)
      sum += std::to_integer<std::uint64_t>(*batch->view.input.row(row));
    static_cast<void>(sum);
  }
}

void run(std::string_view input) {
  if (input.size() < head_bytes) return;
  const Preparation preparation =
      prepared().open_with(kind_of(input[0]), file_of(input[1]), input.substr(head_bytes));
  attempt([&] { preparation.verify(nullptr); });
  attempt([&] { preparation.read_tier_moves(); });
  attempt([&] { train(preparation); });
}

void seal(std::span<std::byte> input) {
  if (input.size() < head_bytes) return;
  constexpr std::array<void (*)(std::span<std::byte>), 4> seals{seal_pool, seal_pack, seal_sections,
                                                                seal_sections};
  seals[file_of(static_cast<char>(input[1]))](input.subspan(head_bytes));
}

std::vector<std::span<std::byte>> parts(std::span<std::byte> input) {
  if (input.size() < head_bytes) return {};
  return parts_of_sections(input.subspan(head_bytes));
}

}  // namespace

const FuzzTarget preparation_target{
    .name = "preparation", .seeds = seeds, .run = run, .seal = seal, .parts = parts, .replays = 300};

}  // namespace gneiss::test
