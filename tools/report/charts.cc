#include "tools/report/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>

namespace gneiss {
namespace {

constexpr double width = 640;
constexpr double left = 64;  // for the numbers of the axis
constexpr double right = 16;
constexpr double top = 34;  // for the title
constexpr double plot_height = 190;
constexpr double legend_height = 44;
constexpr double plot_width = width - left - right;
constexpr double bottom = top + plot_height;

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void take(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool is_empty() const { return low > high; }
  // A range of one number, or of some that rounding tells apart, is given a width, so that it can be drawn.
  void widen() {
    const double size = std::max(std::abs(low), std::abs(high));
    if (high - low > 1e-9 * size) return;
    const double around = size == 0 ? 1 : std::max(size * 0.1, std::numeric_limits<double>::min());
    low -= around;
    high += around;
  }
  double place(double value, double begin, double end) const {
    return begin + (value / 2 - low / 2) / (high / 2 - low / 2) * (end - begin);  // halves: no overflow
  }
};

// Steps of 1, 2 or 5 times a power of ten, about `count` of them.
std::vector<double> ticks(const Range& range, int count) {
  const double rough = range.high / count - range.low / count;  // which no numbers make infinite
  if (!std::isnormal(rough)) return {};
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = power * 10;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (power * factor >= rough * 0.999) {
      step = power * factor;
      break;
    }
  }
  std::vector<double> values;
  const double first = std::ceil(range.low / step - 1e-6);
  const double last = std::floor(range.high / step + 1e-6);
  for (int i = 0; i <= static_cast<int>(last - first); ++i) values.push_back((first + i) * step);
  return values;
}

class Svg {
 public:
  Svg(std::string_view title, double all_width, double height) {
    add(R"(<figure class="chart"><svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">)", all_width,
        height, escape_html(title));
    add(R"(<text class="title" x="{:.0f}" y="18">{}</text>)", left - 48, escape_html(title));
  }
  template <class... Arguments>
  void add(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Arguments>(arguments)...);
    text_ += '\n';
  }
  void grid_line(double y, std::string_view label) {
    add(R"(<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>)", left, width - right, y, y);
    add(R"(<text class="label" x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>)", left - 6, y + 4,
        escape_html(label));
  }
  void x_label(double x, std::string_view label) {
    add(R"(<text class="label" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>)", x, bottom + 16,
        escape_html(label));
  }
  // Names beside their colours, in one line below the plot.
  void legend(const std::vector<std::pair<std::string, std::size_t>>& names) {
    double x = left;
    for (const auto& [name, colour] : names) {
      add(R"(<rect class="fill c{}" x="{:.1f}" y="{:.1f}" width="10" height="10" rx="2"/>)", colour, x,
          bottom + 26);
      add(R"(<text class="label" x="{:.1f}" y="{:.1f}">{}</text>)", x + 14, bottom + 35, escape_html(name));
      x += 26 + 6.4 * static_cast<double>(name.size());
    }
  }
  std::string finish() { return text_ + "</svg></figure>\n"; }

 private:
  std::string text_;
};

}  // namespace

