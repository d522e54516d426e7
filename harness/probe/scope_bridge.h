// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "engine/pipeline/pipeline.h"
#include "harness/probe/scope_log.h"

namespace vorta::harness {

/// Tells a listener of the engine's own scopes on this thread ("vorta::layer/3", "vorta::route/sliding", ...) from
/// construction to destruction: LibTorch's user scopes; and of the operators whose work operator_work() knows, with
/// that work.
class ScopeBridge {
 public:
  explicit ScopeBridge(ScopeListener& listener);  // must outlive the bridge; one bridge a thread
  ~ScopeBridge();
  ScopeBridge(const ScopeBridge&) = delete;
  ScopeBridge& operator=(const ScopeBridge&) = delete;

 private:
  uint64_t handle_ = 0;
};

/// Tells a listener of stages and steps ("stage/denoise", "step/3"), around what it tells a second observer, whose
/// clock therefore does not see the listener's cost.
class ScopeObserver final : public engine::PipelineObserver {
 public:
  ScopeObserver(ScopeListener& listener, engine::PipelineObserver& inner) : listener_(listener), inner_(inner) {}
  void stage_begin(engine::Stage stage) override;
  void stage_end(engine::Stage stage) override;
  void step_begin(int64_t index, int64_t count) override;
  void step_end(int64_t index, int64_t count) override;

 private:
  ScopeListener& listener_;
  engine::PipelineObserver& inner_;
};

}  // namespace vorta::harness
