#include "storage/import/npy_sources.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "storage/base/error.h"

namespace gneiss {
namespace {

class NpyEdges final : public EdgeSource {
 public:
  explicit NpyEdges(NpyArray array) : array_(std::move(array)) {
    const auto shape = array_.shape();
    if (is_floating(array_.header().type)) {
      fail(Kind::input, "{} holds {} numbers; node ids must be integers", name(),
           name_of(array_.header().type));
    }
    if (shape.size() != 2 || (shape[0] != 2 && shape[1] != 2)) {
      fail(Kind::input, "{} has the shape {}; edges must come as (2, E) or (E, 2)", name(),
           format_shape(shape));
    }
    const bool rows_are_ends = shape[0] == 2;
    edge_count_ = rows_are_ends ? shape[1] : shape[0];
    interleaved_ = rows_are_ends == array_.header().fortran_order;
    first_.emplace(array_.stream());
    if (!interleaved_) second_.emplace(array_.stream(edge_count_));
  }
  const std::string& name() const noexcept override { return array_.name(); }
  std::uint64_t edge_count() const noexcept override { return edge_count_; }

  void read(std::span<std::int64_t> sources, std::span<std::int64_t> destinations) override {
    if (!interleaved_) {
      first_->read(sources);
      second_->read(destinations);
      return;
    }
    pairs_.resize(sources.size() * 2);
    first_->read(std::span(pairs_));
    for (std::size_t i = 0; i < sources.size(); ++i) {
      sources[i] = pairs_[2 * i];
      destinations[i] = pairs_[2 * i + 1];
    }
  }
  void finish() override { (interleaved_ ? first_ : second_)->finish(); }

 private:
  NpyArray array_;
  std::uint64_t edge_count_ = 0;
  bool interleaved_ = false;  // both ends of an edge lie side by side
  std::optional<NpyStream> first_;
  std::optional<NpyStream> second_;
  std::vector<std::int64_t> pairs_;
};

// The rows of a matrix, in order, whichever way it is stored.
template <class T>
class NpyMatrix {
 public:
  //   what  "features must come as (nodes, dimension)", for messages
  NpyMatrix(NpyArray array, const char* what) : array_(std::move(array)) {
    const auto shape = array_.shape();
    if (shape.empty() || shape.size() > 2) {
      fail(Kind::input, "{} has the shape {}; {}", name(), format_shape(shape), what);
    }
    rows_ = shape[0];
    columns_ = shape.size() == 2 ? shape[1] : 1;
    by_column_ = array_.header().fortran_order && columns_ > 1;
    if (by_column_ && !array_.can_seek()) {
      fail(Kind::input,
           "{} is in Fortran order inside an archive; save it in C order (numpy.ascontiguousarray)", name());
    }
    rewind();
  }
  const std::string& name() const noexcept { return array_.name(); }
  NpyType type() const noexcept { return array_.header().type; }
  std::uint64_t row_count() const noexcept { return rows_; }
  std::uint64_t column_count() const noexcept { return columns_; }
  void rewind() {
    next_row_ = 0;
    if (!by_column_) stream_.emplace(array_.stream());
  }
  void read(std::span<T> target) {
    if (!by_column_) return stream_->read(target);
    const std::size_t count = target.size() / columns_;
    column_.resize(count);
    for (std::uint64_t column = 0; column < columns_; ++column) {
      array_.stream(column * rows_ + next_row_).read(std::span(column_));
      for (std::size_t row = 0; row < count; ++row) target[row * columns_ + column] = column_[row];
    }
    next_row_ += count;
  }
  void finish() {
    if (!by_column_) stream_->finish();
  }

 private:
  NpyArray array_;
  std::uint64_t rows_ = 0;
  std::uint64_t columns_ = 0;
  bool by_column_ = false;
  std::uint64_t next_row_ = 0;
  std::optional<NpyStream> stream_;
  std::vector<T> column_;
};

class NpyRows final : public RowSource {
 public:
  explicit NpyRows(NpyArray array) : matrix_(std::move(array), "features must come as (nodes, dimension)") {
    if (matrix_.row_count() == 0) {
      fail(Kind::input, "{} has no rows; a graph needs at least one node", name());
    }
  }
  const std::string& name() const noexcept override { return matrix_.name(); }
  std::uint64_t row_count() const noexcept override { return matrix_.row_count(); }
  std::uint64_t column_count() const noexcept override { return matrix_.column_count(); }
  Dtype natural_dtype() const noexcept override {
    return matrix_.type() == NpyType::f16 ? Dtype::f16 : Dtype::f32;
  }
  void rewind() override { matrix_.rewind(); }
  void read(std::span<float> target) override { matrix_.read(target); }
  void finish() override { matrix_.finish(); }

 private:
  NpyMatrix<float> matrix_;
};

void expect_one_column(const NpyArray& array, const char* what) {
  const auto shape = array.shape();
  if (shape.size() == 1 || (shape.size() == 2 && shape[1] == 1)) return;
  fail(Kind::input, "{} has the shape {}; {}", array.name(), format_shape(shape), what);
}

class NpyLabels final : public LabelSource {
 public:
  explicit NpyLabels(NpyArray array)
      : matrix_(std::move(array), "labels must come as (nodes,) or (nodes, labels)") {}
  const std::string& name() const noexcept override { return matrix_.name(); }
  std::uint64_t row_count() const noexcept override { return matrix_.row_count(); }
  std::uint64_t column_count() const noexcept override { return matrix_.column_count(); }
  void read(std::span<double> target) override { matrix_.read(target); }
  void finish() override { matrix_.finish(); }

 private:
  NpyMatrix<double> matrix_;
};

class NpySplit final : public SplitSource {
 public:
  NpySplit(NpyArray array, std::uint64_t node_count) : array_(std::move(array)) {
    const NpyType type = array_.header().type;
    if (is_floating(type) || type == NpyType::boolean) {
      fail(Kind::input,
           "{} holds {} values; a split is a list of node ids (numpy.flatnonzero makes one of a mask)",
           name(), name_of(type));
    }
    expect_one_column(array_, "a split is a list of node ids");
    if (id_count() > node_count) {
      fail(Kind::input, "{} lists {} nodes, the graph has {}", name(), id_count(), node_count);
    }
    stream_.emplace(array_.stream());
  }
  const std::string& name() const noexcept override { return array_.name(); }
  std::uint64_t id_count() const noexcept override { return array_.shape()[0]; }
  void read(std::span<std::int64_t> ids) override { stream_->read(ids); }
  void finish() override { stream_->finish(); }

 private:
  NpyArray array_;
  std::optional<NpyStream> stream_;
};

}  // namespace

std::unique_ptr<EdgeSource> make_npy_edges(NpyArray array) {
  return std::make_unique<NpyEdges>(std::move(array));
}
std::unique_ptr<RowSource> make_npy_rows(NpyArray array) {
  return std::make_unique<NpyRows>(std::move(array));
}
std::unique_ptr<LabelSource> make_npy_labels(NpyArray array) {
  return std::make_unique<NpyLabels>(std::move(array));
}

std::unique_ptr<SplitSource> make_npy_split(NpyArray array, std::uint64_t node_count) {
  return std::make_unique<NpySplit>(std::move(array), node_count);
}

}  // namespace gneiss
