// The memory that one operator is given, once more on a CUDA device: carried over, carried back.
//
// Why:    operators of a CUDA backend then run over what tests have on the host. Every region has its own
//         allocation of exactly its size, as far from alignment as the host's: what is read or written
//         outside of it is found on an emulated device, and what is written between the columns of a view
//         comes back.
// Use:    carry() every argument, copy_in(), carry() them again for the operator, wait, copy_out().
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/compute/attention.h"
#include "engine/compute/normalization.h"
#include "tests/engine/device_batch.h"

namespace gneiss::test {

// Memory whose content an operator may not ask for, and whose content nobody asks for after.
struct Scratch {
  std::span<float> memory{};
};

class DeviceMirror {
 public:
  enum class Use : std::uint8_t {
    read,
    update,
    scratch,
    bus,  // read by the device where it lies, in pinned memory of the host
  };

  explicit DeviceMirror(Backend& device) : device_(device) {}

  // Before copy_in(): notes the memory. After: where it lies on the device. Nothing stays nothing.
  //   element  what `data` begins at multiples of, on the device
  template <class T>
  T* place(T* data, std::size_t count, Use use = std::is_const_v<T> ? Use::read : Use::update,
           std::size_t element = sizeof(T)) {
    if (data == nullptr) return nullptr;
    auto* const bytes = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(data));
    if (!is_on_device_) {
      note(bytes, count * sizeof(T), use, element);
      return data;
    }
    return reinterpret_cast<T*>(find(bytes));
  }
  void copy_in();
  void copy_out();

 private:
  struct Region {
    std::byte* begin = nullptr;
    std::byte* end = nullptr;
    bool is_read = false;
    bool is_written = false;
    bool is_pinned = false;
    std::size_t element = 1;
    DeviceArray<std::byte> memory{};
    HostMemory pinned{};
    std::byte* device = nullptr;  // of `begin`
  };
  void note(std::byte* begin, std::size_t bytes, Use use, std::size_t element);
  void merge_overlapping();
  std::byte* find(std::byte* data) const;

  Backend& device_;
  std::vector<Region> regions_;
  bool is_on_device_ = false;
};

// What is no memory of the host is carried as it is.
template <class T>
T carry(DeviceMirror& /*mirror*/, T value) {
  return value;
}

template <class T>
std::span<T> carry(DeviceMirror& mirror, std::span<T> values) {
  return {mirror.place(values.data(), values.size()), values.size()};
}
inline std::span<float> carry(DeviceMirror& mirror, Scratch scratch) {
  return {mirror.place(scratch.memory.data(), scratch.memory.size(), DeviceMirror::Use::scratch),
          scratch.memory.size()};
}
template <class T>
BasicMatrixView<T> carry(DeviceMirror& mirror, BasicMatrixView<T> matrix) {
  const std::size_t count = matrix.empty() ? 0 : (matrix.rows - 1) * matrix.stride + matrix.columns;
  matrix.data = mirror.place(matrix.data, count);
  return matrix;
}
// The second of several ranges, the cpu tier's place, is read over the bus. Rows that begin at any byte here
// begin at as many elements there: devices read no element that is not aligned.
TieredRows carry(DeviceMirror& mirror, const TieredRows& rows);
BlockView carry(DeviceMirror& mirror, BlockView block);

inline Dropout carry(DeviceMirror& mirror, Dropout dropout) {
  dropout.row_nodes = carry(mirror, dropout.row_nodes);
  return dropout;
}
inline Epilogue carry(DeviceMirror& mirror, Epilogue epilogue) {
  epilogue.bias = carry(mirror, epilogue.bias);
  epilogue.dropout = carry(mirror, epilogue.dropout);
  return epilogue;
}
inline EdgeScales carry(DeviceMirror& mirror, EdgeScales scales) {
  return {carry(mirror, scales.destination), carry(mirror, scales.source), carry(mirror, scales.self)};
}
inline ClassWeighting carry(DeviceMirror& mirror, ClassWeighting classes) {
  return {carry(mirror, classes.weights), classes.smoothing};
}
inline BinaryLabels carry(DeviceMirror& mirror, BinaryLabels labels) {
  return {carry(mirror, labels.entries), carry(mirror, labels.classes)};
}
inline NormParameters carry(DeviceMirror& mirror, NormParameters parameters) {
  return {carry(mirror, parameters.weight), carry(mirror, parameters.bias), parameters.epsilon};
}
inline AttentionRule carry(DeviceMirror& mirror, AttentionRule rule) {
  rule.dropout = carry(mirror, rule.dropout);
  return rule;
}
template <class T>
BasicEdgeValues<T> carry(DeviceMirror& mirror, BasicEdgeValues<T> values) {
  return {carry(mirror, values.edges), carry(mirror, values.loops)};
}

}  // namespace gneiss::test
