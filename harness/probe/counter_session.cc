// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/counter_session.h"

#include <fmt/format.h>

#include "engine/base/error.h"
#include "harness/probe/counter_plan.h"
#include "harness/probe/cupti_library.h"

namespace vorta::harness {
namespace {

constexpr std::string_view kCounterWhere = "CUPTI Range Profiler";

std::vector<const char*> pointers(const std::vector<std::string>& names) {
  std::vector<const char*> out;
  for (const std::string& name : names) out.push_back(name.c_str());
  return out;
}

}  // namespace

bool is_counted_scope(std::string_view name) {
  return name.starts_with("step/") || name == "stage/text" || name == "stage/vae";
}

// One Range Profiler object serves one configuration: it is enabled, configured, started and decoded once.
struct CounterSession::State {
  const Cupti* cupti = nullptr;
  CounterPlan plan;
  CUpti_RangeProfiler_Object* profiler = nullptr;
  std::vector<uint8_t> counters;  // the counter data image
  size_t most_ranges = 0;
  size_t ranges = 0;
  int64_t uncounted = 0;
  std::vector<bool> open;  // for each open scope, whether it pushed a range
  bool has_open_range = false;
  bool is_started = false;
  CUptiResult failure = CUPTI_SUCCESS;  // the first of a push or pop

  // `call(params)` with its size set and the profiler in place.
  template <typename Params>
  Params params(size_t size) const {
    Params params{};
    params.structSize = size;
    if constexpr (requires { params.pRangeProfilerObject; }) params.pRangeProfilerObject = profiler;
    return params;
  }

  CUptiResult chip_name(CUdevice device, std::string& name) const {
    auto initialise = params<CUpti_Profiler_Initialize_Params>(CUpti_Profiler_Initialize_Params_STRUCT_SIZE);
    CUptiResult code = cupti->cuptiProfilerInitialize(&initialise);
    if (code != CUPTI_SUCCESS) return code;
    auto chip = params<CUpti_Device_GetChipName_Params>(CUpti_Device_GetChipName_Params_STRUCT_SIZE);
    chip.deviceIndex = static_cast<size_t>(device);
    code = cupti->cuptiDeviceGetChipName(&chip);
    if (code == CUPTI_SUCCESS) name = chip.pChipName;
    return code;
  }

  CUptiResult begin(CUcontext context) {
    auto enable = params<CUpti_RangeProfiler_Enable_Params>(CUpti_RangeProfiler_Enable_Params_STRUCT_SIZE);
    enable.ctx = context;
    CUptiResult code = cupti->cuptiRangeProfilerEnable(&enable);
    if (code != CUPTI_SUCCESS) return code;
    profiler = enable.pRangeProfilerObject;
    code = make_counters();
    if (code == CUPTI_SUCCESS) code = configure();
    if (code != CUPTI_SUCCESS) return code;
    auto start = params<CUpti_RangeProfiler_Start_Params>(CUpti_RangeProfiler_Start_Params_STRUCT_SIZE);
    code = cupti->cuptiRangeProfilerStart(&start);
    is_started = code == CUPTI_SUCCESS;
    return code;
  }

  CUptiResult make_counters() {
    std::vector<const char*> names = pointers(plan.metrics);
    auto size = params<CUpti_RangeProfiler_GetCounterDataSize_Params>(
        CUpti_RangeProfiler_GetCounterDataSize_Params_STRUCT_SIZE);
    size.pMetricNames = names.data();
    size.numMetrics = names.size();
    size.maxNumOfRanges = most_ranges;
    size.maxNumRangeTreeNodes = static_cast<uint32_t>(most_ranges);
    const CUptiResult code = cupti->cuptiRangeProfilerGetCounterDataSize(&size);
    if (code != CUPTI_SUCCESS) return code;
    counters.resize(size.counterDataSize);
    auto image = params<CUpti_RangeProfiler_CounterDataImage_Initialize_Params>(
        CUpti_RangeProfiler_CounterDataImage_Initialize_Params_STRUCT_SIZE);
    image.counterDataSize = counters.size();
    image.pCounterData = counters.data();
    return cupti->cuptiRangeProfilerCounterDataImageInitialize(&image);
  }

