// SPDX-License-Identifier: Apache-2.0
// NVML by dlopen. Its header is in no package that we use, so the few functions are declared here as NVIDIA documents
// them; their versions (_v2) and layouts are fixed by NVML's promise of binary compatibility.
#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <utility>

#include "engine/base/error.h"
#include "harness/probe/cupti_library.h"
#include "harness/probe/gpu_sampler.h"

namespace vorta::harness {
namespace {

using NvmlResult = int;  // nvmlReturn_t: 0 is success
using NvmlDevice = struct nvmlDevice_st*;
constexpr NvmlResult kNvmlSuccess = 0;
constexpr int kClockSm = 1, kClockMemory = 2;  // nvmlClockType_t
constexpr int kTemperatureGpu = 0;             // nvmlTemperatureSensors_t

struct NvmlUtilisation {  // nvmlUtilization_t, percent
  unsigned int gpu = 0;
  unsigned int memory = 0;
};

struct NvmlProcess {  // nvmlProcessInfo_t of the _v2 and _v3 functions
  unsigned int pid = 0;
  unsigned long long used_bytes = 0;
  unsigned int gpu_instance = 0, compute_instance = 0;
};
constexpr unsigned long long kNotAvailable = ~0ULL;  // NVML_VALUE_NOT_AVAILABLE

struct Nvml {
  NvmlResult (*init)() = nullptr;
  const char* (*error_string)(NvmlResult) = nullptr;
  NvmlResult (*device_by_bus_id)(const char*, NvmlDevice*) = nullptr;
  NvmlResult (*name)(NvmlDevice, char*, unsigned int) = nullptr;
  NvmlResult (*clock)(NvmlDevice, int, unsigned int*) = nullptr;
  NvmlResult (*power)(NvmlDevice, unsigned int*) = nullptr;  // mW
  NvmlResult (*energy)(NvmlDevice, unsigned long long*) = nullptr;  // mJ
  NvmlResult (*temperature)(NvmlDevice, int, unsigned int*) = nullptr;
  NvmlResult (*throttle)(NvmlDevice, unsigned long long*) = nullptr;
  NvmlResult (*utilisation)(NvmlDevice, NvmlUtilisation*) = nullptr;
  NvmlResult (*processes)(NvmlDevice, unsigned int*, NvmlProcess*) = nullptr;  // absent in drivers before 510
};

template <typename Function>
bool find(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(handle, name));
  return function != nullptr;
}

// The library, or a name that it lacks.
std::pair<Nvml, std::string> open_library(void* handle) {
  Nvml nvml;
  const std::array found{
      std::pair{"nvmlInit_v2", find(handle, "nvmlInit_v2", nvml.init)},
      std::pair{"nvmlErrorString", find(handle, "nvmlErrorString", nvml.error_string)},
      std::pair{"nvmlDeviceGetHandleByPciBusId_v2",
                find(handle, "nvmlDeviceGetHandleByPciBusId_v2", nvml.device_by_bus_id)},
      std::pair{"nvmlDeviceGetName", find(handle, "nvmlDeviceGetName", nvml.name)},
      std::pair{"nvmlDeviceGetClockInfo", find(handle, "nvmlDeviceGetClockInfo", nvml.clock)},
      std::pair{"nvmlDeviceGetPowerUsage", find(handle, "nvmlDeviceGetPowerUsage", nvml.power)},
      std::pair{"nvmlDeviceGetTotalEnergyConsumption",
                find(handle, "nvmlDeviceGetTotalEnergyConsumption", nvml.energy)},
      std::pair{"nvmlDeviceGetTemperature", find(handle, "nvmlDeviceGetTemperature", nvml.temperature)},
      // The name before "clocks event reasons"; every driver has it.
      std::pair{"nvmlDeviceGetCurrentClocksThrottleReasons",
                find(handle, "nvmlDeviceGetCurrentClocksThrottleReasons", nvml.throttle)},
      std::pair{"nvmlDeviceGetUtilizationRates", find(handle, "nvmlDeviceGetUtilizationRates", nvml.utilisation)}};
  for (const auto& [name, is_there] : found) {
    if (!is_there) return {nvml, name};
  }
  find(handle, "nvmlDeviceGetComputeRunningProcesses_v3", nvml.processes);
  return {nvml, ""};
}

class NvmlReader final : public GpuReader {
 public:
  NvmlReader(const Nvml& nvml, NvmlDevice device) : nvml_(nvml), device_(device) {}

