#include "tools/report/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "storage/base/units.h"
#include "tools/report/charts.h"

namespace gneiss {
namespace {

constexpr double missing = std::numeric_limits<double>::quiet_NaN();

// Blue, orange, green, red, purple, grey, teal: apart for those who see few colours, on light and on dark.
constexpr std::string_view style = R"(
:root { color-scheme: light dark; --text: #1f2328; --quiet: #59636e; --ground: #ffffff; --card: #f6f8fa; --line: #d1d9e0;
  --c0: #0969da; --c1: #e36209; --c2: #1a7f37; --c3: #cf222e; --c4: #8250df; --c5: #8c959f; --c6: #0b8a8a; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --quiet: #9198a1; --ground: #0d1117; --card: #151b23;
  --line: #3d444d; --c0: #58a6ff; --c1: #f0883e; --c2: #3fb950; --c3: #f85149; --c4: #bc8cff; --c5: #6e7681; --c6: #39c5cf; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1360px; padding: 20px; font: 15px/1.5 system-ui, sans-serif; color: var(--text);
  background: var(--ground); }
h1 { font-size: 24px; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 18px; margin: 32px 0 12px; }
.quiet { color: var(--quiet); margin: 4px 0 0; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin-top: 16px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 16px; min-width: 130px; }
.tile b { display: block; font-size: 22px; } .tile span { color: var(--quiet); font-size: 13px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 16px; }
.chart { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 8px; overflow-x: auto; }
.wide .chart svg { min-width: 620px; }
svg { display: block; width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: var(--text); }
svg .title { font-size: 14px; font-weight: 600; } svg .label { fill: var(--quiet); }
.grid { stroke: var(--line); stroke-width: 1; } .line { fill: none; stroke-width: 2; }
.fill.c0 { fill: var(--c0); } .fill.c1 { fill: var(--c1); } .fill.c2 { fill: var(--c2); } .fill.c3 { fill: var(--c3); }
.fill.c4 { fill: var(--c4); } .fill.c5 { fill: var(--c5); }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); } .line.c2 { stroke: var(--c2); } .line.c3 { stroke: var(--c3); }
.fill.c6 { fill: var(--c6); } .line.c4 { stroke: var(--c4); } .line.c5 { stroke: var(--c5); }
.tables { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 16px; align-items: start; }
table { border-collapse: collapse; width: 100%; background: var(--card); font-size: 14px; }
th, td { border: 1px solid var(--line); padding: 5px 10px; text-align: left; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
)";

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }
std::string bytes(double value) { return format_bytes(value); }
// On an axis, whose steps are decimal.
std::string decimal_bytes(double value) {
  if (value >= 1e9) return fmt::format("{:.3g} GB", value * 1e-9);
  return value >= 1e6 ? fmt::format("{:.3g} MB", value * 1e-6) : fmt::format("{:.3g} kB", value * 1e-3);
}

double number(const nlohmann::json& object, const std::string& key, double otherwise = missing) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : otherwise;
}

// "train_accuracy" is the metric "accuracy" of the split "train".
struct Metric {
  std::string key;
  std::string split;
  std::string name;
};
std::vector<Metric> metrics_of(const RunRecord& run) {
  std::set<std::string> keys;
  for (const auto& [seed, epochs] : run.epochs) {
    for (const auto& epoch : epochs) {
      for (const auto& [key, value] : epoch.items()) keys.insert(key);
    }
  }
  std::vector<Metric> metrics;
  for (const std::string& key : keys) {
    for (const std::string split : {"train", "valid"}) {
      if (key.starts_with(split + "_")) metrics.push_back({key, split, key.substr(split.size() + 1)});
    }
  }
  return metrics;
}

// A line for each seed of what each epoch has under `key`; epochs without it are left out.
void add_lines(const RunRecord& run, const std::string& key, const std::string& name, std::size_t colour,
               LineChart& chart) {
  for (const auto& [seed, epochs] : run.epochs) {
    Line line{.name = name, .points = {}, .colour = colour};
    for (const auto& epoch : epochs) {
      if (epoch.contains(key)) line.points.emplace_back(number(epoch, "epoch"), number(epoch, key));
    }
    if (!line.points.empty()) chart.lines.push_back(std::move(line));
  }
}

