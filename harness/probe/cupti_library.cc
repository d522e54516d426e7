// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/cupti_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace vorta::harness {
namespace {

constexpr uint32_t kCuptiMajor = 13;
constexpr int kOldestDriver = 13000;  // CUDA 13.0, as cuDriverGetVersion writes it

// Name of the first function that `handle` lacks; empty when all are there.
template <typename Function>
void find(void* handle, const char* name, Function& function, std::string& lacking) {
  function = reinterpret_cast<Function>(::dlsym(handle, name));
  if (function == nullptr && lacking.empty()) lacking = name;
}

Loaded<Cupti> open_cupti() {
  // LibTorch links the same file: the loader then returns the copy that is in the process already. Two copies would
  // fight over CUPTI's one seat.
  void* handle = ::dlopen("libcupti.so.13", RTLD_NOW);
  if (handle == nullptr) return {{}, "libcupti.so.13 is not installed (wheel nvidia-cuda-cupti 13)"};
  Cupti cupti;
  std::string lacking;
#define VORTA_FIND(name) find(handle, #name, cupti.name, lacking);
  VORTA_CUPTI_FUNCTIONS(VORTA_FIND)
#undef VORTA_FIND
  if (!lacking.empty()) return {{}, fmt::format("libcupti.so.13 has no {}: it is older than CUPTI 13.0", lacking)};
  uint32_t version = 0;
  cupti.cuptiGetVersion(&version);
  if (version / 10000 != kCuptiMajor) {
    return {{}, fmt::format("libcupti.so.13 says that it is version {}, expected {}.x", version, kCuptiMajor)};
  }
  return {cupti, ""};
}

Loaded<CudaDriver> open_cuda_driver() {
  void* handle = ::dlopen("libcuda.so.1", RTLD_NOW);
  if (handle == nullptr) return {{}, "no NVIDIA driver on this machine (libcuda.so.1 is missing)"};
  CudaDriver driver;
  std::string lacking;
#define VORTA_FIND(name) find(handle, #name, driver.name, lacking);
  VORTA_DRIVER_FUNCTIONS(VORTA_FIND)
#undef VORTA_FIND
  if (!lacking.empty()) return {{}, fmt::format("the NVIDIA driver has no {}: it is too old", lacking)};
  int version = 0, gpus = 0;
  driver.cuDriverGetVersion(&version);
  if (version < kOldestDriver) {
    return {{},
            fmt::format("the NVIDIA driver is too old: it speaks CUDA {}.{}, CUPTI 13 needs 13.0 (driver 580 or newer)",
                        version / 1000, version % 1000 / 10)};
  }
  if (const CUresult code = driver.cuInit(0); code != CUDA_SUCCESS)
    return {{}, fmt::format("no usable GPU: {}", driver.words(code))};
  driver.cuDeviceGetCount(&gpus);
  if (gpus == 0) return {{}, "no GPU is visible to this process"};
  return {driver, ""};
}

}  // namespace

std::string Cupti::words(CUptiResult code) const {
  const char* text = nullptr;
  if (cuptiGetResultString(code, &text) != CUPTI_SUCCESS || text == nullptr)
    return fmt::format("CUPTI error {}", static_cast<int>(code));
  return text;
}

std::string CudaDriver::words(CUresult code) const {
  const char* text = nullptr;
  if (cuGetErrorString(code, &text) != CUDA_SUCCESS || text == nullptr)
    return fmt::format("CUDA error {}", static_cast<int>(code));
  return text;
}

const Loaded<Cupti>& load_cupti() {
  static const Loaded<Cupti> loaded = open_cupti();
  return loaded;
}

const Loaded<CudaDriver>& load_cuda_driver() {
  static const Loaded<CudaDriver> loaded = open_cuda_driver();
  return loaded;
}

std::string cupti_refusal(const Cupti& cupti, CUptiResult code) {
  switch (code) {
    case CUPTI_ERROR_INSUFFICIENT_PRIVILEGES:
    case CUPTI_ERROR_VIRTUALIZED_DEVICE_INSUFFICIENT_PRIVILEGES:
      return "no permission: the driver lets only administrators profile (NVreg_RestrictProfilingToAdminUsers=0 or "
             "CAP_SYS_ADMIN "
             "changes that)";
    case CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED:
      return "another profiler or debugger holds CUPTI's only seat in this process";
    case CUPTI_ERROR_HARDWARE_BUSY:
      return "the GPU's counters are in use, perhaps by DCGM (dcgmi profile --pause frees them)";
    default: return fmt::format("{} ({})", cupti.words(code), static_cast<int>(code));
  }
}

}  // namespace vorta::harness
