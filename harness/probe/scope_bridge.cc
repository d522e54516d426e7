// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/scope_bridge.h"

#include <ATen/record_function.h>
#include <fmt/format.h>

#include <memory>
#include <string>

#include "engine/base/error.h"
#include "harness/probe/operator_flops.h"

namespace vorta::harness {
namespace {

thread_local ScopeListener* hearing = nullptr;  // LibTorch's callbacks are plain functions

// Remembers that a scope was told of, so that its end is too.
struct Told final : at::ObserverContext {};

std::unique_ptr<at::ObserverContext> on_scope_begin(const at::RecordFunction& scope) {
  if (hearing == nullptr) return nullptr;
  if (scope.scope() == at::RecordScope::USER_SCOPE) {
    hearing->scope_begin(scope.name());
    return std::make_unique<Told>();
  }
  const ScopeWork work = operator_work(scope.name(), scope);
  if (!work.is_known()) return nullptr;
  hearing->scope_begin(std::string("op/").append(scope.name()));
  hearing->scope_work(work);
  return std::make_unique<Told>();
}

void on_scope_end(const at::RecordFunction& /*scope*/, at::ObserverContext* context) {
  if (hearing != nullptr && context != nullptr) hearing->scope_end();
}

}  // namespace

ScopeBridge::ScopeBridge(ScopeListener& listener) {
  VORTA_CHECK(hearing == nullptr, "one scope bridge a thread");
  hearing = &listener;
  handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&on_scope_begin, &on_scope_end)
                                           .needsInputs(true)
                                           .scopes({at::RecordScope::FUNCTION, at::RecordScope::USER_SCOPE}));
}

ScopeBridge::~ScopeBridge() {
  at::removeCallback(handle_);
  hearing = nullptr;
}

void ScopeObserver::stage_begin(engine::Stage stage) {
  listener_.scope_begin(fmt::format("stage/{}", engine::to_string(stage)));
  inner_.stage_begin(stage);
}

void ScopeObserver::stage_end(engine::Stage stage) {
  inner_.stage_end(stage);
  listener_.scope_end();
}

void ScopeObserver::step_begin(int64_t index, int64_t count) {
  listener_.scope_begin(fmt::format("step/{}", index));
  inner_.step_begin(index, count);
}

void ScopeObserver::step_end(int64_t index, int64_t count) {
  inner_.step_end(index, count);
  listener_.scope_end();
}

}  // namespace vorta::harness
