// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "harness/probe/gpu_trace.h"

namespace vorta::harness {

class CuptiSession;

/// A session, or one line that says why there is none: no GPU, driver too old, no permission, CUPTI's only seat taken.
struct CuptiStart {
  std::unique_ptr<CuptiSession> session;
  std::string refusal;
};

/// Records every kernel, copy and fill of this process's GPUs from start to finish, each with the scope that launched
/// it: the session hears scopes begin and end and pushes their indices to CUPTI as external correlation ids. Nodes of
/// CUDA graphs captured during the session also know where they were captured. CUPTI is found with dlopen; records are
/// taken apart in finish(), not while the generation runs. Measured cost on an H100: about 0.2 % with kernels of 200
/// us, a quarter to a half more for graphs of tiny kernels, so never on in timed trials. One at a time; scopes must
/// come from one thread. CUPTI stays loaded until the process ends: tearing it down under CUDA graphs has crashed other
/// programs.
class CuptiSession final : public ScopeListener {
 public:
  /// Never throws for what a machine may lack: that is CuptiStart::refusal.
  static CuptiStart start();
  ~CuptiSession() override;
  CuptiSession(const CuptiSession&) = delete;
  CuptiSession& operator=(const CuptiSession&) = delete;

  void scope_begin(std::string_view name) override;
  void scope_end() override;
  void scope_work(const ScopeWork& work) override;

  /// Waits for the GPU, stops recording and returns what was seen. Call once, on the thread that called start().
  /// @throws MachineError when the GPU or CUPTI failed meanwhile.
  GpuTrace finish();

 private:
  struct State;
  explicit CuptiSession(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace vorta::harness
