// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace vorta::reports {

class Database;

enum class AuditOutcome { kHolds, kBroken, kNotMeasured };
std::string_view to_string(AuditOutcome outcome);

/// One way in which a benchmark can fool its reader, looked for in what the run stored.
struct Audit {
  std::string name;     ///< "steps executed", ...
  std::string promise;  ///< What must hold.
  AuditOutcome outcome = AuditOutcome::kNotMeasured;
  std::string words;    ///< How often it was looked at, and what broke it.
};

/// Of the newest run of a database or a run's folder: every step that is reported was executed; every video has all its
/// frames; all rounds of an item give the same frames; observed trials give the frames of timed ones, other prompts in
/// between (caches were reset); a prompt seen before is no faster by over a tenth; executed operations are the plan's
/// within a tenth; each variant took each place in the order alike; nobody else used the GPU.
std::vector<Audit> audit_run(const std::filesystem::path& database);
/// The same of a run (its number) of an open database of kHistorySchema or later.
std::vector<Audit> audit_of(const Database& database, int64_t run);

}  // namespace vorta::reports
