// Tables as text.
#include "storage/import/csv_reader.h"
#include "tests/fuzz/fuzz_target.h"

namespace gneiss::test {
namespace {

std::vector<std::string> seeds() {
  return {"0,1\n1,2\n2,0\n",
          "1.5,-2e3\n\n nan , inf\r\n1e-400,1e400",
          "7",
          "",
          "-9223372036854775808,1\n",
          "1,2,3\n4,5\n",
          "1,,2\n",
          "\xEF\xBB\xBF"
          "1\n"};
}

template <class T>
void read_rows(const MemoryFile& file) {
  CsvReader reader(std::make_unique<FileSource>(file.path()));
  const std::size_t columns = reader.count_fields();
  std::vector<T> row(columns);
  while (columns > 0 && reader.next_row(std::span(row))) {
  }
}

void run(std::string_view input) {
  const MemoryFile file(input);
  attempt([&] { read_rows<std::int64_t>(file); });
  attempt([&] { read_rows<float>(file); });
  attempt([&] { read_rows<double>(file); });
}

}  // namespace

const FuzzTarget csv_target{.name = "csv", .seeds = seeds, .run = run};

}  // namespace gneiss::test
