// Reads .npy files by the format's own words, independently of the program under test.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

namespace gneiss::test {

struct Npy {
  std::string dtype;  // "<f4"
  std::vector<std::size_t> shape;
  std::string bytes;

  template <class T>
  std::vector<T> values() const {
    std::vector<T> result(bytes.size() / sizeof(T));
    std::memcpy(result.data(), bytes.data(), bytes.size());
    return result;
  }
};

inline Npy read_npy(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string all(std::istreambuf_iterator<char>(file), {});
  if (all.size() < 10 || all.compare(0, 6, "\x93NUMPY") != 0)
    throw std::runtime_error(path.string() + ": no npy");
  const std::size_t header = static_cast<unsigned char>(all[8]) + 256U * static_cast<unsigned char>(all[9]);
  const std::string text = all.substr(10, header);
  Npy array;
  std::smatch match;
  if (std::regex_search(text, match, std::regex("'descr': *'([^']*)'"))) array.dtype = match[1];
  if (text.find("'fortran_order': False") == std::string::npos) throw std::runtime_error("not C order");
  std::regex_search(text, match, std::regex("'shape': *\\(([^)]*)\\)"));
  const std::string extents = match[1];
  const std::regex number("[0-9]+");
  for (std::sregex_iterator it(extents.begin(), extents.end(), number), end; it != end; ++it) {
    array.shape.push_back(std::stoull(it->str()));
  }
  array.bytes = all.substr(10 + header);
  return array;
}

}  // namespace gneiss::test
