// Where a run stands, as the next process finds it.
#include "engine/train/train_state.h"

#include <cstring>

#include "engine/compute/cpu/cpu_backend.h"
#include "engine/train/safetensors.h"
#include "storage/base/parallel.h"
#include "storage/io/file.h"
#include "tests/fuzz/fuzz_target.h"

namespace gneiss::test {
namespace {

constexpr const char* identity = R"({"lr":"0.01","hidden":3})";

struct TinyModel {
  ThreadPool pool{1};
  std::unique_ptr<Backend> backend = make_cpu_backend(pool);
  ParameterSet parameters{*backend};
  TinyModel() {
    parameters.add_vector("bias", 3, 3);
    parameters.allocate();
    parameters.initialize(1);
  }
};

TinyModel& model() {
  static TinyModel tiny;
  return tiny;
}

std::vector<std::string> seeds() {
  const std::filesystem::path path = fuzz_folder() / "state.safetensors";
  const std::vector<float> best(model().parameters.element_count());
  TrainState state{.identity = identity,
                   .epochs_done = 3,
                   .step = 12,
                   .optimizer_step = 12,
                   .best_epoch = 2,
                   .valid_score = {}};
  std::vector<std::string> files;
  write_train_state(path, state, model().parameters, best);
  files.push_back(read_text_file(path));
  state.valid_score = 0.25;
  state.identity = R"({"lr":"0.5"})";
  write_train_state(path, state, model().parameters, best);
  files.push_back(read_text_file(path));
  return files;
}

void run(std::string_view input) {
  const MemoryFile memory(input);
  attempt([&] { peek_train_state(memory.path(), identity); });
  std::vector<float> best(model().parameters.element_count());
  read_train_state(memory.path(), identity, model().parameters, best);
}

// The checksum in the header, of what safetensors makes of the rest.
void seal(std::span<std::byte> input) {
  constexpr std::string_view key = R"("xxh3":")";
  const std::string_view text(reinterpret_cast<const char*>(input.data()), input.size());
  const std::size_t at = text.find(key);
  if (at == text.npos || text.size() - at < key.size() + 16) return;
  attempt([&] {
    const MemoryFile memory(text);
    const SafetensorsFile file = SafetensorsFile::open(memory.path());
    const std::string digits = file.stream();
    std::memcpy(input.data() + at + key.size(), digits.data(), digits.size());
  });
}

}  // namespace

const FuzzTarget train_state_target{.name = "train_state", .seeds = seeds, .run = run, .seal = seal};

}  // namespace gneiss::test
