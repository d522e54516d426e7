// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reports/store/gpu_rows.h"

namespace vorta::harness {

/// A GPU at one moment.
struct GpuSample {
  int64_t time_ns = 0;            // probe_clock_ns()
  double sm_clock_mhz = 0;
  double memory_clock_mhz = 0;
  double power_w = 0;
  double temperature_c = 0;
  double utilisation = 0;         // 0..1: share of the last 1/6 s to 1 s with a kernel running, as NVML has it
  uint64_t throttle_reasons = 0;  // NVML's bits, see throttle_names
  int64_t energy_mj = 0;          // since the driver was loaded
  std::vector<reports::GpuProcessRow> others = {};  // processes with work on it, this one left out
};

/// `listed` without the process `own`. Where `own` is not among them, numbers are of another namespace (a container):
/// one of them is this process, whichever, so the last goes and no name is kept.
std::vector<reports::GpuProcessRow> without_own(std::vector<reports::GpuProcessRow> listed, int64_t own);

/// Names of NVML's clock event reasons that are set in `bits`; an unknown bit is "bit 9".
std::vector<std::string> throttle_names(uint64_t bits);

/// Whether the trial [begin_ns, end_ns] ran in the settled state of a GPU under load. The load has settled 15 s after
/// the GPU became busy (a rest of 2 s starts anew) once the means of the SM clock over 1 s have moved by less than 1 %
/// over the last 5 s. Sustained: at least nine tenths of the trial lie after that; else burst. An H100 settles within
/// 10 to 15 s and is 13 to 15 % faster before. `samples` must begin with the load, not with the trial. Unknown without
/// a sample inside the trial.
reports::PowerRegime power_regime(std::span<const GpuSample> samples, int64_t begin_ns, int64_t end_ns);

/// Clocks, power, energy, throttle reasons, other processes and regime of [begin_ns, end_ns]; energy is interpolated at
/// both ends. Pure.
reports::GpuPowerRow summarise_power(std::span<const GpuSample> samples, int64_t begin_ns, int64_t end_ns,
                                     std::string_view device);

/// Where samples come from: NVML, or a test's script.
class GpuReader {
 public:
  virtual ~GpuReader() = default;
  virtual std::string device_name() = 0;
  /// One moment's values; time_ns is the sampler's to set. Called from the sampler's thread alone after construction.
  virtual GpuSample read() = 0;
};

/// NVML's view of the GPU that CUDA calls `cuda_device`, or one line that says why there is none.
struct NvmlStart {
  std::unique_ptr<GpuReader> reader;
  std::string refusal;
};
NvmlStart open_nvml(int cuda_device = 0);

/// Reads a GPU about ten times a second from a thread of its own (NVML's power and energy change no faster, and a
/// reading takes milliseconds), from construction to destruction. One reading at the start, so that there is always
/// one.
class GpuSampler {
 public:
  explicit GpuSampler(std::unique_ptr<GpuReader> reader,
                      std::chrono::milliseconds period = std::chrono::milliseconds(100));
  ~GpuSampler();
  GpuSampler(const GpuSampler&) = delete;
  GpuSampler& operator=(const GpuSampler&) = delete;

  /// Takes one more sample now, so that a trial's end is covered, and returns all so far. Thread-safe.
  std::vector<GpuSample> samples();
  /// One line when the GPU can no longer be read: sampling has ended, and there are no samples after it. Else "".
  std::string failure() const;
  const std::string& device() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vorta::harness