std::string curves(const RunRecord& run) {
  LineChart loss{.title = "Training loss",
                 .x_name = "epoch",
                 .format = [](double value) { return fmt::format("{:.3g}", value); },
                 .lines = {}};
  add_lines(run, "loss", "loss", 0, loss);
  std::string html = draw(loss);
  const std::vector<Metric> metrics = metrics_of(run);
  std::set<std::string> names;
  for (const Metric& metric : metrics) names.insert(metric.name);
  for (const std::string& name : names) {
    LineChart chart{.title = "By epoch: " + name, .x_name = "epoch", .format = percent, .lines = {}};
    for (const Metric& metric : metrics) {
      if (metric.name == name)
        add_lines(run, metric.key, metric.split, metric.split == "train" ? 0 : 1, chart);
    }
    html += draw(chart);
  }
  return html;
}

// The last seed's epochs: one run after another would not be an axis.
const std::vector<nlohmann::json>& shown_epochs(const RunRecord& run) {
  static const std::vector<nlohmann::json> none;
  return run.epochs.empty() ? none : run.epochs.rbegin()->second;
}

std::string stages(const RunRecord& run) {
  const auto& epochs = shown_epochs(run);
  BarChart time{
      .title = "Time of each epoch", .x_name = "epoch", .format = format_seconds, .bars = {}, .parts = {}};
  time.parts = {{.name = "computing", .values = {}, .colour = 0},
                {.name = "waiting for batches", .values = {}, .colour = 3},
                {.name = "validation", .values = {}, .colour = 5}};
  BarChart rows{
      .title = "Input rows of each epoch, by tier", .x_name = "epoch", .format = {}, .bars = {}, .parts = {}};
  rows.format = [](double count) {
    return count >= 0 && count < 1e18 ? format_count(static_cast<std::uint64_t>(count))
                                      : fmt::format("{:.3g}", count);
  };
  rows.parts = {{.name = "gpu tier", .values = {}, .colour = 4},
                {.name = "cpu tier", .values = {}, .colour = 2},
                {.name = "drive", .values = {}, .colour = 1}};
  LineChart hidden{.title = "At the same time, hidden behind computing",
                   .x_name = "epoch",
                   .format = format_seconds,
                   .from_zero = true,
                   .lines = {{.name = "drive reading", .points = {}, .colour = 1},
                             {.name = "assembling", .points = {}, .colour = 4},
                             {.name = "the epoch", .points = {}, .colour = 5}}};
  LineChart read{.title = "Read from the drive",
                 .x_name = "epoch",
                 .format = decimal_bytes,
                 .from_zero = true,
                 .lines = {}};
  read.lines = {{.name = "bytes of each epoch", .points = {}, .colour = 1}};
  // Of runs on a device.
  if (std::ranges::any_of(epochs, [](const auto& epoch) { return epoch.contains("device_busy_seconds"); })) {
    hidden.lines.push_back({.name = "copying to the device", .points = {}, .colour = 2});
    hidden.lines.push_back({.name = "the device computing", .points = {}, .colour = 6});
  }
  for (const auto& epoch : epochs) {
    const double at = number(epoch, "epoch", 0);
    time.bars.push_back(fmt::format("{:.0f}", at));
    time.parts[0].values.push_back(number(epoch, "compute_seconds", 0));
    time.parts[1].values.push_back(number(epoch, "starved_seconds", 0));
    time.parts[2].values.push_back(number(epoch, "evaluation_seconds", 0));
    rows.bars.push_back(time.bars.back());
    rows.parts[0].values.push_back(number(epoch, "gpu_rows", 0));  // absent in runs of before that tier
    rows.parts[1].values.push_back(number(epoch, "cpu_rows", 0));
    rows.parts[2].values.push_back(number(epoch, "disk_rows", 0));
    hidden.lines[0].points.emplace_back(at, number(epoch, "drive_busy_seconds"));
    hidden.lines[1].points.emplace_back(at, number(epoch, "assemble_seconds"));
    hidden.lines[2].points.emplace_back(at, number(epoch, "seconds"));
    if (hidden.lines.size() > 3) {
      hidden.lines[3].points.emplace_back(at, number(epoch, "upload_seconds"));
      hidden.lines[4].points.emplace_back(at, number(epoch, "device_busy_seconds"));
    }
    read.lines[0].points.emplace_back(at, number(epoch, "bytes_read"));
  }
  const auto& from_gpu = rows.parts.front().values;
  if (std::ranges::count(from_gpu, 0.0) == std::ssize(from_gpu)) rows.parts.erase(rows.parts.begin());
  return draw(time) + draw(hidden) + draw(rows) + draw(read);
}

