// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/cupti_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/base/error.h"
#include "harness/probe/cupti_library.h"

namespace vorta::harness {
namespace {

constexpr size_t kBufferBytes = 4 << 20;
// About two million records: several times what a full-size generation leaves. Beyond it CUPTI drops and counts.
constexpr size_t kMostBufferBytes = size_t{512} << 20;
constexpr std::string_view kWhere = "CUPTI";

struct Freed {
  void operator()(uint8_t* bytes) const { std::free(bytes); }
};

struct FilledBuffer {
  std::unique_ptr<uint8_t, Freed> bytes;
  size_t size = 0;
};

// Buffers that CUPTI fills and hands back, from whichever thread it likes. They are only collected here: taking records
// apart waits until the generation is over. Lives as long as the process, because CUPTI may call late.
class BufferPool {
 public:
  uint8_t* lend() {
    const std::lock_guard lock(mutex_);
    if (lent_bytes_ + kBufferBytes > kMostBufferBytes) return nullptr;
    auto* bytes = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
    if (bytes != nullptr) lent_bytes_ += kBufferBytes;
    return bytes;
  }

  void accept(uint8_t* bytes, size_t size) {
    const std::lock_guard lock(mutex_);
    filled_.push_back({std::unique_ptr<uint8_t, Freed>(bytes), size});
  }

  std::vector<FilledBuffer> take() {
    const std::lock_guard lock(mutex_);
    lent_bytes_ -= std::min(lent_bytes_, filled_.size() * kBufferBytes);
    return std::exchange(filled_, {});
  }

 private:
  std::mutex mutex_;
  size_t lent_bytes_ = 0;
  std::vector<FilledBuffer> filled_;
};

BufferPool& pool() {
  static auto* const instance = new BufferPool;
  return *instance;
}

void CUPTIAPI on_buffer_wanted(uint8_t** buffer, size_t* size, size_t* most_records) {
  *buffer = pool().lend();
  *size = *buffer == nullptr ? 0 : kBufferBytes;
  *most_records = 0;  // as many as fit
}

void CUPTIAPI on_buffer_full(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  pool().accept(buffer, valid);
}

uint64_t CUPTIAPI on_timestamp_wanted() { return static_cast<uint64_t>(probe_clock_ns()); }

constexpr std::array kKinds{CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                            CUPTI_ACTIVITY_KIND_MEMSET, CUPTI_ACTIVITY_KIND_OVERHEAD,
                            CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION};

// External correlation records come only with API records of the launching call. Libraries launch through the driver as
// often as through the runtime, so both are recorded, for calls that start work and no others.
bool starts_work(std::string_view call) {
  constexpr std::array<std::string_view, 9> kPrefixes{"cudaLaunch", "__cudaLaunch",    "cudaMemcpy",
                                                      "cudaMemset", "cudaGraphLaunch", "cuLaunch",
                                                      "cuMemcpy",   "cuMemset",        "cuGraphLaunch"};
  return std::any_of(kPrefixes.begin(), kPrefixes.end(),
                     [call](std::string_view prefix) { return call.starts_with(prefix); });
}

// Everything on, then the rest off: calls that are switched on one by one leave no external correlation records
// (CUPTI 13.0).
CUptiResult enable_launches(const Cupti& cupti) {
  for (const CUpti_ActivityKind kind : {CUPTI_ACTIVITY_KIND_RUNTIME, CUPTI_ACTIVITY_KIND_DRIVER}) {
    if (const CUptiResult code = cupti.cuptiActivityEnable(kind); code != CUPTI_SUCCESS) return code;
  }
  const auto keep_launches = [&cupti](CUpti_CallbackDomain domain, uint32_t calls, auto switch_call) {
    for (uint32_t call = 1; call < calls; ++call) {
      const char* name = nullptr;
      if (cupti.cuptiGetCallbackName(domain, call, &name) != CUPTI_SUCCESS || name == nullptr || starts_work(name))
        continue;
      if (const CUptiResult code = switch_call(call, 0); code != CUPTI_SUCCESS) return code;
    }
    return CUPTI_SUCCESS;
  };
  const CUptiResult code =
      keep_launches(CUPTI_CB_DOMAIN_RUNTIME_API, CUPTI_RUNTIME_TRACE_CBID_SIZE, cupti.cuptiActivityEnableRuntimeApi);
  if (code != CUPTI_SUCCESS) return code;
  return keep_launches(CUPTI_CB_DOMAIN_DRIVER_API, CUPTI_DRIVER_TRACE_CBID_SIZE, cupti.cuptiActivityEnableDriverApi);
}

const char* copy_name(uint8_t kind) {
  switch (kind) {
    case CUPTI_ACTIVITY_MEMCPY_KIND_HTOD: return "copy host to device";
    case CUPTI_ACTIVITY_MEMCPY_KIND_DTOH: return "copy device to host";
    case CUPTI_ACTIVITY_MEMCPY_KIND_DTOD: return "copy device to device";
    case CUPTI_ACTIVITY_MEMCPY_KIND_HTOH: return "copy host to host";
    case CUPTI_ACTIVITY_MEMCPY_KIND_PTOP: return "copy between devices";
    default: return "copy";
  }
}

const char* overhead_name(CUpti_ActivityOverheadKind kind) {
  switch (kind) {
    case CUPTI_ACTIVITY_OVERHEAD_DRIVER_COMPILER: return "driver compiler";
    case CUPTI_ACTIVITY_OVERHEAD_CUPTI_BUFFER_FLUSH: return "buffer flush";
    case CUPTI_ACTIVITY_OVERHEAD_CUPTI_INSTRUMENTATION: return "instrumentation";
    case CUPTI_ACTIVITY_OVERHEAD_CUPTI_RESOURCE: return "CUPTI's resources";
    case CUPTI_ACTIVITY_OVERHEAD_RUNTIME_TRIGGERED_MODULE_LOADING: return "module loading";
    case CUPTI_ACTIVITY_OVERHEAD_LAZY_FUNCTION_LOADING: return "lazy function loading";
    case CUPTI_ACTIVITY_OVERHEAD_COMMAND_BUFFER_FULL: return "command buffer full";
    case CUPTI_ACTIVITY_OVERHEAD_ACTIVITY_BUFFER_REQUEST: return "buffer request";
    default: return "other";
  }
}

// Takes buffers apart. Scopes are external ids minus one: CUPTI hands 0 to calls outside any.
class Decoder {
 public:
  Decoder(const Cupti& cupti, const std::unordered_map<uint64_t, int64_t>& capture_scopes)
      : cupti_(cupti), capture_scopes_(capture_scopes) {}

