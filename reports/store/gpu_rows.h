// SPDX-License-Identifier: Apache-2.0
// What a trial on a GPU leaves beside its other rows. Times are nanoseconds of GPU work unless a name says otherwise.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vorta::reports {

/// A kernel's time inside one part and attention branch of a layer, summed over steps and layers. `part` and `route`
/// are
/// "" where it ran outside them.
struct GpuKernelRow {
  std::string name;
  std::string part;
  std::string route;
  int64_t calls = 0;
  int64_t total_ns = 0;
  int64_t min_ns = 0;
  int64_t median_ns = 0;
  int64_t max_ns = 0;
  double flops = 0;  ///< Work of these calls that the operators around them state; 0: none is known.
  double bytes = 0;  ///< Operands and results of them, once each.
};

/// What the GPU reached on work that does nothing else, a second: "bf16_flops", "fp8_flops", "copy_bytes".
struct GpuCeilingRow {
  std::string quantity;
  double per_second = 0;
};

/// Kernel time of one place. All of "", -1, -1, "", "": launched outside every scope.
struct GpuPlaceRow {
  std::string stage;
  int64_t step = -1;
  int64_t layer = -1;
  std::string part;
  std::string route;
  int64_t kernels = 0;
  int64_t total_ns = 0;
};

/// One denoising step on the GPU's own clock.
struct GpuStepRow {
  int64_t step = 0;
  int64_t kernels = 0;
  int64_t kernel_ns = 0;  ///< Sum over kernels: overlapping streams count twice.
  int64_t layer_ns = 0;   ///< Of kernel_ns, inside transformer layers.
  int64_t busy_ns = 0;    ///< At least one kernel or copy ran.
  int64_t span_ns = 0;    ///< From the first start to the last end: the traced step.
};

/// A value that the GPU counted over one scope ("step/3"). Metric names are CUPTI's.
struct GpuCounterRow {
  std::string scope;
  std::string metric;
  double value = 0;
};

/// Kernels of a profiled trial.
struct GpuProfile {
  std::vector<GpuKernelRow> kernels;  ///< Longest first.
  std::vector<GpuPlaceRow> places;
  std::vector<GpuStepRow> steps;
  std::vector<GpuCounterRow> counters;
  std::vector<GpuCeilingRow> ceilings;  ///< Measured beside this trial.
  int64_t kernel_count = 0;
  int64_t kernel_ns = 0;
  int64_t copies = 0;                 ///< Copies and fills.
  int64_t copy_ns = 0;
  int64_t copy_bytes = 0;
  int64_t busy_ns = 0;
  int64_t unattributed_ns = 0;        ///< Of kernel_ns, launched outside every scope.
  int64_t untimed_records = 0;        ///< Left out of every sum: CUPTI had no time for them.
  int64_t dropped_records = 0;        ///< Lost for want of buffers: above 0, the sums are too small.
  /// Host seconds of this trial's steps over those of the variant's timed trials on the same item: what watching cost.
  std::optional<double> overhead;
  std::string note;  ///< What could not be recorded and why; "" when all was.
};

/// Burst: the GPU came from rest, so clocks were higher than they stay under load. Unknown: nothing to judge by.
enum class PowerRegime { kUnknown, kBurst, kSustained };
std::string_view to_string(PowerRegime regime);
/// DataError (naming `where`) when the text is none of the names.
PowerRegime parse_power_regime(std::string_view text, std::string_view where);

/// A process that had work on the GPU during a trial and was not the one that made it.
struct GpuProcessRow {
  int64_t pid = 0;
  std::string name;  ///< "" where its number is of another namespace.
  int64_t peak_bytes = 0;  ///< Of GPU memory; 0 where NVML does not say.
};
/// "python3 (process 1234, 1.2 GiB)"
std::string to_string(const GpuProcessRow& process);

/// Clocks, power and energy of a GPU during one trial, sampled through NVML.
struct GpuPowerRow {
  std::string device;  ///< "NVIDIA H100 80GB HBM3"
  int64_t samples = 0;
  double median_sm_clock_mhz = 0;
  double min_sm_clock_mhz = 0;
  double max_sm_clock_mhz = 0;
  double mean_power_w = 0;
  double max_power_w = 0;
  double max_temperature_c = 0;
  std::optional<double> energy_j;  ///< Absent below 2 s: the counter moves every 0.1 s.
  std::string throttle_reasons;  ///< "sw_power_cap 93 %, gpu_idle 2 %": share of samples by reason.
  PowerRegime regime = PowerRegime::kUnknown;
  std::vector<GpuProcessRow> others;  ///< By process number.
};

/// Everything a GPU adds to a trial's rows.
struct GpuResult {
  std::optional<GpuProfile> profile;  ///< Profiled trials only.
  std::optional<GpuPowerRow> power;
};

}  // namespace vorta::reports
