// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "reports/claims/claims.h"

namespace vorta::reports {

/// What write_reports made, for the caller's last words and exit code.
struct WrittenReports {
  std::vector<std::filesystem::path> files;
  std::vector<ClaimVerdict> verdicts;
  int64_t failed_trials = 0;
  std::string terminal_text;  ///< The short table for stdout.

  /// True when no trial failed and no claim was found not to hold.
  bool all_well() const;
};

/// Names accepted as formats, in the order they are written: html, md, tex, csv, json, txt.
std::vector<std::string> report_formats();

/// Reads `database` (run.sqlite, or the folder that holds it) and writes report.<format> files into `out_dir`.
/// `run_key`: which of many runs; empty: the newest. ConfigError on an unknown format, DataError on a bad database or
/// an unwritable folder.
WrittenReports write_reports(const std::filesystem::path& database, const std::filesystem::path& out_dir,
                             const std::vector<std::string>& formats, std::string_view run_key = {});

}  // namespace vorta::reports
