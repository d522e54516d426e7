// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/operator_profile.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/error.h"
#include "harness/probe/operator_flops.h"

namespace vorta::harness {
namespace {

constexpr std::string_view kEnginePrefix = "vorta::";
constexpr std::string_view kLayerPrefix = "vorta::layer/";
constexpr std::string_view kBranchPrefix = "vorta::route/";
constexpr std::string_view kAttention = "attention";  // self attention without its projections

int64_t now_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

struct Range {
  int64_t calls = 0;
  int64_t self_ns = 0;
  int64_t total_ns = 0;
  double flops = 0;
  int64_t counted_calls = 0;  // that state their work
  double least_cost =
      std::numeric_limits<double>::infinity();  // of a call: ns an operation, ns where no call states its work

  // Of a call of mean work at the rate of the fastest one.
  int64_t fastest_ns() const {
    if (calls == 0 || !std::isfinite(least_cost)) return 0;
    return static_cast<int64_t>(counted_calls > 0 ? least_cost * flops / static_cast<double>(counted_calls)
                                                  : least_cost);
  }
};

// Branches of routed attention divide a part for the GPU probes; here their time and work stay the part's.
enum class FrameKind { kOperator, kPart, kBranch };

struct Frame {  // an operator or engine range that has begun and not ended
  std::string name;
  int64_t begin_ns = 0;
  int64_t nested_ns = 0;
  bool counts_flops = false;
  FrameKind kind = FrameKind::kOperator;
  double flops = 0;
};

struct PartKey {
  int64_t layer = -1;
  std::string part;
  auto operator<=>(const PartKey&) const = default;
};

// Follows the bytes of CPU tensors through LibTorch's memory-reporting hook.
class TensorBytes final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t change, size_t, size_t, c10::Device device) override {
    if (!device.is_cpu()) return;
    live_ += change;
    peak_ = std::max(peak_, live_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t peak() const { return peak_; }

 private:
  int64_t live_ = 0;
  int64_t peak_ = 0;
};

// Everything the callbacks collect. They are plain functions, so they find it through this pointer.
struct Collector {
  std::vector<Frame> stack;
  int64_t counting_depth = 0;  // > 0: inside an operator whose work is already counted
  std::map<std::string, Range> operators;
  std::map<PartKey, Range> parts;
  std::vector<PartKey> open_parts;
  ObservedWork work;