  void decode(const FilledBuffer& buffer) {
    CUpti_Activity* record = nullptr;
    while (true) {
      const CUptiResult code = cupti_.cuptiActivityGetNextRecord(buffer.bytes.get(), buffer.size, &record);
      if (code == CUPTI_ERROR_MAX_LIMIT_REACHED) return;
      if (code != CUPTI_SUCCESS)
        throw MachineError(kWhere, fmt::format("a buffer of records cannot be read: {}", cupti_.words(code)));
      decode(*record);
    }
  }

  void finish(GpuTrace& trace) {
    for (size_t i = 0; i < records_.size(); ++i) {
      const auto found = scope_of_call_.find(correlations_[i]);
      if (found != scope_of_call_.end()) records_[i].scope = found->second;
    }
    std::stable_sort(records_.begin(), records_.end(),
                     [](const auto& a, const auto& b) { return a.begin_ns < b.begin_ns; });
    trace.records = std::move(records_);
    trace.names = std::move(names_);
    for (auto& [kind, overhead] : overheads_) trace.overheads.push_back(std::move(overhead));
  }

 private:
  void decode(const CUpti_Activity& record) {
    switch (record.kind) {
      case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: {
        const auto& kernel = reinterpret_cast<const CUpti_ActivityKernel10&>(record);
        add(kernel, GpuWork::kKernel, kernel_name(kernel.name), 0);
        break;
      }
      case CUPTI_ACTIVITY_KIND_MEMCPY: {
        const auto& copy = reinterpret_cast<const CUpti_ActivityMemcpy6&>(record);
        add(copy, GpuWork::kCopy, name_index(copy_name(copy.copyKind)), copy.bytes);
        break;
      }
      case CUPTI_ACTIVITY_KIND_MEMSET: {
        const auto& fill = reinterpret_cast<const CUpti_ActivityMemset4&>(record);
        add(fill, GpuWork::kFill, name_index("fill"), fill.bytes);
        break;
      }
      case CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION: {
        const auto& call = reinterpret_cast<const CUpti_ActivityExternalCorrelation&>(record);
        if (call.externalKind != CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0) break;
        const uint32_t correlation = call.correlationId;  // packed fields cannot be bound to references
        scope_of_call_[correlation] = static_cast<int64_t>(call.externalId) - 1;
        break;
      }
      case CUPTI_ACTIVITY_KIND_OVERHEAD: {
        const auto& cost = reinterpret_cast<const CUpti_ActivityOverhead3&>(record);
        const char* kind = overhead_name(cost.overheadKind);
        TraceOverhead& sum = overheads_[kind];
        sum.kind = kind;
        ++sum.calls;
        if (cost.end > cost.start) sum.total_ns += static_cast<int64_t>(cost.end - cost.start);
        break;
      }
      default: break;  // API records, which exist for the external ids' sake
    }
  }