std::string escape_html(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string draw(const LineChart& chart) {
  Range x;
  Range y;
  for (const Line& line : chart.lines) {
    for (const auto& [at, value] : line.points) {
      if (!std::isfinite(value)) continue;
      x.take(at);
      y.take(value);
    }
  }
  if (y.is_empty()) return "";
  if (chart.from_zero) y.take(0);
  x.widen();
  y.widen();
  Svg svg(chart.title, width, bottom + legend_height);
  for (const double value : ticks(y, 5)) svg.grid_line(y.place(value, bottom, top), chart.format(value));
  for (const double at : ticks(x, 8)) {
    if (at == std::floor(at)) svg.x_label(x.place(at, left, width - right), fmt::format("{:.0f}", at));
  }
  svg.add(R"(<text class="label" x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>)", width - right,
          bottom + 35, escape_html(chart.x_name));
  std::vector<std::pair<std::string, std::size_t>> names;
  for (const Line& line : chart.lines) {
    std::string path;
    bool is_drawing = false;
    for (const auto& [at, value] : line.points) {
      if (!std::isfinite(value)) {
        is_drawing = false;
        continue;
      }
      fmt::format_to(std::back_inserter(path), "{}{:.1f},{:.1f} ", is_drawing ? "L" : "M",
                     x.place(at, left, width - right), y.place(value, bottom, top));
      is_drawing = true;
    }
    svg.add(R"(<path class="line c{}" d="{}"/>)", line.colour, path);
    for (const auto& [at, value] : line.points) {
      if (!std::isfinite(value)) continue;
      svg.add(
          R"(<circle class="fill c{}" cx="{:.1f}" cy="{:.1f}" r="2.5"><title>{}, {} {:.0f}: {}</title></circle>)",
          line.colour, x.place(at, left, width - right), y.place(value, bottom, top), escape_html(line.name),
          escape_html(chart.x_name), at, escape_html(chart.format(value)));
    }
    if (std::ranges::find(names, std::pair(line.name, line.colour)) == names.end())
      names.emplace_back(line.name, line.colour);
  }
  svg.legend(names);
  return svg.finish();
}

std::string draw(const BarChart& chart) {
  Range y;
  y.take(0);
  for (std::size_t bar = 0; bar < chart.bars.size(); ++bar) {
    double sum = 0;
    for (const BarPart& part : chart.parts) sum += part.values[bar];
    y.take(sum);
  }
  if (chart.bars.empty() || y.high <= 0) return "";
  Svg svg(chart.title, width, bottom + legend_height);
  for (const double value : ticks(y, 5)) svg.grid_line(y.place(value, bottom, top), chart.format(value));
  const double step = plot_width / static_cast<double>(chart.bars.size());
  const std::size_t label_every = 1 + (chart.bars.size() - 1) / 12;
  for (std::size_t bar = 0; bar < chart.bars.size(); ++bar) {
    const double middle = left + step * (static_cast<double>(bar) + 0.5);
    double below = 0;
    for (const BarPart& part : chart.parts) {
      const double from = y.place(below, bottom, top);
      below += part.values[bar];
      const double to = y.place(below, bottom, top);
      svg.add(
          R"(<rect class="fill c{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{} {}, {}: {}</title></rect>)",
          part.colour, middle - step * 0.38, to, std::max(0.5, step * 0.76), from - to,
          escape_html(chart.x_name), escape_html(chart.bars[bar]), escape_html(part.name),
          escape_html(chart.format(part.values[bar])));
    }
    if (bar % label_every == 0) svg.x_label(middle, chart.bars[bar]);
  }
  std::vector<std::pair<std::string, std::size_t>> names;
  names.reserve(chart.parts.size());
  for (const BarPart& part : chart.parts) names.emplace_back(part.name, part.colour);
  svg.legend(names);
  svg.add(R"(<text class="label" x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>)", width - right,
          bottom + 35, escape_html(chart.x_name));
  return svg.finish();
}

std::string draw(const LaneChart& chart) {
  Range x;
  for (const LaneSpan& span : chart.spans) {
    x.take(span.begin);
    x.take(span.end);
  }
  if (x.is_empty() || x.high <= x.low) return "";
  constexpr double lane_height = 26;
  constexpr double lane_left = 110;
  constexpr double lane_width = 2 * width;  // the page gives it two places
  const double end = top + lane_height * static_cast<double>(chart.lanes.size());
  Svg svg(chart.title, lane_width, end + legend_height + 10);
  for (std::size_t lane = 0; lane < chart.lanes.size(); ++lane) {
    const double y = top + lane_height * static_cast<double>(lane);
    svg.add(R"(<text class="label" x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>)", lane_left - 8, y + 17,
            escape_html(chart.lanes[lane]));
    svg.add(R"(<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>)", lane_left,
            lane_width - right, y + lane_height, y + lane_height);
  }
  std::map<std::string, std::size_t> names;
  for (const LaneSpan& span : chart.spans) {
    const double from = x.place(span.begin, lane_left, lane_width - right);
    const double to = x.place(span.end, lane_left, lane_width - right);
    svg.add(
        R"(<rect class="fill c{}" x="{:.2f}" y="{:.1f}" width="{:.2f}" height="{:.1f}" rx="1"><title>{}</title></rect>)",
        span.colour, from, top + lane_height * static_cast<double>(span.lane) + 4,
        std::max(0.6, to - from - 0.4), lane_height - 8, escape_html(span.note));
    names.emplace(span.name, span.colour);
  }
  for (const double at : ticks({0, x.high - x.low}, 6)) {
    svg.add(R"(<text class="label" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>)",
            x.place(x.low + at, lane_left, lane_width - right), end + 16, escape_html(chart.format(at)));
  }
  double at = lane_left;
  for (const auto& [name, colour] : names) {
    svg.add(R"(<rect class="fill c{}" x="{:.1f}" y="{:.1f}" width="10" height="10" rx="2"/>)", colour, at,
            end + 28);
    svg.add(R"(<text class="label" x="{:.1f}" y="{:.1f}">{}</text>)", at + 14, end + 37, escape_html(name));
    at += 26 + 6.4 * static_cast<double>(name.size());
  }
  return svg.finish();
}

}  // namespace gneiss
