// The folder in which a preparation comes to be, and the catalog's word on what it is made from.
//
// Why:     a run that was killed leaves its finished work there, and the same command goes on with it; one
//          that asks for something else removes it.
// Crash:   the catalog names what the folder's files are made from once those of other work are durably gone
//          and before the first of these is there; every checkpoint in the folder says it again, for a
//          catalog that was cut. Sealing goes: the old entry is replaced by the new one's text in the
//          journal, the folders change places, the journal becomes the entry. A kill in between is made good
//          by the next run.
// Format:  storage/FORMAT.md, "Preparation".
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "storage/format/preparation.h"

namespace gneiss {

// Files in the folder that are not of the preparation: what was sampled and what it is made of, and how far
// each step has come.
inline constexpr const char* batches_work_name = "batches.work";
inline constexpr const char* batches_checkpoint_name = "batches.state";
inline constexpr const char* inputs_work_name = "inputs.work";
inline constexpr const char* inputs_checkpoint_name = "inputs.state";
inline constexpr const char* plan_checkpoint_name = "plan.state";
inline constexpr const char* samples_checkpoint_name = "samples.state";

class PreparationInWork {
 public:
  // Takes up the folder of an earlier run that made the same, or begins an empty one.
  //   made_from  all that the files depend on
  PreparationInWork(Dataset& dataset, std::string name, const nlohmann::json& made_from);

  // Ends what a kill has left of sealing this name, whatever it is made from. Returns whether that was
  // `made_from`: then the preparation is there.
  static bool finish_sealing(Dataset& dataset, const std::string& name, const nlohmann::json& made_from);
  // Removes what a killed run left, if anything: for who does not go on with it.
  static void discard(Dataset& dataset, const std::string& name);

  const std::filesystem::path& folder() const noexcept { return folder_; }
  // What every checkpoint in the folder carries, so that none is taken for one of other work: a checksum of
  // the constructor's `made_from`.
  std::uint64_t made_from() const noexcept { return made_from_; }
  bool has(const char* file) const { return std::filesystem::exists(folder_ / file); }
  void remove(const char* file) const;  // if it is there
  void remove_planned_files() const;    // all that depends on the plan
  // Of the preparation's files, whole or not: space that is no longer free, and need not be.
  std::uint64_t bytes_of_files() const;

  // What an earlier run has done, in words; empty when nothing is worth keeping.
  std::string progress() const;
  // The files are whole: makes them the preparation of this name, in place of an old one.
  void seal(const PreparationInfo& info);
  // What failed, failed in seal(), which finish_sealing() ends: nothing is to be discarded.
  bool is_sealing() const noexcept { return is_sealing_; }

 private:
  Dataset& dataset_;
  std::string name_;
  std::filesystem::path folder_;
  std::uint64_t made_from_;
  bool is_sealing_ = false;
};

}  // namespace gneiss
