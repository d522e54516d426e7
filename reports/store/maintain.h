// SPDX-License-Identifier: Apache-2.0
// What is done with whole result databases. Every function throws DataError with the file and SQLite's words.
#pragma once

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace vorta::reports {

struct MergeSummary {
  int64_t runs = 0;    ///< In the database after the merge.
  int64_t trials = 0;
  int64_t new_trials = 0;
  int64_t artefacts = 0;  ///< Files brought into artefacts/.
};

/// Adds everything of `sources` to `into` (made when absent), one transaction a source. Rows are told apart by keys
/// that are the same in every copy, so that merging again changes nothing and the order of sources does not matter;
/// where two copies of a row differ, the larger value stays, and a finished trial stays before an unfinished one.
/// Attempts at the same trial are numbered anew by their start. Files of artefacts are linked or copied to artefacts/
/// beside `into`, named by content. Sources are only read; an older schema is migrated in a copy. All of them are read
/// before `into` is touched, and a new one gets its name when it is whole: a merge that fails leaves nothing.
MergeSummary merge_databases(const std::filesystem::path& into, const std::vector<std::filesystem::path>& sources);

/// SHA-256 over all rows with local ids replaced by keys, in an order of their own: equal for equal content.
std::string content_digest(const std::filesystem::path& file);

struct Verification {
  int64_t schema = 0;
  int64_t runs = 0;
  int64_t trials = 0;
  int64_t samples = 0;
  int64_t unfinished = 0;             ///< Trials that are running or were interrupted and not done again.
  std::vector<std::string> problems;  ///< Empty: the file is sound.
};

/// Pages and indexes, foreign keys, JSON, finished timed trials without an end-to-end time, missing or changed artefact
/// files.
Verification verify_database(const std::filesystem::path& file);

/// A compact read-only copy without a write-ahead log, for tools that open databases in folders they cannot write. The
/// views of dashboards/sql/views.sql are in it. One that fails leaves nothing, and an older copy as it was.
void publish_database(const std::filesystem::path& file, const std::filesystem::path& copy);

/// Names accepted by export_rows: csv, json, jsonl.
enum class ExportFormat { kCsv, kJson, kJsonLines };
/// Writes `table` as rows with column names; "measurements": a row for each sample, score, memory peak and kernel of
/// finished trials, with run, variant, prompt, seed, unit. ConfigError on an unknown table, DataError on a damaged file
/// before the first row. Returns the number of rows.
int64_t export_rows(const std::filesystem::path& file, std::string_view table, ExportFormat format, std::ostream& out);
/// The SQL behind export_rows' "measurements".
std::string_view measurements_sql();

}  // namespace vorta::reports
