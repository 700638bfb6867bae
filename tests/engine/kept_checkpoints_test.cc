// Checkpoints of the last epochs: which stay, and that no kill takes the last good one.
#include "engine/train/kept_checkpoints.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "engine/compute/cpu/cpu_backend.h"
#include "engine/train/checkpoint.h"
#include "engine/train/train_state.h"
#include "storage/base/parallel.h"
#include "storage/io/file.h"
#include "tests/engine/stored_values.h"
#include "tests/support/expect_error.h"
#include "tests/support/killed_child.h"
#include "tests/support/skip.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

// A run whose parameters, after epoch e, are all e.
class Epochs {
 public:
  explicit Epochs(std::filesystem::path folder, std::string suffix = "", std::uint32_t count = 2)
      : folder_(std::move(folder)),
        suffix_(std::move(suffix)),
        pool_(1),
        backend_(make_cpu_backend(pool_)),
        parameters_(*backend_),
        kept_({.folder = folder_ / "checkpoints", .suffix = suffix_, .count = count}) {
    parameters_.add_vector("bias", 300, 1);
    parameters_.allocate();
  }

  void set(std::uint32_t epoch) { std::ranges::fill(parameters_.values(), static_cast<float>(epoch)); }
  void finish(std::uint32_t epoch) {
    set(epoch);
    const std::vector<float> best(parameters_.element_count(), 1.0F);
    write_train_state(state_path(),
                      {.identity = "{}", .epochs_done = epoch, .best_epoch = 1, .valid_score = {}},
                      parameters_, best);
    kept_.keep(epoch, parameters_, state_path());
  }
  // As a run that goes on does first.
  void resume() {
    const std::uint32_t epoch = epoch_of_state(state_path());
    set(epoch);
    kept_.keep(epoch, parameters_, state_path());
  }

  // Each throws unless the file is whole.
  std::uint32_t epoch_of_state(const std::filesystem::path& path) {
    std::vector<float> best(parameters_.element_count());
    const TrainState state = read_train_state(path, "{}", parameters_, best);
    CHECK(std::ranges::all_of(parameters_.values(),
                              [&](float value) { return value == static_cast<float>(state.epochs_done); }));
    return state.epochs_done;
  }
  std::uint32_t epoch_of_weights(const std::filesystem::path& path) {
    read_checkpoint(path, parameters_);
    return static_cast<std::uint32_t>(parameters_.values()[0]);
  }
  bool has_whole(std::uint32_t epoch) {
    if (!std::filesystem::exists(kept_.weights_path(epoch)) ||
        !std::filesystem::exists(kept_.state_path(epoch)))
      return false;
    CHECK(epoch_of_weights(kept_.weights_path(epoch)) == epoch);
    CHECK(epoch_of_state(kept_.state_path(epoch)) == epoch);
    return true;
  }

  std::filesystem::path state_path() const { return folder_ / ("state" + suffix_ + ".safetensors"); }
  const KeptCheckpoints& kept() const { return kept_; }

 private:
  std::filesystem::path folder_;
  std::string suffix_;
  ThreadPool pool_;
  std::unique_ptr<Backend> backend_;
  ParameterSet parameters_;
  KeptCheckpoints kept_;
};

std::set<std::string> names_in(const std::filesystem::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) names.insert(std::filesystem::relative(entry.path(), folder));
  }
  return names;
}

}  // namespace