  template <typename Activity>
  void add(const Activity& activity, GpuWork work, int64_t name, uint64_t bytes) {
    GpuRecord record{.work = work, .name = name};
    record.begin_ns = static_cast<int64_t>(activity.start);
    record.end_ns = static_cast<int64_t>(activity.end);
    record.device = activity.deviceId;
    record.stream = activity.streamId;
    record.bytes = static_cast<int64_t>(bytes);
    if (const uint64_t node = activity.graphNodeId; node != 0) {
      const auto found = capture_scopes_.find(node);
      if (found != capture_scopes_.end()) record.capture_scope = found->second;
    }
    records_.push_back(record);
    correlations_.push_back(activity.correlationId);
  }

  // Demangled once for each different name.
  int64_t kernel_name(const char* mangled) {
    const std::string key = mangled == nullptr ? "" : mangled;
    const auto [found, is_new] = kernel_names_.try_emplace(key, 0);
    if (is_new) found->second = name_index(readable_kernel_name(key.c_str()));
    return found->second;
  }

  int64_t name_index(const std::string& name) {
    const auto [found, is_new] = name_indices_.try_emplace(name, static_cast<int64_t>(names_.size()));
    if (is_new) names_.push_back(name);
    return found->second;
  }

  const Cupti& cupti_;
  const std::unordered_map<uint64_t, int64_t>& capture_scopes_;
  std::vector<GpuRecord> records_;
  std::vector<uint32_t> correlations_;  // of records_, one each
  std::unordered_map<uint32_t, int64_t> scope_of_call_;
  std::unordered_map<std::string, int64_t> kernel_names_, name_indices_;
  std::vector<std::string> names_;
  std::map<std::string_view, TraceOverhead> overheads_;
};

}  // namespace

struct CuptiSession::State {
  const Cupti* cupti = nullptr;
  const CudaDriver* driver = nullptr;
  CUpti_SubscriberHandle seat = nullptr;
  bool is_recording = false;
  ScopeLog scopes;
  std::atomic<int64_t> current_scope = -1;  // read by graph callbacks
  std::mutex capture_mutex;
  std::unordered_map<uint64_t, int64_t> capture_scopes;  // graph node id -> scope that captured it