  CUptiResult configure() {
    auto set = params<CUpti_RangeProfiler_SetConfig_Params>(CUpti_RangeProfiler_SetConfig_Params_STRUCT_SIZE);
    set.configSize = plan.config_image.size();
    set.pConfig = plan.config_image.data();
    set.counterDataImageSize = counters.size();
    set.pCounterDataImage = counters.data();
    set.range = CUPTI_UserRange;
    set.replayMode = CUPTI_UserReplay;
    set.maxRangesPerPass = most_ranges;
    set.numNestingLevels = 1;
    set.minNestingLevel = 1;
    set.passIndex = 0;
    set.targetNestingLevel = 1;
    return cupti->cuptiRangeProfilerSetConfig(&set);
  }

  void note(CUptiResult code) {
    if (failure == CUPTI_SUCCESS) failure = code;
  }

  void push(std::string_view name) {
    const std::string title(name);
    auto push = params<CUpti_RangeProfiler_PushRange_Params>(CUpti_RangeProfiler_PushRange_Params_STRUCT_SIZE);
    push.pRangeName = title.c_str();
    note(cupti->cuptiRangeProfilerPushRange(&push));
    has_open_range = true;
    ++ranges;
  }

  void pop() {
    auto pop = params<CUpti_RangeProfiler_PopRange_Params>(CUpti_RangeProfiler_PopRange_Params_STRUCT_SIZE);
    note(cupti->cuptiRangeProfilerPopRange(&pop));
    has_open_range = false;
  }

  CUptiResult stop_and_decode() {
    auto stop = params<CUpti_RangeProfiler_Stop_Params>(CUpti_RangeProfiler_Stop_Params_STRUCT_SIZE);
    CUptiResult code = cupti->cuptiRangeProfilerStop(&stop);
    is_started = false;
    if (code != CUPTI_SUCCESS) return code;
    auto decode = params<CUpti_RangeProfiler_DecodeData_Params>(CUpti_RangeProfiler_DecodeData_Params_STRUCT_SIZE);
    code = cupti->cuptiRangeProfilerDecodeData(&decode);
    uncounted += static_cast<int64_t>(decode.numOfRangeDropped);
    return code;
  }

  void end() {
    if (profiler == nullptr) return;
    if (is_started) {
      auto stop = params<CUpti_RangeProfiler_Stop_Params>(CUpti_RangeProfiler_Stop_Params_STRUCT_SIZE);
      cupti->cuptiRangeProfilerStop(&stop);
    }
    auto disable = params<CUpti_RangeProfiler_Disable_Params>(CUpti_RangeProfiler_Disable_Params_STRUCT_SIZE);
    cupti->cuptiRangeProfilerDisable(&disable);
    profiler = nullptr;
    is_started = false;
  }

