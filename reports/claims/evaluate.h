// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "reports/query/report.h"

namespace vorta::reports {

/// Judges each claim on the interval of what was measured, never on the point estimate alone.
std::vector<ClaimVerdict> evaluate_claims(const std::vector<ClaimRow>& claims, const Report& report);

}  // namespace vorta::reports