  void begin(const at::RecordFunction& call);
  void end();
  void open_part(std::string_view name);
  void close_part(int64_t elapsed);
  void add_flops(double flops);
};

thread_local Collector* active = nullptr;

void Collector::begin(const at::RecordFunction& call) {
  Frame frame{.name = call.name(),
              .begin_ns = 0,
              .nested_ns = 0,
              .counts_flops = false,
              .kind = FrameKind::kOperator,
              .flops = 0};
  if (counting_depth == 0) {
    const double flops = operator_flops(frame.name, call);
    frame.counts_flops = flops > 0;
    if (frame.counts_flops) {
      frame.flops = flops;
      operators[frame.name].flops += flops;
      add_flops(flops);
    }
  }
  if (frame.counts_flops) ++counting_depth;
  if (call.scope() == at::RecordScope::USER_SCOPE) {
    frame.kind = frame.name.rfind(kBranchPrefix, 0) == 0 ? FrameKind::kBranch : FrameKind::kPart;
  }
  if (frame.kind == FrameKind::kPart) open_part(frame.name);
  stack.push_back(std::move(frame));
  stack.back().begin_ns = now_ns();
}

void Collector::end() {
  const int64_t end_ns = now_ns();
  if (stack.empty()) return;
  const Frame frame = std::move(stack.back());
  stack.pop_back();
  const int64_t elapsed = end_ns - frame.begin_ns;
  if (frame.counts_flops) --counting_depth;
  if (frame.kind == FrameKind::kPart) close_part(elapsed);
  if (frame.kind != FrameKind::kOperator) {
    // The engine's ranges are no operators: what runs in them belongs to the operator around them, if any.
    if (!stack.empty()) stack.back().nested_ns += elapsed;
    return;
  }
  Range& range = operators[frame.name];
  ++range.calls;
  range.total_ns += elapsed;
  const int64_t self_ns = elapsed - frame.nested_ns;
  range.self_ns += self_ns;
  if (frame.counts_flops && range.counted_calls++ == 0) range.least_cost = std::numeric_limits<double>::infinity();
  // Calls inside another whose work is counted state none, and do not mix with those that do.
  if (frame.counts_flops) range.least_cost = std::min(range.least_cost, static_cast<double>(self_ns) / frame.flops);
  else if (range.counted_calls == 0) range.least_cost = std::min(range.least_cost, static_cast<double>(self_ns));
  if (!stack.empty()) stack.back().nested_ns += elapsed;
}

void Collector::open_part(std::string_view name) {
  if (name.rfind(kLayerPrefix, 0) == 0) {
    int64_t layer = -1;
    std::from_chars(name.data() + kLayerPrefix.size(), name.data() + name.size(), layer);
    open_parts.push_back({layer, "layer"});
  } else {
    const int64_t layer = open_parts.empty() ? -1 : open_parts.back().layer;
    open_parts.push_back({layer, std::string(name.substr(std::min(name.size(), kEnginePrefix.size())))});
  }
}

void Collector::close_part(int64_t elapsed) {
  Range& range = parts[open_parts.back()];
  ++range.calls;
  range.total_ns += elapsed;
  range.self_ns += elapsed;
  open_parts.pop_back();
  if (!open_parts.empty()) parts[open_parts.back()].self_ns -= elapsed;
}

void Collector::add_flops(double flops) {
  const bool in_attention = !open_parts.empty() && open_parts.back().part == kAttention;
  (in_attention ? work.attention_flops : work.other_flops) += flops;
  for (const PartKey& part : open_parts) parts[part].flops += flops;
}

std::unique_ptr<at::ObserverContext> on_begin(const at::RecordFunction& call) {
  if (active != nullptr) active->begin(call);
  return nullptr;
}

void on_end(const at::RecordFunction& /*call*/, at::ObserverContext* /*context*/) {
  if (active != nullptr) active->end();
}

reports::RangeRow row(const char* kind, const std::string& name, int64_t layer, const Range& range) {
  reports::RangeRow out{.kind = kind,
                        .name = name,
                        .layer = layer,
                        .calls = range.calls,
                        .self_ns = range.self_ns,
                        .total_ns = range.total_ns,
                        .flops = {},
                        .fastest_ns = std::string_view(kind) == "operator" ? range.fastest_ns() : 0};
  if (range.flops > 0) out.flops = range.flops;
  return out;
}

}  // namespace

struct OperatorProfile::State {
  Collector collector;
  std::shared_ptr<TensorBytes> bytes = std::make_shared<TensorBytes>();
  std::optional<c10::DebugInfoGuard> guard;
  at::CallbackHandle handle = 0;
};

OperatorProfile::OperatorProfile() : state_(std::make_unique<State>()) {
  VORTA_CHECK(active == nullptr, "one operator profile at a time");
  active = &state_->collector;
  state_->guard.emplace(c10::DebugInfoKind::PROFILER_STATE, state_->bytes);
  state_->handle = at::addThreadLocalCallback(at::RecordFunctionCallback(&on_begin, &on_end)
                                                  .needsInputs(true)
                                                  .scopes({at::RecordScope::FUNCTION, at::RecordScope::USER_SCOPE}));
}

OperatorProfile::~OperatorProfile() {
  if (active != &state_->collector) return;
  at::removeCallback(state_->handle);
  active = nullptr;
}

ObservedWork OperatorProfile::finish() {
  VORTA_CHECK(active == &state_->collector, "finish() is called once");
  at::removeCallback(state_->handle);
  active = nullptr;
  state_->guard.reset();
  ObservedWork work = std::move(state_->collector.work);
  work.peak_tensor_bytes = state_->bytes->peak();
  for (const auto& [name, range] : state_->collector.operators) work.ranges.push_back(row("operator", name, -1, range));
  for (const auto& [key, range] : state_->collector.parts)
    work.ranges.push_back(row("layer", key.part, key.layer, range));
  return work;
}

}  // namespace vorta::harness
