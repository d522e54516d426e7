// SPDX-License-Identifier: Apache-2.0
// One run as flat values that can be paired with those of another run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "reports/store/history.h"
#include "reports/store/rows.h"

namespace vorta::reports {

/// A number of one finished trial. Quantities: time/<stage> (s; time/step is the mean of a trial's steps),
/// memory/<scope> (B), operator/<name> (s of self time), fastest/<name> (s of a call of mean work at the best rate) and
/// kernel/<name> (s on the GPU) of observed trials, score/<metric key>.
struct Measured {
  std::string variant;
  std::string quantity;
  std::string item;  ///< Prompt, negative prompt and seed: the same in every database.
  std::string prompt;
  int64_t repeat = 0;  ///< Round.
  double value = 0;
};

/// What must be equal from build to build: flops/<what> (executed where that was counted), predicted/flops/<what>,
/// calls/<operator>, kernels, routes, output. Numbers as text.
struct Deterministic {
  std::string variant;
  std::string quantity;
  std::string item;  ///< Empty for what belongs to a variant as a whole.
  std::string text;
  bool is_number = false;
};

struct MeasuredRun {
  RunLine line;
  std::string reference_variant;
  std::map<std::string, std::string> case_hashes;  ///< By variant; of its name and parameters.
  std::map<std::string, std::string> params;  ///< JSON of the effective configuration, by variant.
  std::map<std::string, int64_t> failed;  ///< Trials whose newest attempt failed, by variant.
  std::vector<Measured> values;
  std::vector<Deterministic> facts;
  std::vector<MetricDefRow> metrics;
};

/// Reads the run `key` ("" for the newest) of a database or a run's folder. DataError when there is none.
MeasuredRun read_measured(const std::filesystem::path& database, std::string_view key = "");

}  // namespace vorta::reports
