// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "harness/probe/scope_log.h"

namespace vorta::harness {

enum class GpuWork { kKernel, kCopy, kFill };  // fill: memset

/// One kernel, copy or fill that ran on a GPU. Times by probe_clock_ns(); both 0 where CUPTI could take none.
struct GpuRecord {
  GpuWork work = GpuWork::kKernel;
  int64_t name = -1;           // index into GpuTrace::names
  int64_t begin_ns = 0;
  int64_t end_ns = 0;
  int64_t device = 0;
  int64_t stream = 0;
  int64_t scope = -1;          // where it was launched: index into GpuTrace::scopes, or -1 outside any scope
  int64_t capture_scope = -1;  // node of a CUDA graph: where it was captured
  int64_t bytes = 0;           // copies and fills
};

/// Time that watching or lazy loading cost inside the traced region.
struct TraceOverhead {
  std::string kind;  // "lazy function loading", "buffer flush", ...
  int64_t calls = 0;
  int64_t total_ns = 0;
};

/// What a CUPTI session saw.
struct GpuTrace {
  std::vector<Scope> scopes;
  std::vector<std::string> names;  // readable names of kernels and copies
  std::vector<GpuRecord> records;  // in order of begin_ns
  std::vector<TraceOverhead> overheads;
  int64_t dropped_records = 0;     // lost for want of buffers: above 0, sums are too small

  /// Place of a record, its graph node's taken into account; nowhere when it was launched outside every scope.
  Place place(const GpuRecord& record) const;
};

/// Demangled, without the argument list, at most `most` bytes: longer names end in "..." and a hash that keeps them
/// apart.
std::string readable_kernel_name(const char* mangled, size_t most = 200);

}  // namespace vorta::harness
