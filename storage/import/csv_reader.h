// Tables of numbers as text, a line at a time: OGB's .csv.gz files.
//
// Errors: input, naming the file and the line.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "storage/import/byte_source.h"

namespace gneiss {

class CsvReader {
 public:
  explicit CsvReader(std::unique_ptr<ByteSource> source);

  const std::string& name() const noexcept { return source_->name(); }
  std::uint64_t line() const noexcept { return line_; }  // of the last row read, counted from 1

  // The next row's numbers; false at the end. Blank lines are passed over.
  // Throws Error(input) when the row does not hold exactly target.size() numbers.
  bool next_row(std::span<std::int64_t> target);
  bool next_row(std::span<float> target);
  bool next_row(std::span<double> target);
  // How many fields the next row has, without taking it; 0 at the end.
  std::size_t count_fields();

 private:
  template <class T>
  bool parse_row(std::span<T> target);
  bool peek_line();

  std::unique_ptr<ByteSource> source_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;  // the unread bytes are buffer_[begin_, end_)
  std::size_t end_ = 0;
  bool source_ended_ = false;
  bool has_line_ = false;
  std::string_view text_;  // the next line, where has_line_
  std::uint64_t line_ = 0;
};

}  // namespace gneiss
