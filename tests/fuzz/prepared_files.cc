#include "tests/fuzz/prepared_files.h"

#include "sampler/prepare.h"
#include "tests/support/small_dataset.h"

namespace gneiss::test {
namespace {

void prepare_as(const std::filesystem::path& folder, const std::string& name,
                const PreparationOptions& options, std::uint64_t disk_budget_bytes = 0) {
  Dataset dataset = Dataset::open(folder, Catalog::Access::write);
  ThreadPool pool(1);
  prepare(dataset,
          {.name = name,
           .options = options,
           .memory_bytes = std::uint64_t{1} << 30,
           .disk_budget_bytes = disk_budget_bytes},
          pool, [](const PreparationCost&) {});
}

}  // namespace

PreparationOptions fuzz_preparation_options() {
  PreparationOptions options;
  options.fanouts = {4, 3};
  options.batch_size = 16;
  options.sample_epochs = 2;
  options.seed = 3;
  options.gpu_cache_bytes = 3000;
  options.cpu_cache_bytes = 6000;
  return options;
}

void write_fuzz_dataset(const std::filesystem::path& folder) {
  std::filesystem::remove_all(folder);
  write_small_dataset(folder, {.nodes = 200, .edges = 1000, .dim = 64, .train = 48, .valid = 8, .test = 8});
}

std::uint64_t sharing_budget(const std::filesystem::path& folder) {
  const PrepareRequest request{.name = "p",
                               .options = fuzz_preparation_options(),
                               .memory_bytes = std::uint64_t{1} << 30,
                               .dry_run = true};
  Dataset dataset = Dataset::open(folder);
  ThreadPool pool(1);
  return prepare(dataset, request, pool, [](const PreparationCost&) {}).cost.disk_space_bytes() - 1;
}

void prepare_fuzz_dataset(const std::filesystem::path& folder) {
  PreparationOptions options = fuzz_preparation_options();
  prepare_as(folder, "own", options);
  prepare_as(folder, "shared", options, sharing_budget(folder));
  options.residency = Residency::belady;
  prepare_as(folder, "belady", options);
}

}  // namespace gneiss::test
