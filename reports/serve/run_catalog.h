// SPDX-License-Identifier: Apache-2.0
// The result databases that `serve` shows, read anew at each question so that a running sweep is seen as it grows.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace vorta::reports {

/// One run. `id` is made of its folder's name, of several runs in one database also of its key, and is unique within a
/// catalogue.
struct CatalogEntry {
  std::string id;
  std::filesystem::path database;
  std::string run_key = {};  // empty: the newest
};

/// Finds databases and the runs in them: a path to a file is taken as it is; a folder is searched for `*.sqlite`, four
/// levels deep, in the order of their paths. DataError when a path does not exist or none holds a database of ours.
std::vector<CatalogEntry> find_runs(const std::vector<std::filesystem::path>& paths);

/// Where a run stands, as JSON: id, folder, suite, title, version, commit ("" where no build said it), environment,
/// started and ended (Unix seconds or null), trials by status, how many the suite expects (or null), the trial that
/// began last. A database that cannot be read gives {id, folder, error}.
nlohmann::json run_status(const CatalogEntry& entry);

/// One row a run, variant and stage: {id, suite, version, commit, environment, started, variant, stage, median_s,
/// speedup}. `environment` is a hash: times of different environments are no history of each other.
nlohmann::json run_history(const std::vector<CatalogEntry>& entries);

}  // namespace vorta::reports
