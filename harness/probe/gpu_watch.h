// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "harness/probe/gpu_trace.h"
#include "reports/store/gpu_rows.h"

namespace vorta::harness {

/// All GPU probes of one profiled generation together: kernel records, hardware counters, NVTX ranges. Starts what this
/// machine allows from construction to finish(); what it does not allow becomes one line of the profile's note.
class GpuWatch final : public ScopeListener {
 public:
  GpuWatch();
  ~GpuWatch() override;
  GpuWatch(const GpuWatch&) = delete;
  GpuWatch& operator=(const GpuWatch&) = delete;

  void scope_begin(std::string_view name) override;
  void scope_end() override;
  void scope_work(const ScopeWork& work) override;

  struct Seen {
    GpuTrace trace;
    reports::GpuProfile profile;
  };
  /// Call once, on the generating thread. @throws MachineError when the GPU failed meanwhile.
  Seen finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vorta::harness
