// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/gpu_watch.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <vector>

#include "harness/probe/counter_session.h"
#include "harness/probe/cupti_session.h"
#include "harness/probe/gpu_summary.h"
#include "harness/probe/nvtx_scopes.h"

namespace vorta::harness {

struct GpuWatch::State {
  std::unique_ptr<CuptiSession> kernels;
  std::unique_ptr<CounterSession> counters;
  NvtxScopes nvtx;
  std::vector<ScopeListener*> listeners;  // told of a scope's end in the opposite order
  std::vector<std::string> notes;
};

GpuWatch::GpuWatch() : state_(std::make_unique<State>()) {
  CuptiStart kernels = CuptiSession::start();
  CounterStart counters = CounterSession::start();
  if (!kernels.session) state_->notes.push_back("no kernel records: " + kernels.refusal);
  // Whatever keeps the records away usually keeps the counters away too: one line is enough.
  if (!counters.session && counters.refusal != kernels.refusal)
    state_->notes.push_back("no hardware counters: " + counters.refusal);
  state_->kernels = std::move(kernels.session);
  state_->counters = std::move(counters.session);
  state_->listeners = {&state_->nvtx};
  if (state_->kernels) state_->listeners.push_back(state_->kernels.get());
  if (state_->counters) state_->listeners.push_back(state_->counters.get());
}

GpuWatch::~GpuWatch() = default;

void GpuWatch::scope_begin(std::string_view name) {
  for (ScopeListener* listener : state_->listeners) listener->scope_begin(name);
}

void GpuWatch::scope_end() {
  for (size_t i = state_->listeners.size(); i-- > 0;) state_->listeners[i]->scope_end();
}

void GpuWatch::scope_work(const ScopeWork& work) {
  for (ScopeListener* listener : state_->listeners) listener->scope_work(work);
}

GpuWatch::Seen GpuWatch::finish() {
  Seen seen;
  std::vector<reports::GpuCounterRow> counters;
  // Counters first: their session flushes work that the records should still see.
  if (state_->counters) {
    counters = state_->counters->finish();
    if (const int64_t lost = state_->counters->uncounted(); lost > 0)
      state_->notes.push_back(fmt::format("{} scopes found no room for counters", lost));
  }
  if (state_->kernels) {
    seen.trace = state_->kernels->finish();
    seen.profile = summarise_trace(seen.trace);
  }
  seen.profile.counters = std::move(counters);
  seen.profile.note = fmt::format("{}", fmt::join(state_->notes, "; "));
  return seen;
}

}  // namespace vorta::harness
