#include "tools/trained_run.h"

#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "engine/compute/attention.h"
#include "engine/train/checkpoint.h"
#include "storage/base/error.h"
#include "storage/io/file.h"
#include "tools/checked_text.h"

namespace gneiss {
namespace {

constexpr std::uint32_t layers_max = 64;
constexpr std::uint64_t config_bytes_max = 1U << 20;  // ours have a thousand

class RunConfig {
 public:
  explicit RunConfig(const std::filesystem::path& path) : path_(path) {
    if (const std::uint64_t bytes = std::filesystem::file_size(path); bytes > config_bytes_max) {
      fail(Kind::corruption, "{} is {} bytes long; it is damaged, or not a run's config.yaml", path.string(),
           bytes);
    }
    const std::string text = read_text_file(path);
    check_checksum_line(text, path.string());
    try {
      root_ = YAML::Load(text);
    } catch (const YAML::Exception& error) {
      fail(Kind::corruption, "{}, line {}: {}; it is damaged, or not a run's config.yaml", path.string(),
           error.mark.line + 1, error.msg);
    }
    if (root_.IsNull()) fail(Kind::corruption, "{} is empty; it was cut short", path.string());
    if (!root_.IsMap()) fail(Kind::corruption, "{} is damaged, or not a run's config.yaml", path.string());
  }

  // What a run of before had no option for is as it was then.
  template <class T>
  T get(const char* key, const T& otherwise) const {
    const YAML::Node value = root_[key];
    if (!value) return otherwise;
    try {
      return value.as<T>();
    } catch (const YAML::Exception&) {
      fail(Kind::input, "{}: the value of '{}' cannot be read; it is not a run's config.yaml", path_.string(),
           key);
    }
  }

 private:
  std::filesystem::path path_;
  YAML::Node root_;
};

std::filesystem::path find_checkpoint(const std::filesystem::path& folder,
                                      const std::filesystem::path& given) {
  if (!given.empty()) return given;
  if (std::filesystem::exists(folder / "best.safetensors")) return folder / "best.safetensors";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("best-seed-") && name.ends_with(".safetensors")) {
      fail(Kind::config, "{} holds several runs with seeds of their own; name one with --checkpoint {}",
           folder.string(), entry.path().string());
    }
  }
  fail(Kind::config, "{} holds no best.safetensors yet; let 'gneiss train' end, or name a --checkpoint",
       folder.string());
}

// "convs.3.lin.weight", "lins.0.bias": one more than the largest number.
std::uint32_t count_layers(const SafetensorsFile& file, const std::filesystem::path& path) {
  std::uint32_t count = 0;
  for (const StoredTensor& tensor : file.tensors()) {
    const std::string_view name = tensor.name;
    for (const std::string_view prefix : {"convs.", "lins."}) {
      if (!name.starts_with(prefix)) continue;
      std::uint32_t layer = 0;
      const auto [end, error] =
          std::from_chars(name.data() + prefix.size(), name.data() + name.size(), layer);
      if (error == std::errc() && end != name.data() + name.size() && *end == '.' && layer < layers_max) {
        count = std::max(count, layer + 1);
      }
    }
  }
  if (count == 0)
    fail(Kind::corruption, "{}: its tensors are of no layer that this program knows", path.string());
  return count;
}

// The width of the rows that the first layer multiplies.
void check_features(const SafetensorsFile& file, const std::filesystem::path& path, std::uint32_t dim) {
  for (const StoredTensor& tensor : file.tensors()) {
    const std::string_view name = tensor.name;
    if (!name.starts_with("convs.0.") && !name.starts_with("lins.0.")) continue;
    const bool reads_rows = name.ends_with("lin.weight") || name.ends_with("lin_l.weight") ||
                            name.ends_with("lins.0.weight");  // of mlp, and of gin's first pair
    if (!reads_rows || tensor.shape.size() != 2 || tensor.shape[1] == dim) continue;
    fail(Kind::input,
         "{} was trained on rows of {} features, the dataset's have {}; give a dataset like its own",
         path.string(), tensor.shape[1], dim);
  }
}

