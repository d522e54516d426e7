// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "reports/query/report.h"

namespace vorta::reports {

/// The whole report as one JSON value: what report.json holds and what the HTML page's charts read.
nlohmann::json report_json(const Report& report);

}  // namespace vorta::reports
