#include "storage/format/verify.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "storage/base/progress.h"
#include "storage/base/stopwatch.h"
#include "storage/format/dataset.h"
#include "storage/format/preparation.h"
#include "storage/format/section_stream.h"

namespace gneiss {
namespace {

namespace fs = std::filesystem;

std::uint64_t bytes_below(const fs::path& folder) {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::error_code ignored;
    if (at->is_regular_file(ignored)) bytes += at->file_size(ignored);
  }
  return bytes;
}

std::uint64_t bytes_of(const fs::path& path) {
  std::error_code error;
  const std::uint64_t bytes = fs::file_size(path, error);
  return error ? 0 : bytes;
}

class Verifier {
 public:
  Verifier(fs::path folder, const VerifyOptions& options)
      : folder_(std::move(folder)),
        options_(options),
        progress_("verifying", bytes_below(folder_), Progress::Unit::bytes) {}

  VerifyReport run() {
    const Stopwatch clock;
    const FileLock lock = keep_from_being_replaced();  // else what was replaced would be taken for damage
    check("catalog", bytes_below(folder_ / "catalog"), [&] { verify_catalog(); });
    for (const auto& [file, magic] :
         {std::pair{graph_file_name, graph_magic}, std::pair{features_file_name, features_magic},
          std::pair{labels_file_name, labels_magic}}) {
      check(file, bytes_of(folder_ / file),
            [&] { verify_sections({folder_ / file, magic, [](SectionKind) { return true; }}, &progress_); });
    }
    // The preparations need a dataset that can be opened; what keeps it from that may be damage already told.
    std::optional<Dataset> dataset;
    check("dataset", 0, [&] {
      dataset.emplace(Dataset::open(folder_));
      for (const Split split : all_splits) static_cast<void>(dataset->split(split));
      static_cast<void>(dataset->read_indptr());
      static_cast<void>(dataset->read_labels());
    });
    if (dataset) verify_preparations(*dataset);
    report_.seconds = clock.seconds();
    for (const VerifiedPart& part : report_.parts) report_.bytes += part.bytes;
    return std::move(report_);
  }

 private:
  FileLock keep_from_being_replaced() const {
    std::optional<FileLock> lock;
    try {
      lock = FileLock::try_take(folder_ / graph_file_name, FileLock::Mode::shared);
    } catch (const Error&) {
      return {};  // what cannot be opened is told below, part by part
    }
    if (!lock) fail(Kind::io, "{} is being replaced by another gneiss; wait until it ends", folder_.string());
    return std::move(*lock);
  }

  void check(const std::string& name, std::uint64_t bytes, const std::function<void()>& work) {
    VerifiedPart part{.name = name, .bytes = bytes, .damage = {}, .kind = Kind::corruption};
    try {
      work();
    } catch (const Error& error) {
      if (error.kind() == Kind::cancelled) throw;
      part.damage = error.what();
      part.kind = error.kind();
    } catch (const fs::filesystem_error& error) {  // a drive that does not say what there is
      part.damage = error.what();
      part.kind = Kind::io;
    }
    for (const VerifiedPart& told : report_.parts) {
      if (!part.damage.empty() && told.damage == part.damage) return;  // the same damage, met again
    }
    report_.parts.push_back(std::move(part));
  }

  void verify_catalog() {
    const Catalog catalog(folder_ / "catalog", Catalog::Access::read);
    catalog.verify();
    static_cast<void>(catalog.get_json("dataset"));
    static_cast<void>(catalog.get_json("statistics"));
  }

  void verify_preparations(const Dataset& dataset) {
    auto names = preparation_names(dataset);
    for (const std::string& name : lost_preparations(dataset)) {
      check(fmt::format("preparation '{}'", name), 0, [&] { fail_lost(dataset, name); });
    }
    if (options_.preparation) {
      if (std::ranges::find(names, *options_.preparation) == names.end()) {
        static_cast<void>(
            Preparation::open(dataset, *options_.preparation));  // throws, and says what there is
      }
      names = {*options_.preparation};
    }
    for (const std::string& name : names) {
      // A name that is none leads out of the dataset.
      const std::uint64_t bytes =
          is_preparation_name(name) ? bytes_below(preparation_folder(dataset, name)) : 0;
      check(fmt::format("preparation '{}'", name), bytes,
            [&] { Preparation::open(dataset, name).verify(&progress_); });
    }
  }

  const fs::path folder_;
  const VerifyOptions& options_;
  Progress progress_;
  VerifyReport report_;
};

}  // namespace

std::size_t VerifyReport::damaged_count() const noexcept {
  return static_cast<std::size_t>(std::ranges::count_if(parts, &VerifiedPart::is_damaged));
}

std::size_t VerifyReport::unread_count() const noexcept {
  return static_cast<std::size_t>(std::ranges::count_if(parts, &VerifiedPart::is_unread));
}

VerifyReport verify_dataset(const fs::path& folder, const VerifyOptions& options) {
  expect_dataset_folder(folder);
  if (!fs::is_directory(folder / "catalog")) {
    fail(Kind::input, "{} is not a Gneiss dataset (it has no catalog); there is nothing to verify",
         folder.string());
  }
  return Verifier(folder, options).run();
}

}  // namespace gneiss