std::size_t colour_of(const std::string& span) {
  if (span == "read") return 1;
  if (span == "assemble" || span == "verify") return 4;
  if (span == "wait") return 3;
  if (span == "evaluate") return 6;
  if (span == "backward") return 2;
  if (span == "admit" || span == "optimizer") return 5;
  return 0;
}

// Some batches in the middle of what was recorded: the first ones find caches cold.
std::string batches(const RunRecord& run) {
  constexpr std::size_t batches_shown = 12;
  const auto& spans = run.timeline.spans;
  std::vector<const TimelineSpan*> steps;
  for (const TimelineSpan& span : spans) {
    if (span.name == "forward") steps.push_back(&span);
  }
  if (steps.empty()) return "";
  const std::size_t first = steps.size() > 2 * batches_shown ? steps.size() / 2 : 0;
  const std::size_t last = std::min(steps.size(), first + batches_shown) - 1;
  const double begin = steps[first]->begin_seconds;
  const double end = last + 1 < steps.size() ? steps[last + 1]->begin_seconds
                                             : steps[last]->begin_seconds + 2 * steps[last]->seconds;
  LaneChart chart{.title = fmt::format("{} batches of the timeline", last - first + 1),
                  .format = format_seconds,
                  .lanes = {},
                  .spans = {}};
  std::map<std::uint32_t, std::size_t> lane_of;
  for (const auto& [lane, name] : run.timeline.lanes) {
    lane_of.emplace(lane, chart.lanes.size());
    chart.lanes.push_back(name);
  }
  for (const TimelineSpan& span : spans) {
    const double span_end = span.begin_seconds + span.seconds;
    if (span_end <= begin || span.begin_seconds >= end || !lane_of.contains(span.lane)) continue;
    chart.spans.push_back({.lane = lane_of.at(span.lane),
                           .begin = std::max(begin, span.begin_seconds),
                           .end = std::min(end, span_end),
                           .name = span.name,
                           .note = fmt::format("{}{}{}: {}", span.name, span.batch.empty() ? "" : ", ",
                                               span.batch, format_seconds(span.seconds)),
                           .colour = colour_of(span.name)});
  }
  return draw(chart);
}

std::string row(std::initializer_list<std::string> cells, bool is_head = false) {
  std::string html = "<tr>";
  bool is_first = true;
  for (const std::string& cell : cells) {
    html += fmt::format("<{0}{1}>{2}</{0}>", is_head ? "th" : "td", is_first ? "" : R"( class="number")",
                        escape_html(cell));
    is_first = false;
  }
  return html + "</tr>\n";
}

// What was said beforehand beside what happened: bytes, time and memory.
std::string plan(const RunRecord& run) {
  const auto plan = run.summary.find("plan");
  if (plan == run.summary.end() || !plan->is_object()) return "";
  const auto& epochs = shown_epochs(run);
  double read = 0;
  double busy = 0;
  for (const auto& epoch : epochs) {
    read += number(epoch, "bytes_read", 0) / static_cast<double>(epochs.size());
    busy += number(epoch, "drive_busy_seconds", 0) / static_cast<double>(epochs.size());
  }
  std::string html = "<table>" + row({"an epoch", "planned", "measured", "ratio"}, true);
  const auto line = [&](const std::string& what, double planned, double measured,
                        const NumberFormat& format) {
    if (!std::isfinite(planned) || !std::isfinite(measured)) return;
    html += row({what, format(planned), format(measured),
                 planned > 0 ? fmt::format("{:.2f}", measured / planned) : ""});
  };
  line("read from the drive", number(*plan, "read_bytes_per_epoch"), read, bytes);
  line("time the drive needs", number(*plan, "read_seconds_per_epoch"), busy, format_seconds);
  line("memory", number(run.summary, "planned_memory_bytes"), number(run.summary, "peak_memory_bytes"),
       bytes);
  return html + "</table>";
}

