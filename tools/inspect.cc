#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>

#include "engine/pipeline/pipelined_source.h"
#include "engine/tiers/host_gpu_tier.h"
#include "storage/format/npy_writer.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/output_files.h"
#include "tools/summary.h"

namespace gneiss {
namespace {

struct InspectCommand {
  std::string dataset;
  std::string preparation = "default";
  std::string split = "train";
  std::uint32_t epoch = 0;
  std::uint32_t worker = 0;
  std::uint32_t batch = 0;
  std::string out;
  PipelineOptions pipeline;
  std::string summary;
};

Split parse_split(const std::string& name) {
  for (const Split split : all_splits) {
    if (name_of(split) == name) return split;
  }
  fail(Kind::config, "--split '{}' is unknown; use train, valid or test", name);
}

// The rows as the first layer reads them, in local order; bf16 as f32, which is exact.
void write_features(const std::filesystem::path& path, const TieredRows& rows) {
  const bool widen = rows.dtype() == Dtype::bf16;
  const Dtype dtype = widen ? Dtype::f32 : rows.dtype();
  const std::size_t row_bytes = rows.columns() * size_of(dtype);
  std::vector<std::byte> bytes(rows.row_count() * row_bytes);
  for (std::uint32_t local = 0; local < rows.row_count(); ++local) {
    convert(rows.dtype(), rows.row(local), dtype, bytes.data() + local * row_bytes, rows.columns());
  }
  const std::array<std::uint64_t, 2> shape{rows.row_count(), rows.columns()};
  write_npy(path, dtype, shape, bytes);
}

// One class a seed as (seeds,) of i32, -1: none; columns as `import npy` takes them, (seeds, columns) with
// NaN.
void write_labels(const std::filesystem::path& path, const BatchView& view) {
  if (view.label_columns == 0) return write_npy_vector(path, Dtype::i32, view.targets);
  std::vector<float> values;
  values.reserve(view.label_rows.size());
  for (const std::uint8_t entry : view.label_rows) {
    values.push_back(entry == unlabelled ? std::numeric_limits<float>::quiet_NaN()
                                         : static_cast<float>(entry));
  }
  const std::array<std::uint64_t, 2> shape{view.seed_count(), view.label_columns};
  write_npy(path, Dtype::f32, shape, std::as_bytes(std::span(values)));
}

constexpr std::array<std::string_view, 4> batch_files{"seeds.npy", "input_nodes.npy", "labels.npy",
                                                      "features.npy"};

std::vector<NodeId> take(std::span<const NodeId> nodes, std::span<const std::uint32_t> rows) {
  std::vector<NodeId> taken;
  for (const std::uint32_t row : rows) taken.push_back(nodes[row]);
  return taken;
}

void write_batch(const std::filesystem::path& out, const BatchView& view, std::span<const NodeId> inputs) {
  const auto write_nodes = [&](const std::string& name, std::span<const NodeId> nodes) {
    write_npy_vector(out / (name + ".npy"), Dtype::u32, nodes);
  };
  write_nodes("seeds", view.hidden_nodes.first(view.seed_count()));
  write_nodes("input_nodes", inputs);
  write_labels(out / "labels.npy", view);
  write_features(out / "features.npy", view.input);
  for (std::size_t hop = 0; hop < view.blocks.size(); ++hop) {
    const BlockView& block = view.blocks[hop];
    const std::string prefix = fmt::format("block{}_", hop);
    write_npy_vector(out / (prefix + "indptr.npy"), Dtype::u32, block.indptr);
    write_npy_vector(out / (prefix + "indices.npy"), Dtype::u32, block.indices);
    write_nodes(prefix + "dst_nodes", hop == 0 ? std::span<const NodeId>(take(inputs, block.dst_in_src))
                                               : view.hidden_nodes.first(block.dst_count));
    write_nodes(prefix + "src_nodes", hop == 0 ? inputs : view.hidden_nodes.first(block.src_count));
    if (!block.edge_positions.empty()) {
      write_npy_vector(out / (prefix + "edge_positions.npy"), Dtype::u64, block.edge_positions);
    }
  }
}

constexpr std::array<std::string_view, 5> block_files{"indptr.npy", "indices.npy", "dst_nodes.npy",
                                                      "src_nodes.npy", "edge_positions.npy"};

// "block0_indptr.npy"
bool is_block_file(std::string_view name) {
  constexpr std::string_view first = "block";
  if (!name.starts_with(first)) return false;
  name.remove_prefix(first.size());
  const std::size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
  if (digits == 0 || digits == name.size() || name[digits] != '_') return false;
  return std::ranges::find(block_files, name.substr(digits + 1)) != block_files.end();
}

// An earlier batch may have had more blocks: its files go. Anything else is not ours to mix with.
void make_room(const std::filesystem::path& out) {
  std::vector<std::filesystem::path> earlier;
  for (const auto& entry : std::filesystem::directory_iterator(out)) {
    const std::string name = entry.path().filename();
    const bool is_block = is_block_file(name);
    if (!is_block && std::ranges::find(batch_files, name) == batch_files.end()) {
      fail(Kind::config, "--out {} holds '{}', which is of no batch; give an empty folder or a new name",
           out.string(), name);
    }
    if (is_block) earlier.push_back(entry.path());
  }
  for (const auto& path : earlier) std::filesystem::remove(path);
}

void run(const InspectCommand& command) {
  check_outputs({{"--summary", command.summary}},
                {.dataset = command.dataset, .filled = {"--out", command.out}});
  const Dataset dataset = Dataset::open(command.dataset);
  const Preparation preparation = Preparation::open(dataset, command.preparation);
  const BatchKey key{.split = parse_split(command.split),
                     .epoch = command.epoch,
                     .worker = command.worker,
                     .batch = command.batch};
  const std::size_t index = preparation.pool().find(key);
  const BatchEntry& entry = preparation.pool().entries()[index];
  const auto inputs = preparation.pool().read_input_nodes(entry);
  const std::uint32_t disk_rows = entry.page_rows + entry.disk_rows;  // shared with other batches, or not
  const HostGpuTier gpu_tier(preparation);
  CpuTier cpu_tier(preparation);
  PipelineOptions pipeline = command.pipeline;
  pipeline.gpu_tier = gpu_tier.base();
  // Where rows of the cpu tier come and go, a training batch finds those that the batches before it left.
  const std::size_t first = cpu_tier.is_exchanged() && key.split == Split::train ? 0 : index;
  PipelinedSource source(preparation, dataset.info(), cpu_tier, pipeline,
                         [index, first](std::uint64_t position) -> std::optional<std::size_t> {
                           if (first + position > index) return std::nullopt;
                           return first + position;
                         });
  const SourcedBatch* sourced = nullptr;
  for (std::size_t at = first; at <= index; ++at) sourced = source.next();
  GNEISS_ASSERT(sourced != nullptr);
  std::error_code error;
  std::filesystem::create_directories(command.out, error);
  if (error) fail_errno(command.out, "create the folder", error.value());
  make_room(command.out);
  write_batch(command.out, sourced->view, inputs);
  fmt::print(
      "{}: {} seeds, {} input nodes ({}{} from the cpu tier, {} from disk), {} edges in {} blocks, written "
      "to "
      "{}\n",
      to_string(key), entry.seed_count, entry.input_count,
      entry.gpu_rows() == 0 ? "" : fmt::format("{} from the gpu tier, ", entry.gpu_rows()), entry.cpu_rows,
      disk_rows, entry.edge_count, sourced->view.blocks.size(), command.out);
  write_summary(command.summary, {{"command", "inspect"},
                                  {"seeds", entry.seed_count},
                                  {"input_rows", entry.input_count},
                                  {"gpu_rows", entry.gpu_rows()},
                                  {"cpu_rows", entry.cpu_rows},
                                  {"disk_rows", disk_rows},
                                  {"edges", entry.edge_count},
                                  {"bytes_read", sourced->cost.bytes_read}});
}

}  // namespace

void register_inspect(CLI::App& app) {
  auto* sub = app.add_subcommand("inspect", "Write a mini-batch as .npy files, as training would see it");
  const auto command = std::make_shared<InspectCommand>();
  command->pipeline.slot_count = 1;
  command->pipeline.assembly.transpose = false;
  add_dataset_option(*sub, command->dataset);
  sub->add_option("--preparation", command->preparation, "The preparation to look into")
      ->capture_default_str();
  sub->add_option("--split", command->split, "train, valid or test")->capture_default_str();
  sub->add_option("--epoch", command->epoch, "Epoch of the pool, from 0")->capture_default_str();
  sub->add_option("--worker", command->worker, "Worker, from 0")->capture_default_str();
  sub->add_option("--batch", command->batch, "Batch of the epoch, from 0")->capture_default_str();
  sub->add_option(
         "--out", command->out,
         "Folder for seeds, input_nodes, features, labels and block{l}_indptr, _indices, _dst_nodes, "
         "_src_nodes (l = 0 next to the input)")
      ->type_name("DIR")
      ->required();
  sub->add_option("--io", command->pipeline.io_engine, "Reader: auto, io_uring, pread or mmap")
      ->check(CLI::IsMember({"auto", "io_uring", "pread", "mmap"}))
      ->capture_default_str();
  add_summary_option(*sub, command->summary);
  sub->callback([command] { run(*command); });
}

}  // namespace gneiss
