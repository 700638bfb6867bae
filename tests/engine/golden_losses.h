// The cases of golden/losses.safetensors: arrays under "KIND.NUMBER.NAME".
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>
#include <vector>

#include "engine/compute/matrix_view.h"
#include "tests/engine/golden_folder.h"
#include "tests/engine/stored_values.h"

namespace gneiss::test {

class GoldenLosses {
 public:
  GoldenLosses() : file_(SafetensorsFile::open(golden_file("losses.safetensors"))) {}

  // "cross_entropy.0", ... of a kind; at least one.
  std::vector<std::string> cases(const std::string& kind) const {
    std::vector<std::string> found;
    std::istringstream names(file_.metadata().at("cases"));
    for (std::string name; names >> name;) {
      if (name.starts_with(kind + ".")) found.push_back(name);
    }
    REQUIRE_FALSE(found.empty());
    return found;
  }
  bool has(const std::string& name) const { return file_.find(name) != nullptr; }
  // An array of f32 or i32 as it is, of f64 as it is.
  template <class T>
  std::vector<T> values(const std::string& name) const {
    return stored_values<T>(file_, name);
  }
  double number(const std::string& name) const { return values<double>(name).at(0); }

  struct Matrix {
    std::vector<float> memory;
    MatrixView view;
  };
  Matrix matrix(const std::string& name) const {
    Matrix matrix{.memory = values<float>(name), .view = {}};
    const auto& shape = file_.find(name)->shape;
    REQUIRE(shape.size() == 2);
    matrix.view = MatrixView(matrix.memory.data(), shape[0], shape[1]);
    return matrix;
  }

 private:
  SafetensorsFile file_;
};

// The largest difference, as a share of the largest value.
inline double distance(const std::vector<float>& actual, const std::vector<double>& expected) {
  REQUIRE(actual.size() == expected.size());
  double largest = 0;
  double difference = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual[i]) - expected[i]);
    if (std::isnan(error)) return error;  // of which std::max() would take no notice
    largest = std::max(largest, std::abs(expected[i]));
    difference = std::max(difference, error);
  }
  return largest > 0 ? difference / largest : difference;
}

}  // namespace gneiss::test