TEST_CASE(
    "any flipped bit or cut of weights and state is found; another program's weights have no checksum") {
  const TemporaryFolder folder;
  Epochs epochs(folder.path());
  epochs.finish(7);
  const auto weights = epochs.kept().weights_path(7);
  const auto state = epochs.kept().state_path(7);
  for (const auto& path : {weights, state}) {
    CAPTURE(path.string());
    const std::string whole = read_text_file(path);
    const auto expect_found = [&](const std::string& bytes) {
      write_text_file(folder / "damaged", bytes);
      EXPECT_ERROR(path == state ? epochs.epoch_of_state(folder / "damaged")
                                 : epochs.epoch_of_weights(folder / "damaged"),
                   Kind::corruption, "damaged");
    };
    for (std::size_t at = 0; at < whole.size(); at += at < 500 ? 1 : 37) {
      CAPTURE(at);
      for (int bit = 0; bit < 8; ++bit) {
        std::string bytes = whole;
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
        expect_found(bytes);
      }
      expect_found(whole.substr(0, at));
    }
  }
  const std::vector<float> values(300, 5);
  const TensorSource bias = tensor_of("bias", Dtype::f32, {300}, std::as_bytes(std::span(values)));
  write_safetensors(folder / "theirs", std::span(&bias, 1), {{"format", "pt"}});
  CHECK(epochs.epoch_of_weights(folder / "theirs") == 5);
}

TEST_CASE("parameters larger than the pieces in which they are written come back, side by side or not") {
  const TemporaryFolder folder;
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  ParameterSet parameters(*backend);
  // Rows of the first end in the middle of a piece; both are longer than one.
  const std::array<ParameterSet::Part, 2> parts{{{"left", 333}, {"right", 500}}};
  parameters.add_stacked(1000, parts);
  parameters.add_vector("bias", 3, 1);
  parameters.allocate();
  parameters.initialize(5);
  const std::vector<float> values(parameters.values().begin(), parameters.values().end());
  write_checkpoint(folder / "device", parameters, {.epoch = 3});
  write_checkpoint(folder / "host", parameters, values, {.epoch = 3});
  CHECK(read_text_file(folder / "device") == read_text_file(folder / "host"));
  const auto right = stored_values<float>(SafetensorsFile::open(folder / "host"), "right");
  CHECK(right[500] == values[833 + 333]);  // dense: the second row
  std::ranges::fill(parameters.values(), 0.0F);
  read_checkpoint(folder / "host", parameters);
  CHECK(std::ranges::equal(parameters.values(), values));

  std::ranges::copy(values, parameters.second_moments().begin());
  const TrainState state{.identity = "{}", .epochs_done = 1, .best_epoch = 1, .valid_score = {}};
  const std::vector<float> best(values.rbegin(), values.rend());
  write_train_state(folder / "state", state, parameters, best);
  std::ranges::fill(parameters.values(), 0.0F);
  std::ranges::fill(parameters.second_moments(), 0.0F);
  std::vector<float> best_read(best.size());
  read_train_state(folder / "state", "{}", parameters, best_read);
  CHECK(std::ranges::equal(parameters.values(), values));
  CHECK(std::ranges::equal(parameters.second_moments(), values));
  CHECK(best_read == best);
}

TEST_CASE("checkpoints of the last epochs stay, weights and state, and no others of the run") {
  const TemporaryFolder folder;
  Epochs epochs(folder.path());
  Epochs neighbor(folder.path(), "-seed-1", 1);
  for (std::uint32_t epoch = 1; epoch <= 4; ++epoch) {
    epochs.finish(epoch);
    neighbor.finish(epoch);
    if (epoch == 1) write_text_file(folder / "checkpoints" / "epoch-notes.txt", "mine");
  }
  CHECK(names_in(folder.path()) ==
        std::set<std::string>{
            "state.safetensors", "state-seed-1.safetensors", "checkpoints/epoch-notes.txt",
            "checkpoints/epoch-0003.safetensors", "checkpoints/epoch-0003.state.safetensors",
            "checkpoints/epoch-0004.safetensors", "checkpoints/epoch-0004.state.safetensors",
            "checkpoints/epoch-0004-seed-1.safetensors", "checkpoints/epoch-0004-seed-1.state.safetensors"});
  CHECK(epochs.kept().epochs() == std::vector<std::uint32_t>{3, 4});
  CHECK(neighbor.kept().epochs() == std::vector<std::uint32_t>{4});
  CHECK(epochs.has_whole(3));
  CHECK(epochs.has_whole(4));
  // The last state takes no space of its own.
  CHECK(std::filesystem::hard_link_count(epochs.state_path()) == 2);

  // Back to epoch 3: the later one goes when the next is there, or at once when a run goes on from there.
  publish_link(epochs.kept().state_path(3), epochs.state_path());
  epochs.resume();
  CHECK(epochs.kept().epochs() == std::vector<std::uint32_t>{3});
  KeptCheckpoints::remove_all(folder / "checkpoints");
  CHECK(names_in(folder / "checkpoints") == std::set<std::string>{"epoch-notes.txt"});
  std::filesystem::remove(folder / "checkpoints" / "epoch-notes.txt");
  KeptCheckpoints::remove_all(folder / "checkpoints");
  KeptCheckpoints::remove_all(folder / "checkpoints");
  CHECK_FALSE(std::filesystem::exists(folder / "checkpoints"));
}