// The width of what the last layer's bias is added to.
void check_classes(const SafetensorsFile& file, const TrainedRun& run) {
  const std::uint32_t last = run.options.layer_count - 1;
  const std::array<std::string, 4> biases{
      fmt::format("convs.{}.bias", last), fmt::format("convs.{}.lin_l.bias", last),
      fmt::format("convs.{}.nn.lins.1.bias", last), fmt::format("lins.{}.bias", last)};
  for (const StoredTensor& tensor : file.tensors()) {
    if (std::ranges::find(biases, tensor.name) == biases.end() || tensor.shape.size() != 1) continue;
    if (tensor.shape[0] == run.options.class_count) continue;
    fail(Kind::input,
         "{} was trained to tell {} classes or labels apart, the dataset's are {}; give a dataset like its "
         "own",
         run.checkpoint.string(), tensor.shape[0], run.options.class_count);
  }
}

void check_widths(const ModelKind& kind, const ModelOptions& options) {
  if (options.hidden_columns == 0 || options.hidden_columns > hidden_columns_max) {
    fail(Kind::config, "hidden is {}; a run has 1 to {}", options.hidden_columns, hidden_columns_max);
  }
  const std::uint32_t heads = options.head_count;
  const bool can_share = heads > 0 && heads <= attention_heads_max && options.hidden_columns % heads == 0;
  if (kind.traits.has_heads && !can_share) {
    fail(Kind::config, "hidden {} cannot be shared by num_heads {}", options.hidden_columns, heads);
  }
}

// Of what stands in the file, and not of options that nobody gave here.
template <class Read>
void read_as_of(const std::filesystem::path& config, const Read& read) {
  try {
    read();
  } catch (const Error& error) {
    if (error.kind() != Kind::config) throw;
    fail(Kind::input, "{}: {}", config.string(), error.what());
  }
}

// Of what the options would make of a model, before it takes memory.
void check_tensors(const SafetensorsFile& file, const TrainedRun& run, const std::string& config) {
  const ParameterList expected = describe_parameters(run.model, run.options);
  for (const Parameter& parameter : expected.parameters()) {
    const StoredTensor* tensor = file.find(parameter.name);
    const auto shape = parameter.shape();
    if (tensor != nullptr && tensor->dtype == Dtype::f32 && std::ranges::equal(tensor->shape, shape))
      continue;
    fail(Kind::corruption,
         "{}: {}, and by {} and the dataset it is f32 [{}]; give the run and the dataset that belong to it",
         run.checkpoint.string(),
         tensor == nullptr ? fmt::format("there is no tensor '{}'", parameter.name)
                           : fmt::format("tensor '{}' is {} [{}]", parameter.name, name_of(tensor->dtype),
                                         fmt::join(tensor->shape, ", ")),
         config, fmt::join(shape, ", "));
  }
}

}  // namespace

TrainedRun TrainedRun::read(const std::filesystem::path& folder, const std::filesystem::path& checkpoint,
                            const DatasetInfo& dataset) {
  if (!std::filesystem::is_regular_file(folder / "config.yaml")) {
    fail(Kind::config,
         "{} holds no run: there is no config.yaml; name the folder that 'gneiss train' printed",
         folder.string());
  }
  const std::string config_path = folder / "config.yaml";
  const RunConfig config(config_path);
  TrainedRun run;
  run.checkpoint = find_checkpoint(folder, checkpoint);
  const SafetensorsFile file = open_checkpoint(run.checkpoint);
  check_features(file, run.checkpoint, dataset.feature_dim);
  read_as_of(config_path, [&] {
    run.model = config.get<std::string>("model", "sage");
    run.objective.task = parse_task(config.get<std::string>("task", "multi-class"));
    run.objective = resolve_objective(run.objective, dataset);
    run.options = {.feature_columns = dataset.feature_dim,
                   .hidden_columns = config.get<std::uint32_t>("hidden", 128),
                   .class_count = logit_columns(run.objective, dataset),
                   .layer_count = count_layers(file, run.checkpoint),
                   .activation = parse_activation(config.get<std::string>("activation", "relu")),
                   .dropout = 0,
                   .head_count = config.get<std::uint32_t>("num_heads", 4),
                   .aggregator = parse_aggregator(config.get<std::string>("aggregator", "mean")),
                   .residual = config.get<bool>("residual", false),
                   .norm = parse_norm(config.get<std::string>("norm", "none")),
                   .seed = 0};
    check_widths(find_model_kind(run.model), run.options);
  });
  check_classes(file, run);
  check_tensors(file, run, config_path);
  return run;
}

std::string device_of_run(const std::filesystem::path& folder) {
  if (!std::filesystem::is_regular_file(folder / "config.yaml")) return "";
  return RunConfig(folder / "config.yaml").get<std::string>("device", "cpu");
}

}  // namespace gneiss
