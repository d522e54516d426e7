// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/counter_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "harness/probe/cupti_library.h"

namespace vorta::harness {
namespace {

// sm__throughput would be tempting, but costs eight passes.
constexpr std::array kTraffic{"gpu__time_duration.sum", "lts__t_bytes.sum", "sm__cycles_elapsed.max"};
constexpr std::array kDram{"dram__bytes_read.sum", "dram__bytes_write.sum"};
// Operations of the tensor cores: a multiply-add counts 2. Formats that would cost a second pass (tf32, fp16) are left
// out.
constexpr const char* kBf16Ops = "sm__ops_path_tensor_src_bf16_dst_fp32.sum";
constexpr const char* kFp8Ops = "sm__ops_path_tensor_src_fp8.sum";

// Ampere, Ada, Hopper and Blackwell: the architectures whose tensor cores take bfloat16.
bool counts_bf16(std::string_view chip) {
  constexpr std::array<std::string_view, 4> kArchitectures{"GA", "AD", "GH", "GB"};
  return std::any_of(kArchitectures.begin(), kArchitectures.end(),
                     [chip](std::string_view start) { return chip.starts_with(start); });
}

// Systems on a chip and Blackwell with GDDR7 have no such counters.
bool counts_dram(std::string_view chip) { return chip != "GA10B" && chip != "GB10B" && !chip.starts_with("GB2"); }

// A host object of CUPTI: planning for one chip.
class Planner {
 public:
  explicit Planner(const Cupti& cupti) : cupti_(cupti) {}
  ~Planner() {
    if (object_ == nullptr) return;
    CUpti_Profiler_Host_Deinitialize_Params end{CUpti_Profiler_Host_Deinitialize_Params_STRUCT_SIZE, nullptr, object_};
    cupti_.cuptiProfilerHostDeinitialize(&end);
  }
  Planner(const Planner&) = delete;
  Planner& operator=(const Planner&) = delete;

  CUptiResult open(const std::string& chip) {
    CUpti_Profiler_Host_Initialize_Params begin{};
    begin.structSize = CUpti_Profiler_Host_Initialize_Params_STRUCT_SIZE;
    begin.profilerType = CUPTI_PROFILER_TYPE_RANGE_PROFILER;
    begin.pChipName = chip.c_str();
    const CUptiResult code = cupti_.cuptiProfilerHostInitialize(&begin);
    if (code == CUPTI_SUCCESS) object_ = begin.pHostObject;
    return code;
  }

  CUptiResult add(const std::vector<std::string>& metrics) {
    std::vector<const char*> names;
    for (const std::string& metric : metrics) names.push_back(metric.c_str());
    CUpti_Profiler_Host_ConfigAddMetrics_Params add{};
    add.structSize = CUpti_Profiler_Host_ConfigAddMetrics_Params_STRUCT_SIZE;
    add.pHostObject = object_;
    add.ppMetricNames = names.data();
    add.numMetrics = names.size();
    return cupti_.cuptiProfilerHostConfigAddMetrics(&add);
  }

  CUptiResult image(std::vector<uint8_t>& image) {
    CUpti_Profiler_Host_GetConfigImageSize_Params size{};
    size.structSize = CUpti_Profiler_Host_GetConfigImageSize_Params_STRUCT_SIZE;
    size.pHostObject = object_;
    if (const CUptiResult code = cupti_.cuptiProfilerHostGetConfigImageSize(&size); code != CUPTI_SUCCESS) return code;
    image.resize(size.configImageSize);
    CUpti_Profiler_Host_GetConfigImage_Params get{};
    get.structSize = CUpti_Profiler_Host_GetConfigImage_Params_STRUCT_SIZE;
    get.pHostObject = object_;
    get.configImageSize = image.size();
    get.pConfigImage = image.data();
    return cupti_.cuptiProfilerHostGetConfigImage(&get);
  }

  CUptiResult passes(std::vector<uint8_t>& image, int64_t& passes) const {
    CUpti_Profiler_Host_GetNumOfPasses_Params count{};
    count.structSize = CUpti_Profiler_Host_GetNumOfPasses_Params_STRUCT_SIZE;
    count.configImageSize = image.size();
    count.pConfigImage = image.data();
    const CUptiResult code = cupti_.cuptiProfilerHostGetNumOfPasses(&count);
    passes = static_cast<int64_t>(count.numOfPasses);
    return code;
  }

 private:
  const Cupti& cupti_;
  CUpti_Profiler_Host_Object* object_ = nullptr;
};

// Those of `metrics` that the chip does not count.
std::vector<std::string> unknown_metrics(const Cupti& cupti, const std::string& chip,
                                         const std::vector<std::string>& metrics) {
  std::vector<std::string> unknown;
  for (const std::string& metric : metrics) {
    Planner planner(cupti);
    if (planner.open(chip) != CUPTI_SUCCESS || planner.add({metric}) != CUPTI_SUCCESS) unknown.push_back(metric);
  }
  return unknown;
}

CounterPlan refused(std::string reason) {
  return {.chip = "", .metrics = {}, .passes = 0, .config_image = {}, .refusal = std::move(reason)};
}

}  // namespace

std::vector<std::string> work_metrics(std::string_view chip) {
  if (!counts_bf16(chip)) return {};
  std::vector<std::string> metrics{kBf16Ops};
  if (chip == "GH100") metrics.emplace_back(kFp8Ops);  // elsewhere absent, or a second pass
  metrics.insert(metrics.end(), kTraffic.begin(), kTraffic.end());
  if (counts_dram(chip)) metrics.insert(metrics.end(), kDram.begin(), kDram.end());
  return metrics;
}

std::vector<std::string> plannable_chips() {
  const Loaded<Cupti>& cupti = load_cupti();
  if (!cupti.library) return {};
  CUpti_Profiler_Host_GetSupportedChips_Params list{};
  list.structSize = CUpti_Profiler_Host_GetSupportedChips_Params_STRUCT_SIZE;
  if (cupti.library->cuptiProfilerHostGetSupportedChips(&list) != CUPTI_SUCCESS) return {};
  return {list.ppChipNames, list.ppChipNames + list.numChips};
}

CounterPlan plan_counters(const std::string& chip, const std::vector<std::string>& metrics) {
  const Loaded<Cupti>& cupti = load_cupti();
  if (!cupti.library) return refused(cupti.missing);
  const std::vector<std::string> chips = plannable_chips();
  if (std::find(chips.begin(), chips.end(), chip) == chips.end()) {
    return refused(fmt::format("CUPTI knows no chip '{}'; it knows {}", chip, fmt::join(chips, ", ")));
  }
  if (metrics.empty()) return refused(fmt::format("no metrics are listed for {}", chip));
  Planner planner(*cupti.library);
  if (const CUptiResult code = planner.open(chip); code != CUPTI_SUCCESS) return refused(cupti.library->words(code));
  // All in one call: CUPTI schedules what separate calls add into separate passes.
  if (const CUptiResult code = planner.add(metrics); code != CUPTI_SUCCESS) {
    return refused(fmt::format("{} has no {} ({})", chip,
                               fmt::join(unknown_metrics(*cupti.library, chip, metrics), ", "),
                               cupti.library->words(code)));
  }
  CounterPlan plan{.chip = chip, .metrics = metrics, .passes = 0, .config_image = {}, .refusal = ""};
  CUptiResult code = planner.image(plan.config_image);
  if (code == CUPTI_SUCCESS) code = planner.passes(plan.config_image, plan.passes);
  return code == CUPTI_SUCCESS ? plan : refused(cupti.library->words(code));
}

}  // namespace vorta::harness
