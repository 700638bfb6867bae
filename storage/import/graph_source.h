// What every import reads from, whatever the layout on disk: edges, feature rows, labels and splits as
// streams.
//
// Why:     a new kind of source implements these and nothing else; checking, sorting, normalising and
//          writing are done once, in import_graph().
// Threads: a source belongs to one thread.
// Memory:  streams hold fixed buffers.
// Errors:  input, naming the file, the place in it and the value.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "storage/base/dtype.h"
#include "storage/format/dataset.h"

namespace gneiss {

class EdgeSource {
 public:
  virtual ~EdgeSource() = default;
  virtual const std::string& name() const noexcept = 0;
  virtual std::uint64_t edge_count() const noexcept = 0;
  // Fills both spans, of the same size, with the next edges; ids are as the file has them, unchecked.
  virtual void read(std::span<std::int64_t> sources, std::span<std::int64_t> destinations) = 0;
  virtual void finish() = 0;  // after the last edge: nothing may follow, checksums must match
};

class RowSource {
 public:
  virtual ~RowSource() = default;
  virtual const std::string& name() const noexcept = 0;
  virtual std::uint64_t row_count() const noexcept = 0;
  virtual std::uint64_t column_count() const noexcept = 0;
  virtual Dtype natural_dtype() const noexcept = 0;  // the stored type that loses nothing, f32 at most
  virtual void rewind() = 0;                         // to row 0: normalising may take two passes
  virtual void read(std::span<float> target) = 0;    // the next target.size() / column_count() rows
  virtual void finish() = 0;
};

class LabelSource {
 public:
  virtual ~LabelSource() = default;
  virtual const std::string& name() const noexcept = 0;
  virtual std::uint64_t row_count() const noexcept = 0;
  virtual std::uint64_t column_count() const noexcept = 0;  // 1: a class a node; more: columns of 0 and 1
  virtual void read(std::span<double> target) = 0;          // the next rows, whole; NaN: no label
  virtual void finish() = 0;
};

class SplitSource {
 public:
  virtual ~SplitSource() = default;
  virtual const std::string& name() const noexcept = 0;
  virtual std::uint64_t id_count() const noexcept = 0;
  virtual void read(std::span<std::int64_t> ids) = 0;  // the next ids, as the file has them, unchecked
  virtual void finish() = 0;
};

struct GraphSource {
  std::string description;  // "npy /data/cora"
  std::uint64_t node_count = 0;
  std::unique_ptr<EdgeSource> edges;
  std::unique_ptr<RowSource> features;
  std::unique_ptr<LabelSource> labels;
  std::array<std::unique_ptr<SplitSource>, 3> splits;  // in the order of Split
  bool add_inverse_edges = false;  // the source's own loader adds each edge's reverse (OGB)
};

}  // namespace gneiss
