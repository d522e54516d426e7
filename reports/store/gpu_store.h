// SPDX-License-Identifier: Apache-2.0
// Private to reports: GPU rows in and out of run.sqlite. The harness goes through RunStore, reports through
// read_report.
#pragma once

#include <optional>

#include "reports/store/database.h"
#include "reports/store/gpu_rows.h"

namespace vorta::reports {

/// Writes what is there. Inside the caller's transaction. DataError on any SQLite error.
void insert_gpu(const Database& database, int64_t trial, const GpuResult& gpu);

/// Rows of one trial; nothing where it left none. Work and ceilings of kernels need schema 3.
std::optional<GpuProfile> read_gpu_profile(const Database& database, int64_t trial);
std::optional<GpuPowerRow> read_gpu_power(const Database& database, int64_t trial);

}  // namespace vorta::reports
