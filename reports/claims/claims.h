// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "reports/store/rows.h"

namespace vorta::reports {

/// kUndecided: too few items for an interval, or the interval crosses the band's edge.
enum class Verdict { kHolds, kFails, kUndecided, kNotMeasured };

std::string_view to_string(Verdict verdict);

struct ClaimVerdict {
  ClaimRow claim;
  Verdict verdict = Verdict::kNotMeasured;
  std::optional<double> value;
  std::optional<double> low;   ///< 95 % interval.
  std::optional<double> high;
  int64_t items = 0;
  std::string words;  ///< The verdict in one honest sentence.
};

}  // namespace vorta::reports