  std::string device_name() override {
    std::array<char, 96> name{};  // NVML_DEVICE_NAME_V2_BUFFER_SIZE
    check("the name", nvml_.name(device_, name.data(), name.size()));
    return name.data();
  }

  GpuSample read() override {
    GpuSample sample;
    sample.sm_clock_mhz =
        number("the SM clock", [this](unsigned int* value) { return nvml_.clock(device_, kClockSm, value); });
    sample.memory_clock_mhz =
        number("the memory clock", [this](unsigned int* value) { return nvml_.clock(device_, kClockMemory, value); });
    sample.power_w = 1e-3 * number("the power", [this](unsigned int* value) { return nvml_.power(device_, value); });
    sample.temperature_c = number(
        "the temperature", [this](unsigned int* value) { return nvml_.temperature(device_, kTemperatureGpu, value); });
    NvmlUtilisation busy;
    check("the utilisation", nvml_.utilisation(device_, &busy));
    sample.utilisation = busy.gpu / 100.0;
    unsigned long long reasons = 0, energy = 0;
    check("the throttle reasons", nvml_.throttle(device_, &reasons));
    check("the energy", nvml_.energy(device_, &energy));
    sample.throttle_reasons = reasons;
    sample.energy_mj = static_cast<int64_t>(energy);
    sample.others = without_own(processes(), ::getpid());
    return sample;
  }

 private:
  // None where the driver does not tell: who else is there is then unknown, as on a machine without NVML.
  std::vector<reports::GpuProcessRow> processes() const {
    std::array<NvmlProcess, 64> listed{};
    auto count = static_cast<unsigned int>(listed.size());
    if (nvml_.processes == nullptr || nvml_.processes(device_, &count, listed.data()) != kNvmlSuccess) return {};
    std::vector<reports::GpuProcessRow> rows;
    for (unsigned int i = 0; i < count; ++i) {
      const NvmlProcess& process = listed[i];
      reports::GpuProcessRow row{static_cast<int64_t>(process.pid), "",
                                 process.used_bytes == kNotAvailable ? 0 : static_cast<int64_t>(process.used_bytes)};
      std::getline(std::ifstream(fmt::format("/proc/{}/comm", process.pid)), row.name);
      rows.push_back(std::move(row));
    }
    return rows;
  }

  void check(const char* what, NvmlResult code) const {
    if (code != kNvmlSuccess)
      throw MachineError("NVML", fmt::format("{} of the GPU cannot be read: {}", what, nvml_.error_string(code)));
  }

  template <typename Read>
  double number(const char* what, Read read) const {
    unsigned int value = 0;
    check(what, read(&value));
    return value;
  }

  Nvml nvml_;
  NvmlDevice device_;
};

}  // namespace

NvmlStart open_nvml(int cuda_device) {
  const Loaded<CudaDriver>& driver = load_cuda_driver();  // CUDA numbers devices its own way; NVML finds them by bus
  if (!driver.library) return {nullptr, driver.missing};
  std::array<char, 32> bus{};
  if (const CUresult code = driver.library->cuDeviceGetPCIBusId(bus.data(), bus.size(), cuda_device);
      code != CUDA_SUCCESS) {
    return {nullptr, fmt::format("GPU {} has no bus address: {}", cuda_device, driver.library->words(code))};
  }
  void* handle = ::dlopen("libnvidia-ml.so.1", RTLD_NOW);
  if (handle == nullptr) return {nullptr, "libnvidia-ml.so.1 is missing: no clocks, power or energy"};
  const auto [nvml, lacking] = open_library(handle);
  if (!lacking.empty()) return {nullptr, fmt::format("libnvidia-ml.so.1 has no {}: the driver is too old", lacking)};
  if (const NvmlResult code = nvml.init(); code != kNvmlSuccess)
    return {nullptr, fmt::format("NVML does not start: {}", nvml.error_string(code))};
  NvmlDevice device = nullptr;
  if (const NvmlResult code = nvml.device_by_bus_id(bus.data(), &device); code != kNvmlSuccess) {
    return {nullptr, fmt::format("NVML does not know the GPU at {}: {}", bus.data(), nvml.error_string(code))};
  }
  auto reader = std::make_unique<NvmlReader>(nvml, device);
  try {
    reader->read();  // a GPU slice (MIG) or a virtual GPU may refuse one of the values
  } catch (const MachineError& error) {
    return {nullptr, error.what()};
  }
  return {std::move(reader), ""};
}

}  // namespace vorta::harness