std::string option_table(const std::string& head,
                         const std::vector<std::pair<std::string, std::string>>& values) {
  if (values.empty()) return "";
  std::string html = fmt::format("<table><tr><th colspan=\"2\">{}</th></tr>\n", escape_html(head));
  for (const auto& [name, value] : values) {
    html += fmt::format("<tr><td>{}</td><td>{}</td></tr>\n", escape_html(name), escape_html(value));
  }
  return html + "</table>";
}

std::vector<std::pair<std::string, std::string>> pairs_of(const nlohmann::json& object, const char* key) {
  std::vector<std::pair<std::string, std::string>> pairs;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_object()) return pairs;
  for (const auto& [name, value] : found->items()) {
    pairs.emplace_back(name, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return pairs;
}

std::string tile(const std::string& value, const std::string& name) {
  return fmt::format("<div class=\"tile\"><b>{}</b><span>{}</span></div>\n", escape_html(value),
                     escape_html(name));
}

std::string tiles(const RunRecord& run) {
  std::string html;
  for (const auto& [key, value] : run.summary.items()) {
    if (!value.is_number() || key.ends_with("_deviation")) continue;
    for (const std::string split : {"test", "valid"}) {
      if (!key.starts_with(split + "_")) continue;
      const double deviation = number(run.summary, key + "_deviation");
      const std::string spread = std::isfinite(deviation) ? fmt::format(" ± {:.1f}", 100 * deviation) : "";
      html += tile(percent(value.get<double>()) + spread, split + " " + key.substr(split.size() + 1));
    }
  }
  if (run.summary.contains("best_epoch")) html += tile(run.summary["best_epoch"].dump(), "best epoch");
  const auto& epochs = shown_epochs(run);
  double seconds = 0;
  double starved = 0;
  for (const auto& epoch : epochs) {
    seconds += number(epoch, "seconds", 0);
    starved += number(epoch, "starved_seconds", 0);
  }
  if (!epochs.empty()) {
    html += tile(fmt::format("{}", epochs.size()), "epochs");
    html += tile(format_seconds(seconds / static_cast<double>(epochs.size())), "an epoch");
    html += tile(seconds > 0 ? percent(1 - starved / seconds) : "-", "of it computing");
  }
  const double peak = number(run.summary, "peak_memory_bytes");
  if (std::isfinite(peak)) html += tile(bytes(peak), "peak memory");
  return html;
}

std::string section(std::string_view head, std::string_view kind, const std::string& content) {
  if (content.empty()) return "";
  return fmt::format("<h2>{}</h2>\n<div class=\"{}\">\n{}</div>\n", head, kind, content);
}

}  // namespace

std::string make_report_page(const RunRecord& run) {
  const std::string name =
      escape_html(run.folder.filename().empty() ? run.folder.parent_path().filename().string()
                                                : run.folder.filename().string());
  const auto option = [&](std::string_view key) {
    const auto found = std::ranges::find(run.config, key, &std::pair<std::string, std::string>::first);
    return found == run.config.end() ? std::string("?") : escape_html(found->second);
  };
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{0} - "
      "Gneiss</title>\n"
      "<style>{1}</style>\n</head>\n<body>\n<h1>{0}</h1>\n<p class=\"quiet\">{2} on {3}, preparation "
      "'{4}'{5}</p>\n",
      name, style, option("model"), option("dataset"), option("preparation"),
      run.summary.empty() ? "; not finished" : "");
  html += "<div class=\"tiles\">\n" + tiles(run) + "</div>\n";
  html += section("Learning", "charts", curves(run));
  html += section("Where the time went", "charts", stages(run));
  html += section("Batch by batch", "wide", batches(run));
  html += section("The plan and what came of it", "tables", plan(run));
  html += section("Machine and options", "tables",
                  option_table("machine", pairs_of(run.summary, "machine")) +
                      option_table("training", run.config) +
                      option_table("preparation", pairs_of(run.summary, "prepared_with")));
  return html + "</body>\n</html>\n";
}

}  // namespace gneiss
