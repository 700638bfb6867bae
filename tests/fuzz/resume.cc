// `gneiss prepare` going on with a folder that an earlier one left, one of its files changed.
//
// Input: which moment it was left in, which file, then that file.
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <thread>

#include "sampler/prepare.h"
#include "storage/base/checksum.h"
#include "storage/io/file_lock.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/prepared_files.h"
#include "tests/support/file_size_limit.h"

namespace gneiss::test {
namespace {

constexpr std::size_t head_bytes = 2;

struct Moment {
  std::uint64_t disk_budget_bytes = 0;
  std::string journal;
  std::map<std::string, std::string> files;
};

class LeftFolders {
 public:
  LeftFolders() {
    write_fuzz_dataset(folder());
    prepare_fuzz_dataset(folder());
    for (const std::uint64_t disk_budget_bytes : {std::uint64_t{0}, sharing_budget(folder())}) {
      for (const std::uint64_t limit : {16'000U, 40'000U, 80'000U}) {
        forget();
        const FileSizeLimit full(limit);
        attempt([&] { prepare_again(disk_budget_bytes, [] {}); });
        keep(disk_budget_bytes);
      }
      leave_packed(disk_budget_bytes);
    }
    forget();
  }
  static std::filesystem::path folder() { return fuzz_folder() / "resume"; }
  static std::filesystem::path partial() { return folder() / "prepared/p.partial"; }
  const std::vector<Moment>& moments() const { return moments_; }

  static void prepare_again(std::uint64_t disk_budget_bytes, const std::function<void()>& when_planned) {
    const PrepareRequest request{.name = "p",
                                 .options = fuzz_preparation_options(),
                                 .memory_bytes = std::uint64_t{1} << 30,
                                 .disk_budget_bytes = disk_budget_bytes,
                                 .checkpoint_seconds = 0};
    Dataset dataset = Dataset::open(folder(), Catalog::Access::write);
    ThreadPool pool(1);
    prepare(dataset, request, pool, [&](const PreparationCost&) { when_planned(); });
  }
  static void leave(const Moment& moment) {
    forget();
    std::filesystem::create_directories(partial());
    for (const auto& [name, bytes] : moment.files) put_file(partial() / name, bytes);
    Catalog(folder() / "catalog", Catalog::Access::write).apply({{"preparing/p", moment.journal}});
  }

 private:
  static void forget() {
    std::filesystem::remove_all(partial());
    std::filesystem::remove_all(folder() / "prepared/p");
    Catalog(folder() / "catalog", Catalog::Access::write)
        .apply({{"preparing/p", std::nullopt}, {"preparation/p", std::nullopt}});
  }
  static std::map<std::string, std::string> files_of_work() {
    std::map<std::string, std::string> files;
    if (!std::filesystem::exists(partial())) return files;
    for (const auto& file : std::filesystem::directory_iterator(partial()))
      files[file.path().filename()] = read_text_file(file.path());
    return files;
  }
  void keep(std::uint64_t disk_budget_bytes) {
    Moment moment{.disk_budget_bytes = disk_budget_bytes, .journal = {}, .files = files_of_work()};
    moment.journal = Catalog(folder() / "catalog", Catalog::Access::read).get("preparing/p").value_or("");
    if (!moment.files.empty()) moments_.push_back(std::move(moment));
  }
  // The work when all is packed: sealing waits for who reads the old preparation, and who does so looks.
  void leave_packed(std::uint64_t disk_budget_bytes) {
    forget();
    std::filesystem::create_directories(folder() / "prepared/p");
    const auto old_pool = folder() / "prepared/p" / pool_file_name;
    put_file(old_pool, "of an old preparation");
    Moment moment{.disk_budget_bytes = disk_budget_bytes, .journal = {}, .files = {}};
    std::jthread reader;
    const auto when_planned = [&] {
      auto lock = FileLock::try_take(old_pool, FileLock::Mode::shared);
      reader = std::jthread([&moment, held = std::move(lock)](const std::stop_token& stop) {
        while (!std::filesystem::exists(partial() / pack_file_name) && !stop.stop_requested())
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        moment.files = files_of_work();
      });
    };
    attempt([&] { prepare_again(disk_budget_bytes, when_planned); });
    reader = {};
    moment.journal = moments_.empty() ? "" : moments_.back().journal;
    moments_.push_back(moment);
    // And as if the pack were not yet named: its checkpoint is read then.
    auto node = moment.files.extract(pack_file_name);
    if (node.empty()) return;
    node.key() = std::string(pack_file_name) + ".tmp";
    moment.files.insert(std::move(node));
    moments_.push_back(std::move(moment));
  }
  std::vector<Moment> moments_;
};

LeftFolders& left() {
  static LeftFolders folders;
  return folders;
}

std::vector<std::string> seeds() {
  std::vector<std::string> inputs;
  for (std::size_t i = 0; i < left().moments().size(); ++i) {
    std::size_t file = 0;
    for (const auto& [name, bytes] : left().moments()[i].files)
      inputs.push_back(std::string{static_cast<char>(i), static_cast<char>(file++)} + bytes);
  }
  return inputs;
}

void run(std::string_view input) {
  if (input.size() < head_bytes) return;
  Moment moment = left().moments()[static_cast<unsigned char>(input[0]) % left().moments().size()];
  auto file = moment.files.begin();
  std::advance(file, static_cast<unsigned char>(input[1]) % moment.files.size());
  file->second = input.substr(head_bytes);
  LeftFolders::leave(moment);
  LeftFolders::prepare_again(moment.disk_budget_bytes, [] {});
  const Dataset dataset = Dataset::open(LeftFolders::folder());
  Preparation::open(dataset, "p").verify(nullptr);
}

// As checkpoints are; what else there is carries no checksum of its own.
void seal(std::span<std::byte> input) {
  if (input.size() < head_bytes + 4 * sizeof(std::uint64_t)) return;
  const auto numbers = input.subspan(head_bytes, (input.size() - head_bytes) / 8 * 8);
  constexpr std::string_view magic = "GNEICKPT";
  if (std::memcmp(numbers.data(), magic.data(), magic.size()) != 0) return;
  const std::uint64_t sum = checksum(numbers.first(numbers.size() - sizeof(sum)));
  std::memcpy(numbers.last(sizeof(sum)).data(), &sum, sizeof(sum));
}

std::vector<std::span<std::byte>> parts(std::span<std::byte> input) {
  return {input.subspan(std::min(input.size(), head_bytes))};
}

}  // namespace

const FuzzTarget resume_target{
    .name = "resume", .seeds = seeds, .run = run, .seal = seal, .parts = parts, .replays = 12};

}  // namespace gneiss::test
