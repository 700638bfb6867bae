// Charts as SVG, to stand in a page whose style sheet colours them (classes c0, c1, ... by series).
//
// Text:  every name is escaped; numbers are written with the unit that `format` gives them.
// Empty: a chart without a finite number is an empty string, so that the page leaves it out.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gneiss {

std::string escape_html(std::string_view text);

using NumberFormat = std::function<std::string(double)>;

struct Line {
  std::string name;
  std::vector<std::pair<double, double>>
      points;  // by ascending x; numbers that are not finite break the line
  std::size_t colour = 0;
};
struct LineChart {
  std::string title;
  std::string x_name;
  NumberFormat format;
  bool from_zero = false;  // the axis of values
  std::vector<Line> lines;
};
std::string draw(const LineChart& chart);

struct BarPart {
  std::string name;
  std::vector<double> values;  // one a bar
  std::size_t colour = 0;
};
struct BarChart {
  std::string title;
  std::string x_name;
  NumberFormat format;
  std::vector<std::string> bars;  // their names
  std::vector<BarPart> parts;     // stacked, the first at the bottom
};
std::string draw(const BarChart& chart);

struct LaneSpan {
  std::size_t lane = 0;
  double begin = 0;
  double end = 0;
  std::string name;
  std::string note;  // shown when pointed at
  std::size_t colour = 0;
};
struct LaneChart {
  std::string title;
  NumberFormat format;             // of times after the first begin
  std::vector<std::string> lanes;  // from above
  std::vector<LaneSpan> spans;
};
std::string draw(const LaneChart& chart);

}  // namespace gneiss
