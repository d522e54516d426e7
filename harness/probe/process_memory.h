// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

namespace vorta::harness {

/// Starts a new high-water mark of this process's resident memory. False where the kernel does not let us (no
/// /proc/self/clear_refs); peak_rss_bytes() then is the peak since the process began.
bool reset_peak_rss();
/// Highest resident memory since the last reset (VmHWM); nothing where /proc does not say.
std::optional<int64_t> peak_rss_bytes();

}  // namespace vorta::harness
