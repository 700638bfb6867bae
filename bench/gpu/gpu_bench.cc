// Operators, products and the bus of a CUDA device, each beside its ceiling from the same process.
//
//   bench_gpu [--json FILE] [--tiny]      the tables
//   bench_gpu --probe                     which device there is: one JSON object; ends with 1 where there is
//   none
//
// Times are the device's own, by events. The blocks are those of a batch of 1,024 seeds with 10, 15 and 20
// neighbors over 4 M nodes of 128 columns: 2 GiB of rows, of which no cache holds much.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bench/gpu/ceilings.h"
#include "bench/gpu/measurements.h"
#include "engine/compute/cuda/bus_profile.h"
#include "engine/compute/cuda/device.h"
#include "storage/base/error.h"
#include "storage/io/file.h"

#ifndef GNEISS_EMULATED_DEVICE
#define GNEISS_EMULATED_DEVICE 0
#endif

namespace gneiss::gpu {
namespace {

constexpr bool is_emulated = GNEISS_EMULATED_DEVICE != 0;

struct Sizes {
  BlockShape shape{.node_count = 4'000'000, .seed_count = 1024, .fanouts = {10, 15, 20}};
  std::uint32_t columns = 128;
  std::size_t square = 8192;
  std::uint64_t copy_bytes = 1ULL << 30;
  std::vector<std::uint64_t> bus_row_bytes{256, 512, 1024, 4096};
  Effort effort;

