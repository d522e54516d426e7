// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/gpu_capability.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "harness/probe/cupti_library.h"
#include "harness/probe/gpu_sampler.h"

namespace vorta::harness {
namespace {

std::string text_of(const char* file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace

std::string counter_refusal(const std::string& driver_params, bool is_administrator) {
  if (is_administrator || driver_params.find("RmProfilingAdminOnly: 1") == std::string::npos) return "";
  return "the driver lets only administrators read counters (NVreg_RestrictProfilingToAdminUsers=0 or CAP_SYS_ADMIN "
         "changes that)";
}

GpuCapability inspect_gpu_probes() {
  GpuCapability found;
  found.kernels = load_cuda_driver().missing;
  if (found.kernels.empty()) found.kernels = load_cupti().missing;
  found.counters = found.kernels;
  if (found.counters.empty()) found.counters = counter_refusal(text_of("/proc/driver/nvidia/params"), ::geteuid() == 0);
  found.power = open_nvml().refusal;
  return found;
}

std::vector<std::string> visible_gpus(const char* setting, int count) {
  std::vector<std::string> gpus;
  const std::string text = setting == nullptr ? "" : setting;
  for (size_t at = 0; at < text.size() && static_cast<int>(gpus.size()) < count;) {
    const size_t end = std::min(text.find(',', at), text.size());
    gpus.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  for (int i = 0; setting == nullptr && i < count; ++i) gpus.push_back(std::to_string(i));
  return gpus;
}

std::vector<std::string> visible_gpus() {
  const Loaded<CudaDriver>& driver = load_cuda_driver();
  int count = 0;
  if (!driver.library || driver.library->cuDeviceGetCount(&count) != CUDA_SUCCESS) return {};
  return visible_gpus(std::getenv("CUDA_VISIBLE_DEVICES"), count);
}

}  // namespace vorta::harness