TEST_CASE("none are kept where none are asked for") {
  const TemporaryFolder folder;
  Epochs epochs(folder.path(), "", 0);
  epochs.finish(1);
  CHECK(names_in(folder.path()) == std::set<std::string>{"state.safetensors"});
  CHECK(epochs.kept().epochs().empty());
  write_text_file(folder / "checkpoints", "a file in the way");
  Epochs blocked(folder.path());
  EXPECT_ERROR(blocked.finish(2), Kind::io, "checkpoints");
  CHECK(blocked.epoch_of_state(blocked.state_path()) == 2);
}

TEST_CASE("where a file cannot have a second name, a state is copied") {
  const TemporaryFolder folder(TemporaryFolder::Place::on_drive);
  const std::filesystem::path other = "/dev/shm/gneiss-" + folder.path().filename().string();
  std::error_code failure;
  std::filesystem::create_directory(other, failure);
  if (failure) SKIP_TEST("there is no /dev/shm to write to");
  write_text_file(folder / "state", "where it stands");
  publish_link(folder / "state", other / "state");
  CHECK(read_text_file(other / "state") == "where it stands");
  CHECK(std::filesystem::hard_link_count(other / "state") == 1);
  write_text_file(folder / "state", "");
  publish_link(folder / "state", other / "state");
  CHECK(read_text_file(other / "state").empty());
  CHECK_FALSE(std::filesystem::exists(other / "state.tmp"));
  std::filesystem::remove_all(other);
  EXPECT_ERROR(publish_link(folder / "none", folder / "other"), Kind::io, "other");
}

TEST_CASE("killed before any system call, a run loses neither its state nor the last good checkpoint") {
  const TemporaryFolder whole_folder;
  Epochs whole(whole_folder.path());
  for (std::uint32_t epoch = 1; epoch <= 4; ++epoch) whole.finish(epoch);
  std::uint64_t call = 0;
  std::set<std::uint32_t> states;
  for (ChildEnd end = ChildEnd::killed; end == ChildEnd::killed; ++call) {
    CAPTURE(call);
    REQUIRE(call < 10'000);
    const TemporaryFolder folder;
    Epochs epochs(folder.path());
    for (std::uint32_t epoch = 1; epoch <= 3; ++epoch) epochs.finish(epoch);
    end = run_until_call([&] { epochs.finish(4); }, call);
    if (end == ChildEnd::untraceable) SKIP_TEST("a process may not trace its child here");
    REQUIRE(end != ChildEnd::failed);

    const std::uint32_t stands = epochs.epoch_of_state(epochs.state_path());
    states.insert(stands);
    CHECK((stands == 3 || stands == 4));
    CHECK(epochs.has_whole(3));
    // The oldest goes only when the newest is whole.
    CHECK((epochs.has_whole(2) || (stands == 4 && epochs.has_whole(4))));

    epochs.resume();
    if (stands == 3) epochs.finish(4);
    CHECK(names_in(folder.path()) == names_in(whole_folder.path()));
    for (const std::string& name : names_in(folder.path())) {
      CHECK(read_text_file(folder / name) == read_text_file(whole_folder / name));
    }
  }
  CHECK(call > 20);  // three files were written, synced and renamed
  CHECK(states == std::set<std::uint32_t>{3, 4});
}