  CUptiResult evaluate(std::vector<reports::GpuCounterRow>& rows) const;
};

CUptiResult CounterSession::State::evaluate(std::vector<reports::GpuCounterRow>& rows) const {
  CUpti_Profiler_Host_Initialize_Params host{};
  host.structSize = CUpti_Profiler_Host_Initialize_Params_STRUCT_SIZE;
  host.profilerType = CUPTI_PROFILER_TYPE_RANGE_PROFILER;
  host.pChipName = plan.chip.c_str();
  CUptiResult code = cupti->cuptiProfilerHostInitialize(&host);
  if (code != CUPTI_SUCCESS) return code;
  auto info =
      params<CUpti_RangeProfiler_GetCounterDataInfo_Params>(CUpti_RangeProfiler_GetCounterDataInfo_Params_STRUCT_SIZE);
  info.pCounterDataImage = counters.data();
  info.counterDataImageSize = counters.size();
  code = cupti->cuptiRangeProfilerGetCounterDataInfo(&info);
  std::vector<const char*> names = pointers(plan.metrics);
  for (size_t range = 0; code == CUPTI_SUCCESS && range < info.numTotalRanges; ++range) {
    auto named = params<CUpti_RangeProfiler_CounterData_GetRangeInfo_Params>(
        CUpti_RangeProfiler_CounterData_GetRangeInfo_Params_STRUCT_SIZE);
    named.pCounterDataImage = counters.data();
    named.counterDataImageSize = counters.size();
    named.rangeIndex = range;
    named.rangeDelimiter = "|";  // scopes contain "/"
    code = cupti->cuptiRangeProfilerCounterDataGetRangeInfo(&named);
    if (code != CUPTI_SUCCESS) break;
    std::vector<double> values(names.size());
    CUpti_Profiler_Host_EvaluateToGpuValues_Params get{};
    get.structSize = CUpti_Profiler_Host_EvaluateToGpuValues_Params_STRUCT_SIZE;
    get.pHostObject = host.pHostObject;
    get.pCounterDataImage = counters.data();
    get.counterDataImageSize = counters.size();
    get.rangeIndex = range;
    get.ppMetricNames = names.data();
    get.numMetrics = names.size();
    get.pMetricValues = values.data();
    code = cupti->cuptiProfilerHostEvaluateToGpuValues(&get);
    for (size_t i = 0; code == CUPTI_SUCCESS && i < values.size(); ++i)
      rows.push_back({named.rangeName, plan.metrics[i], values[i]});
  }
  CUpti_Profiler_Host_Deinitialize_Params end{CUpti_Profiler_Host_Deinitialize_Params_STRUCT_SIZE, nullptr,
                                              host.pHostObject};
  cupti->cuptiProfilerHostDeinitialize(&end);
  return code;
}

CounterSession::CounterSession(std::unique_ptr<State> state) : state_(std::move(state)) {}

CounterSession::~CounterSession() { state_->end(); }

CounterStart CounterSession::start(size_t most_ranges) {
  const Loaded<CudaDriver>& driver = load_cuda_driver();
  if (!driver.library) return {nullptr, driver.missing};
  const Loaded<Cupti>& cupti = load_cupti();
  if (!cupti.library) return {nullptr, cupti.missing};
  CUcontext context = nullptr;
  CUdevice device = 0;
  if (driver.library->cuCtxGetCurrent(&context) != CUDA_SUCCESS || context == nullptr ||
      driver.library->cuCtxGetDevice(&device) != CUDA_SUCCESS) {
    return {nullptr, "nothing has run on the GPU yet: it has no CUDA context on this thread"};
  }
  auto state = std::make_unique<State>();
  state->cupti = &*cupti.library;
  state->most_ranges = most_ranges;
  std::string chip;
  if (const CUptiResult code = state->chip_name(device, chip); code != CUPTI_SUCCESS)
    return {nullptr, cupti_refusal(*cupti.library, code)};
  state->plan = plan_counters(chip, work_metrics(chip));
  if (!state->plan.refusal.empty()) return {nullptr, state->plan.refusal};
  if (state->plan.passes != 1) {
    return {nullptr,
            fmt::format("the counters of {} need {} passes; a generation runs once", chip, state->plan.passes)};
  }
  if (const CUptiResult code = state->begin(context); code != CUPTI_SUCCESS) {
    state->end();
    return {nullptr, cupti_refusal(*cupti.library, code)};
  }
  return {std::unique_ptr<CounterSession>(new CounterSession(std::move(state))), ""};
}

void CounterSession::scope_begin(std::string_view name) {
  bool counts = is_counted_scope(name) && !state_->has_open_range;
  if (counts && state_->ranges == state_->most_ranges) {
    ++state_->uncounted;
    counts = false;
  }
  if (counts) state_->push(name);
  state_->open.push_back(counts);
}

void CounterSession::scope_end() {
  VORTA_CHECK(!state_->open.empty(), "a scope ends that did not begin");
  if (state_->open.back()) state_->pop();
  state_->open.pop_back();
}

std::vector<reports::GpuCounterRow> CounterSession::finish() {
  VORTA_CHECK(state_->is_started, "finish() is called once");
  while (!state_->open.empty()) scope_end();
  const bool has_ranges = state_->ranges > 0;
  CUptiResult code = state_->failure;
  if (code == CUPTI_SUCCESS && has_ranges) code = state_->stop_and_decode();
  std::vector<reports::GpuCounterRow> rows;
  if (code == CUPTI_SUCCESS && has_ranges) code = state_->evaluate(rows);
  state_->end();
  if (code != CUPTI_SUCCESS) throw MachineError(kCounterWhere, cupti_refusal(*state_->cupti, code));
  return rows;
}

int64_t CounterSession::uncounted() const { return state_->uncounted; }

}  // namespace vorta::harness
