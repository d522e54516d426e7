// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "harness/probe/scope_log.h"
#include "reports/store/gpu_rows.h"

namespace vorta::harness {

class CounterSession;

/// A session, or one line that says why the GPU's counters cannot be read.
struct CounterStart {
  std::unique_ptr<CounterSession> session;
  std::string refusal;
};

/// Counts executed tensor-core operations and DRAM bytes of each stage around denoising and of each denoising step,
/// with CUPTI's Range Profiler in one pass of user ranges: a generation runs once, as ever. Holds the claimed sparsity
/// against what the hardware did. Scopes outside "stage/text", "step/*" and "stage/vae" are not counted apart; ranges
/// do not nest. Starting and ending cost some 0.2 s, so only in profiled trials. Works beside a CuptiSession, in the
/// CUDA context that is current on the thread that calls start(); scopes come from the same thread.
class CounterSession final : public ScopeListener {
 public:
  /// Room for `most_ranges` scopes; later ones are not counted and finish() says so. Never throws for what a machine
  /// may lack.
  static CounterStart start(size_t most_ranges = 256);
  ~CounterSession() override;
  CounterSession(const CounterSession&) = delete;
  CounterSession& operator=(const CounterSession&) = delete;

  void scope_begin(std::string_view name) override;
  void scope_end() override;

  /// Values by scope and metric. Call once. @throws MachineError when the counters cannot be read back.
  std::vector<reports::GpuCounterRow> finish();
  /// Scopes that found no room.
  int64_t uncounted() const;

 private:
  struct State;
  explicit CounterSession(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Whether a scope is counted by itself.
bool is_counted_scope(std::string_view name);

}  // namespace vorta::harness