  static Sizes tiny() {
    return {.shape = {.node_count = 3000, .seed_count = 8, .fanouts = {3, 3, 3}},
            .columns = 128,
            .square = 64,
            .copy_bytes = 1ULL << 20,
            .bus_row_bytes = {4096},
            .effort = {.sample_seconds = 0, .samples = 1}};
  }
};

nlohmann::json device_json(const DeviceProbe& probe) {
  return {{"usable", probe.usable},
          {"reason", probe.reason},
          {"name", probe.name},
          {"capability", probe.capability},
          {"memory_bytes", probe.memory_bytes},
          {"is_emulated", is_emulated}};
}

nlohmann::json operators_json(const std::vector<OperatorRate>& rates, double ceiling) {
  nlohmann::json list = nlohmann::json::array();
  fmt::print("\n{:<32}{:>10}{:>12}{:>10}{:>22}\n", "operator", "ms", "GB/s", "of copy",
             "each row once, GB/s");
  for (const OperatorRate& rate : rates) {
    const double asked = rate.bytes_asked / rate.seconds;
    const double least = rate.bytes_least / rate.seconds;
    fmt::print("{:<32}{:>10.3f}{:>12.1f}{:>9.0f}%{:>22.1f}\n", rate.name, rate.seconds * 1e3, asked * 1e-9,
               100 * asked / ceiling, least * 1e-9);
    list.push_back({{"name", rate.name},
                    {"seconds", rate.seconds},
                    {"bytes_asked", rate.bytes_asked},
                    {"bytes_least", rate.bytes_least},
                    {"share_of_copy", asked / ceiling},
                    {"least_share_of_copy", least / ceiling}});
  }
  return list;
}

nlohmann::json products_json(const std::vector<ProductRate>& rates) {
  nlohmann::json list = nlohmann::json::array();
  for (const ProductRate& rate : rates) {
    const double speed = rate.operations() / rate.seconds;
    fmt::print("{:<6}{:<14}{:<18}{:>8} x {:>5} x {:>5}{:>10.3f} ms{:>12.0f} GFLOP/s\n",
               name_of(rate.precision), rate.shape, rate.side, rate.rows, rate.inputs, rate.outputs,
               rate.seconds * 1e3, speed * 1e-9);
    list.push_back({{"precision", name_of(rate.precision)},
                    {"shape", rate.shape},
                    {"side", rate.side},
                    {"rows", rate.rows},
                    {"inputs", rate.inputs},
                    {"outputs", rate.outputs},
                    {"seconds", rate.seconds},
                    {"operations_per_second", speed}});
  }
  return list;
}

nlohmann::json bus_json(const Sizes& sizes, const BusRates& ceiling) {
  nlohmann::json rows = nlohmann::json::array();
  fmt::print("\nbus: {:.1f} GB/s up, {:.1f} GB/s down, {} MiB of pinned memory at once\n", ceiling.up * 1e-9,
             ceiling.down * 1e-9, sizes.copy_bytes >> 20);
  for (const std::uint64_t row_bytes : sizes.bus_row_bytes) {
    const BusProfile profile = measure_bus(row_bytes);
    fmt::print(
        "rows of {:>5} bytes: {:.1f} GB/s read over the bus, {:.1f} gathered by a thread, {:.1f} staged\n",
        row_bytes, profile.bus_bytes_per_second * 1e-9, profile.gather_bytes_per_second * 1e-9,
        profile.staged_bytes_per_second() * 1e-9);
    rows.push_back({{"row_bytes", row_bytes},
                    {"copy_bytes_per_second", profile.copy_bytes_per_second},
                    {"bus_bytes_per_second", profile.bus_bytes_per_second},
                    {"gather_bytes_per_second", profile.gather_bytes_per_second},
                    {"staged_bytes_per_second", profile.staged_bytes_per_second()}});
  }
  return {{"up_bytes_per_second", ceiling.up}, {"down_bytes_per_second", ceiling.down}, {"rows", rows}};
}

nlohmann::json measure(const DeviceProbe& probe, const Sizes& sizes) {
  if (is_emulated) fmt::print("The device is emulated: times mean nothing here.\n");
  const double copy = device_copy_rate(sizes.copy_bytes);
  const BusRates bus = pinned_copy_rates(sizes.copy_bytes);
  const SampledBlocks blocks(sizes.shape);
  fmt::print(
      "{}; device copy {:.0f} GB/s, read and written; block 0: {} destinations, {} sources, {} edges\n",
      probe.name, copy * 1e-9, blocks.block(0).dst_count, blocks.block(0).src_count,
      blocks.block(0).edge_count());
  nlohmann::json json{{"device", device_json(probe)},
                      {"device_copy_bytes_per_second", copy},
                      {"destinations", blocks.block(0).dst_count},
                      {"sources", blocks.block(0).src_count},
                      {"edges", blocks.block(0).edge_count()},
                      {"columns", sizes.columns}};
  {
    Rig rig(Precision::f32, operator_memory(blocks, sizes.shape, sizes.columns), sizes.effort);
    const BatchView& batch = rig.upload(blocks.batch(rig.table().data(), sizes.columns));
    std::vector<OperatorRate> rates = aggregate_rates(rig, batch);
    for (OperatorRate& rate : attention_rates(rig, batch)) rates.push_back(std::move(rate));
    json["operators"] = operators_json(rates, copy);
  }
  fmt::print("\n");
  json["products"] = nlohmann::json::array();
  for (const Precision precision : {Precision::f32, Precision::tf32, Precision::bf16}) {
    const auto rates = product_rates(precision, blocks, sizes.columns, sizes.square, sizes.effort);
    for (nlohmann::json& one : products_json(rates)) json["products"].push_back(std::move(one));
  }
  json["bus"] = bus_json(sizes, bus);
  return json;
}

int run_command_line(int argc, char** argv) {
  bool is_probe = false;
  bool is_tiny = false;
  std::string json_path;
  CLI::App app("Operators, products and the bus of a CUDA device, beside their ceilings");
  app.add_flag("--probe", is_probe, "Say which device there is, as JSON");
  app.add_flag("--tiny", is_tiny, "So small that times mean nothing: shows that all of it runs");
  app.add_option("--json", json_path, "Where the numbers go");
  CLI11_PARSE(app, argc, argv);
  const DeviceProbe probe = probe_cuda_device();
  if (is_probe) {
    fmt::print("{}\n", device_json(probe).dump());
    return probe.usable ? 0 : 1;
  }
  if (!probe.usable) fail(Kind::config, "{}", probe.reason);
  const nlohmann::json json = measure(probe, is_tiny ? Sizes::tiny() : Sizes());
  if (!json_path.empty()) write_text_file(json_path, json.dump(2) + "\n");
  return 0;
}

}  // namespace
}  // namespace gneiss::gpu

int main(int argc, char** argv) {
  try {
    return gneiss::gpu::run_command_line(argc, argv);
  } catch (const gneiss::Error& error) {
    fmt::print(stderr, "bench_gpu: {}\n", error.what());
    return gneiss::exit_code(error.kind());
  }
}