  std::string begin();
  void end();
  void graph_node(CUpti_CallbackId event, const CUpti_GraphData& graph);
  static void CUPTIAPI on_resource(void* self, CUpti_CallbackDomain domain, CUpti_CallbackId event, const void* data);
};

// Returns why recording cannot start; empty when it has.
std::string CuptiSession::State::begin() {
  std::array<char, CUPTI_OLD_SUBSCRIBER_NAME_MIN_LEN> holder{};
  CUpti_SubscriberParams who{};
  who.structSize = CUpti_SubscriberParams_STRUCT_SIZE;
  who.subscriberName = "vorta-bench";
  who.oldSubscriberName = holder.data();
  who.oldSubscriberSize = holder.size();
  CUptiResult code = cupti->cuptiSubscribe_v2(&seat, &State::on_resource, this, &who);
  if (code != CUPTI_SUCCESS) {
    seat = nullptr;
    const std::string reason = cupti_refusal(*cupti, code);
    return holder.front() == '\0' ? reason : fmt::format("{} (held by {})", reason, holder.data());
  }
  is_recording = true;
  code = cupti->cuptiActivityRegisterTimestampCallback(&on_timestamp_wanted);  // counts only before a kind is enabled
  if (code == CUPTI_SUCCESS) code = cupti->cuptiActivityRegisterCallbacks(&on_buffer_wanted, &on_buffer_full);
  for (const CUpti_ActivityKind kind : kKinds) {
    if (code == CUPTI_SUCCESS) code = cupti->cuptiActivityEnable(kind);
  }
  if (code == CUPTI_SUCCESS) code = enable_launches(*cupti);
  for (const auto event : {CUPTI_CBID_RESOURCE_GRAPHNODE_CREATED, CUPTI_CBID_RESOURCE_GRAPHNODE_CLONED}) {
    if (code == CUPTI_SUCCESS) code = cupti->cuptiEnableCallback(1, seat, CUPTI_CB_DOMAIN_RESOURCE, event);
  }
  if (code == CUPTI_SUCCESS) return "";
  end();
  return cupti_refusal(*cupti, code);
}

void CuptiSession::State::end() {
  if (is_recording) {
    for (const CUpti_ActivityKind kind : kKinds) cupti->cuptiActivityDisable(kind);
    cupti->cuptiActivityDisable(CUPTI_ACTIVITY_KIND_RUNTIME);
    cupti->cuptiActivityDisable(CUPTI_ACTIVITY_KIND_DRIVER);
  }
  if (seat != nullptr) cupti->cuptiUnsubscribe(seat);
  is_recording = false;
  seat = nullptr;
}

// What is pushed while a graph is captured does not come back when it is replayed, so nodes are noted as they are made;
// instantiating clones them.
void CuptiSession::State::graph_node(CUpti_CallbackId event, const CUpti_GraphData& graph) {
  uint64_t node = 0, original = 0;
  if (cupti->cuptiGetGraphNodeId(graph.node, &node) != CUPTI_SUCCESS) return;
  const std::lock_guard lock(capture_mutex);
  if (event == CUPTI_CBID_RESOURCE_GRAPHNODE_CREATED) {
    if (current_scope >= 0) capture_scopes[node] = current_scope;
    return;
  }
  if (cupti->cuptiGetGraphNodeId(graph.originalNode, &original) != CUPTI_SUCCESS) return;
  const auto found = capture_scopes.find(original);
  if (found == capture_scopes.end()) return;
  const int64_t scope = found->second;
  capture_scopes[node] = scope;
}

void CUPTIAPI CuptiSession::State::on_resource(void* self, CUpti_CallbackDomain domain, CUpti_CallbackId event,
                                               const void* data) {
  if (domain != CUPTI_CB_DOMAIN_RESOURCE || data == nullptr) return;
  if (event != CUPTI_CBID_RESOURCE_GRAPHNODE_CREATED && event != CUPTI_CBID_RESOURCE_GRAPHNODE_CLONED) return;
  const auto* resource = static_cast<const CUpti_ResourceData*>(data);
  if (resource->resourceDescriptor == nullptr) return;
  static_cast<State*>(self)->graph_node(event, *static_cast<const CUpti_GraphData*>(resource->resourceDescriptor));
}

CuptiSession::CuptiSession(std::unique_ptr<State> state) : state_(std::move(state)) {}

CuptiSession::~CuptiSession() {
  while (state_->scopes.current() >= 0) scope_end();  // CUPTI keeps a thread's ids beyond the session
  state_->end();
}

CuptiStart CuptiSession::start() {
  const Loaded<CudaDriver>& driver = load_cuda_driver();
  if (!driver.library) return {nullptr, driver.missing};
  const Loaded<Cupti>& cupti = load_cupti();
  if (!cupti.library) return {nullptr, cupti.missing};
  auto state = std::make_unique<State>();
  state->cupti = &*cupti.library;
  state->driver = &*driver.library;
  pool().take();  // what an abandoned session left
  if (std::string refusal = state->begin(); !refusal.empty()) return {nullptr, std::move(refusal)};
  return {std::unique_ptr<CuptiSession>(new CuptiSession(std::move(state))), ""};
}

void CuptiSession::scope_begin(std::string_view name) {
  const int64_t scope = state_->scopes.begin(name, probe_clock_ns());
  state_->current_scope = scope;
  state_->cupti->cuptiActivityPushExternalCorrelationId(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0,
                                                        static_cast<uint64_t>(scope) + 1);
}

void CuptiSession::scope_end() {
  uint64_t popped = 0;
  state_->cupti->cuptiActivityPopExternalCorrelationId(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0, &popped);
  state_->scopes.end(probe_clock_ns());
  state_->current_scope = state_->scopes.current();
}

void CuptiSession::scope_work(const ScopeWork& work) { state_->scopes.work(work); }

GpuTrace CuptiSession::finish() {
  VORTA_CHECK(state_->is_recording, "finish() is called once");
  CUcontext context = nullptr;
  if (state_->driver->cuCtxGetCurrent(&context) == CUDA_SUCCESS && context != nullptr) {
    // Flushing does not wait for the GPU; records of unfinished kernels would be lost.
    const CUresult code = state_->driver->cuCtxSynchronize();
    if (code != CUDA_SUCCESS) throw MachineError("CUDA", state_->driver->words(code));
  }
  const Cupti& cupti = *state_->cupti;
  const CUptiResult flushed = cupti.cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  while (state_->scopes.current() >= 0) scope_end();
  size_t dropped = 0;
  cupti.cuptiActivityGetNumDroppedRecords(nullptr, 0, &dropped);
  state_->end();
  if (flushed != CUPTI_SUCCESS)
    throw MachineError(kWhere, fmt::format("records cannot be flushed: {}", cupti.words(flushed)));

  GpuTrace trace;
  trace.scopes = state_->scopes.take(probe_clock_ns());
  trace.dropped_records = static_cast<int64_t>(dropped);
  Decoder decoder(cupti, state_->capture_scopes);
  for (const FilledBuffer& buffer : pool().take()) decoder.decode(buffer);
  decoder.finish(trace);
  return trace;
}

}  // namespace vorta::harness
