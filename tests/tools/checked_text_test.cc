// What a run's texts say is compared with what was written.
#include "tools/checked_text.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "storage/io/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tools/run_folder.h"

using namespace gneiss;

TEST_CASE("any change behind the checksum line is damage; without the line nothing is compared") {
  const std::string text = "model: sage\nnorm: batch\n";
  const std::string whole = with_checksum_line(text);
  CHECK(whole.ends_with(text));
  check_checksum_line(whole, "f");
  check_checksum_line(text, "f");
  check_checksum_line("", "f");
  const std::size_t first = whole.find(": ") + 2;  // what is before is the words that say what it is
  for (std::size_t at = first; at < whole.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
      EXPECT_ERROR(check_checksum_line(changed, "config.yaml"), Kind::corruption, "config.yaml");
    }
    EXPECT_ERROR(check_checksum_line(whole.substr(0, at), "config.yaml"), Kind::corruption, "config.yaml");
  }
}

TEST_CASE("a line with its checksum gives the object back, and no other") {
  const nlohmann::json epoch{{"epoch", 3}, {"loss", 0.1234567890123}, {"seed", 7}, {"train_f1", 1e-17}};
  const std::string line = checked_line(epoch);
  auto back = nlohmann::json::parse(line);
  CHECK(take_checksum(back));
  CHECK(back == epoch);
  CHECK(checked_line(nlohmann::json::parse(line)) == line);
  std::size_t found = 0;
  for (std::size_t at = 0; at < line.size(); ++at) {
    std::string changed = line;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    auto object = nlohmann::json::parse(changed, nullptr, false);
    if (!object.is_object() || !object.contains("xxh3")) continue;  // no line of ours
    ++found;
    CHECK_FALSE(take_checksum(object));
  }
  CHECK(found > 20);
}

TEST_CASE("a run does not go on with metrics that are not those that were written") {
  const test::TemporaryFolder folder;
  const auto path = folder / "run" / "metrics.jsonl";
  {
    RunFolder run(folder.path(), folder / "run", RunStart::anew, false);
    for (int epoch = 1; epoch <= 3; ++epoch)
      run.append_metrics({{"epoch", epoch}, {"loss", 0.5 / epoch}, {"seed", 1}});
  }
  write_text_file(folder / "run" / "state.safetensors", "there is one");
  write_text_file(folder / "run" / "config.yaml", "");
  const std::string whole = read_text_file(path);
  const auto keep = [&](std::uint32_t epochs) {
    return RunFolder(folder.path(), folder / "run", RunStart::go_on, false).keep_metrics(1, epochs);
  };
  CHECK(keep(3).size() == 3);
  CHECK(keep(3).at(1) == nlohmann::json{{"epoch", 2}, {"loss", 0.25}});
  std::string changed = whole;
  changed[whole.find("0.25")] = '1';
  write_text_file(path, changed);
  EXPECT_ERROR(keep(3), Kind::corruption, "line 2 does not match its checksum");
  const std::size_t second = whole.find('\n') + 1;
  write_text_file(path, whole.substr(0, second) + "nonsense" + whole.substr(second));
  EXPECT_ERROR(keep(3), Kind::corruption, "has 2 of the 3 epochs");
  // Of the kill that cut a line short, the state does not speak.
  write_text_file(path, whole.substr(0, whole.size() - 5));
  EXPECT_ERROR(keep(3), Kind::corruption, "has 2 of the 3 epochs");
  write_text_file(path, whole.substr(0, whole.size() - 5));
  CHECK(keep(2).size() == 2);
}
