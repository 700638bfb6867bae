#include "tools/train_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "storage/base/units.h"
#include "storage/format/json_text.h"

namespace gneiss {
namespace {

double percent(double part, double whole) { return whole > 0 ? part / whole * 100 : 0; }

// The stage to thank for the consumer's waiting.
std::string_view waited_for(const PipelineTimes& times) {
  const double uploading = times.uploader.busy_seconds;
  if (uploading > times.reader.busy_seconds && uploading > times.assembler.busy_seconds) {
    return "copies to the device";
  }
  return times.reader.busy_seconds >= times.assembler.busy_seconds ? "the drive" : "assembly";
}

// ", Valid: 69.50%"; nothing where there is no score.
std::string score_text(std::string_view split, Metric metric, std::optional<double> score) {
  return score ? fmt::format(", {}{}: {:.2f}%", split, metric_suffix(metric), *score * 100) : "";
}

// "valid_accuracy", "valid_f1"
void add_scores(nlohmann::json& json, std::string_view split, const Scores& scores) {
  for (const Metric metric : all_metrics) {
    if (const auto score = scores.of(metric)) json[fmt::format("{}_{}", split, name_of(metric))] = *score;
  }
}

}  // namespace

std::string metric_suffix(Metric metric) {
  return metric == Metric::accuracy ? "" : fmt::format(" {}", title_of(metric));
}

std::string best_line(const RunResult& run) {
  std::string line = fmt::format("Best epoch: {:02}", run.best_epoch);
  line += score_text("Valid", run.metric, run.valid_score);
  if (run.test) line += score_text("Test", run.metric, run.test->of(run.metric));
  return line;
}

std::string epoch_line(const EpochResult& epoch, Metric metric) {
  std::string line = fmt::format("Epoch: {:02}, Loss: {:.4f}", epoch.epoch, epoch.train.loss);
  line += score_text("Train", metric, epoch.train.of(metric));
  if (epoch.valid) line += score_text("Valid", metric, epoch.valid->of(metric));
  const double waiting = percent(epoch.times.consumer.starved_seconds, epoch.seconds);
  line += fmt::format("  |  {}, {} read, computing {:.0f} %", format_seconds(epoch.seconds),
                      format_bytes(static_cast<double>(epoch.cost.bytes_read)), 100 - waiting);
  if (waiting >= 1) line += fmt::format(", waiting for {} {:.0f} %", waited_for(epoch.times), waiting);
  return line;
}

std::string time_table(const RunResult& run, double drive_bytes_per_second) {
  double seconds = 0;
  double starved = 0;
  double reading = 0;
  double assembling = 0;
  double evaluating = 0;
  double uploading = 0;
  double on_device = 0;
  std::uint64_t bytes = 0;
  std::uint64_t reads = 0;
  std::uint64_t rows = 0;
  std::uint64_t from_gpu = 0;
  std::uint64_t cached = 0;
  for (const EpochResult& epoch : run.epochs) {
    seconds += epoch.seconds;
    starved += epoch.times.consumer.starved_seconds;
    reading += epoch.times.reader.busy_seconds;
    assembling += epoch.times.assembler.busy_seconds;
    evaluating += epoch.evaluation_seconds;
    uploading += epoch.times.uploader.busy_seconds;
    on_device += epoch.times.device_seconds;
    bytes += epoch.cost.bytes_read;
    reads += epoch.cost.read_operations;
    rows += epoch.cost.input_rows;
    from_gpu += epoch.cost.gpu_rows;
    cached += epoch.cost.cpu_rows;
  }
  std::string table = "Where the time went (training epochs)\n";
  const auto row = [&](std::string_view what, double part, const std::string& note) {
    table += fmt::format("  {:<22} {:>9} {:5.1f} %  {}\n", what, format_seconds(part), percent(part, seconds),
                         note);
  };
  row("computation", seconds - starved, "forward, backward, optimizer");
  row("waiting for batches", starved, fmt::format("{} batches in flight", run.memory.slot_count));
  table += "  at the same time, hidden behind it\n";
  const double rate = reading > 0 ? static_cast<double>(bytes) / reading : 0;
  const std::string ceiling = drive_bytes_per_second > 0 ? fmt::format(", {:.0f} % of the drive's speed",
                                                                       percent(rate, drive_bytes_per_second))
                                                         : "";
  row("drive reading", reading,
      fmt::format("{} in {} reads at {}{} ({}{})", format_bytes(static_cast<double>(bytes)),
                  format_count(reads), format_rate(rate), ceiling, run.io_engine,
                  run.direct_reads ? ", direct" : ", through the page cache"));
  row("assembling", assembling, "checksums, decompression, views");
  if (uploading > 0) {
    row("copying to the device", uploading, "frames, segments, rows of the cpu tier");
    row("the device computing", on_device, "by its own clock");
  }
  const auto share = [&](std::uint64_t part) {
    return percent(static_cast<double>(part), static_cast<double>(rows));
  };
  const std::string from_cpu = fmt::format("{:.1f} %", share(cached));
  table += fmt::format("  validation took {} more; ", format_seconds(evaluating));
  table += from_gpu == 0
               ? fmt::format("{} of input rows came from the cpu tier\n", from_cpu)
               : fmt::format("{:.1f} % of input rows came from the gpu tier, {} from the cpu tier\n",
                             share(from_gpu), from_cpu);
  return table;
}

nlohmann::json epoch_json(const EpochResult& epoch) {
  nlohmann::json json{{"epoch", epoch.epoch},
                      {"loss", epoch.train.loss},
                      {"seconds", epoch.seconds},
                      {"evaluation_seconds", epoch.evaluation_seconds},
                      {"batches", epoch.batches},
                      {"input_rows", epoch.cost.input_rows},
                      {"gpu_rows", epoch.cost.gpu_rows},
                      {"cpu_rows", epoch.cost.cpu_rows},
                      {"disk_rows", epoch.cost.disk_rows},
                      {"bytes_read", epoch.cost.bytes_read},
                      {"read_operations", epoch.cost.read_operations},
                      {"compute_seconds", epoch.seconds - epoch.times.consumer.starved_seconds},
                      {"starved_seconds", epoch.times.consumer.starved_seconds},
                      {"drive_busy_seconds", epoch.times.reader.busy_seconds},
                      {"drive_blocked_seconds", epoch.times.reader.blocked_seconds},
                      {"assemble_seconds", epoch.times.assembler.busy_seconds}};
  if (epoch.times.uploader.busy_seconds > 0) {
    json["upload_seconds"] = epoch.times.uploader.busy_seconds;
    json["device_busy_seconds"] = epoch.times.device_seconds;
  }
  add_scores(json, "train", epoch.train);
  if (epoch.valid) add_scores(json, "valid", *epoch.valid);
  return json;
}

nlohmann::json run_json(const RunResult& run, const std::vector<nlohmann::json>& earlier) {
  nlohmann::json json{{"best_epoch", run.best_epoch},
                      {"metric", name_of(run.metric)},
                      {"io_engine", run.io_engine},
                      {"direct_reads", run.direct_reads},
                      {"batches_in_flight", run.memory.slot_count},
                      {"planned_memory_bytes", run.memory.total_bytes()},
                      {"epoch_seconds", nlohmann::json::array()}};
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;
  std::uint64_t reads = 0;
  std::vector<nlohmann::json> epochs = earlier;
  for (const EpochResult& epoch : run.epochs) epochs.push_back(epoch_json(epoch));
  for (const nlohmann::json& epoch : epochs) {
    json["epoch_seconds"].push_back(epoch.at("seconds"));
    json["epochs"].push_back(epoch);
    for (const Metric metric : all_metrics) {
      const std::string key = fmt::format("valid_{}", name_of(metric));
      if (integer_or<std::uint32_t>(epoch, "epoch", 0) == run.best_epoch && epoch.contains(key))
        json[key] = epoch.at(key);
    }
    rows += integer_of<std::uint64_t>(epoch.at("input_rows"));
    bytes += integer_of<std::uint64_t>(epoch.at("bytes_read"));
    reads += integer_of<std::uint64_t>(epoch.at("read_operations"));
  }
  if (run.resumed_after > 0) json["resumed_after"] = run.resumed_after;
  json["input_rows"] = rows;
  json["bytes_read"] = bytes;
  json["read_operations"] = reads;
  if (run.valid_score) json[fmt::format("valid_{}", name_of(run.metric))] = *run.valid_score;
  if (run.test) add_scores(json, "test", *run.test);
  return json;
}

nlohmann::json plan_json(const Preparation& preparation, const std::optional<DriveProfile>& drive) {
  double bytes = 0;
  double pieces = 0;
  const auto entries = preparation.pool().entries();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].key.split != Split::train) continue;
    const auto extents = preparation.pack().extents(i);
    bytes += static_cast<double>(round_up(entries[i].frame_bytes, file_section_alignment));
    for (const Extent& extent : extents) bytes += static_cast<double>(extent.bytes);
    pieces += 1 + static_cast<double>(extents.size());
  }
  bytes /= preparation.info().options.sample_epochs;
  pieces /= preparation.info().options.sample_epochs;
  nlohmann::json json{{"read_bytes_per_epoch", bytes}};
  if (drive) {
    json["read_seconds_per_epoch"] =
        drive->read_seconds(static_cast<std::uint64_t>(pieces), static_cast<std::uint64_t>(bytes));
  }
  return json;
}

}  // namespace gneiss
