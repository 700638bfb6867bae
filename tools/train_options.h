// The options of `gneiss train`: where each goes, and how a run's config.yaml has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "engine/train/trainer.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace gneiss {

struct TrainCommand {
  std::string dataset;
  std::string preparation = "default";
  TrainOptions train;
  std::string aggregator = "mean";
  std::string activation = "relu";
  std::string norm = "none";
  std::string optimizer = "adam";
  std::string lr_schedule = "constant";
  std::string task = "auto";
  std::string metric = "auto";
  std::string eval = "sampled";
  std::uint64_t read_bytes = 1U << 20;
  std::uint32_t runs = 1;
  std::uint64_t memory_bytes = 0;
  std::size_t threads = 0;
  std::string run;
  std::uint32_t keep_last = 0;
  bool force = false;
  bool resume = false;
  std::uint32_t resume_epoch = 0;  // 0: the last one
  std::string device = "auto";
  std::uint64_t device_memory_bytes = 0;
  std::string precision = "f32";
  std::string summary;
  std::string trace;
  const CLI::Option* shuffle_flag = nullptr;
};

// `command` gets what is parsed, and outlives the parsing.
void add_train_options(CLI::App& app, TrainCommand& command);

// By the names of --help, so that `train --config` takes a run's config.yaml.
nlohmann::json resolved_options(const TrainCommand& command, std::string_view device);

}  // namespace gneiss
