// SPDX-License-Identifier: Apache-2.0
// Runs of many builds in one database: which there are, which one a gate compares with, what was accepted and decided.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vorta::reports {

/// A run as a line of history.
struct RunLine {
  std::string key;
  std::string suite;
  std::string suite_hash;
  std::string identity_json;  ///< Of its environment.
  std::string build_json;     ///< Commit, branch, ...; "{}" where nobody said.
  int64_t started_unix_ns = 0;
  bool finished = false;
};

/// Oldest first.
std::vector<RunLine> list_runs(const std::filesystem::path& database);

/// Why sampling of a run ended, known only to who made its rounds one by one.
void set_stop_reason(const std::filesystem::path& database, std::string_view run_key, std::string_view reason);

/// Hash of the values of `keys` in an environment's identity: runs of one class may be compared. Keys that the identity
/// lacks count as absent.
std::string environment_class(const std::string& identity_json, const std::vector<std::string>& keys);

struct BaselineRow {
  std::string name;
  std::string environment_class;
  std::string run_key;
  std::string author;
  std::string reason;
};
void freeze_baseline(const std::filesystem::path& database, const BaselineRow& row);
/// Run key of the newest baseline of that name and class.
std::optional<std::string> find_baseline(const std::filesystem::path& database, std::string_view name,
                                         std::string_view environment_class);

/// `variant` and `quantity` may be "*".
struct AcceptedRow {
  std::string run_key;
  std::string variant;
  std::string quantity;
  std::string author;
  std::string reason;
};
void accept_change(const std::filesystem::path& database, const AcceptedRow& row);
std::vector<AcceptedRow> accepted_changes(const std::filesystem::path& database);

/// One verdict. Harm is positive: a share of the base for times, bytes and counts, the metric's own unit for scores.
struct ComparisonRow {
  std::string variant;
  std::string quantity;
  std::string unit;  ///< "1" for shares
  std::optional<double> base, head;
  std::optional<double> harm, harm_low, harm_high;
  std::optional<double> p_adjusted, detectable, noise_floor;
  int64_t units = 0;
  std::string verdict;  ///< better, worse, equivalent, inconclusive, changed, same, missing
  std::string outcome;  ///< pass, regression, inconclusive, incomparable, accepted
  std::string words;
};

struct ComparisonSet {
  std::string policy_json;
  std::string base_run_key;
  std::string head_run_key;
  int64_t look = 1;
  std::vector<ComparisonRow> rows;
};
/// One transaction; a set that is there already is replaced.
void store_comparisons(const std::filesystem::path& database, const ComparisonSet& set);

}  // namespace vorta::reports
