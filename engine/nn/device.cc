// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/device.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>

#include "engine/base/error.h"
#include "engine/base/log.h"
namespace vorta::engine {
namespace {

// libtorch_cuda registers its kernels when it is loaded; this program is linked against the CPU half only.
void load_cuda_half() {
  Dl_info here{};
  // Any symbol of libtorch_cpu tells where its folder is.
  if (dladdr(reinterpret_cast<const void*>(&at::globalContext), &here) == 0 || here.dli_fname == nullptr) {
    throw MachineError("--device cuda", "expected to find the folder of libtorch_cpu.so, found no path");
  }
  const auto library = std::filesystem::path(here.dli_fname).parent_path() / "libtorch_cuda.so";
  if (dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    throw MachineError("--device cuda",
                       fmt::format("cannot load {} (the CUDA libraries that it needs are wheels beside torch's, "
                                   "which a set-up without a GPU leaves out): {}",
                                   library.string(), dlerror()));
  }
}

bool cuda_is_there() {
  // The driver's control node: asked first, so that machines without a GPU never load a gigabyte of libraries.
  return std::filesystem::exists("/dev/nvidiactl");
}

at::Device open_cuda(int64_t index) {
  // Loaded before anybody asks for CUDA: ATen looks for it once and remembers that there was none.
  static const bool loaded = (load_cuda_half(), true);
  if (!loaded || !at::hasCUDA()) throw MachineError("--device cuda", "libtorch_cuda.so is loaded but sees no GPU");
  const int64_t count = at::detail::getCUDAHooks().deviceCount();
  if (index >= count) throw MachineError("--replicas", fmt::format("expected one GPU a replica, found {} GPUs", count));
  // Convolutions by cuDNN's rules and not by a race of its algorithms, whose winner differs from process to process.
  at::globalContext().setBenchmarkCuDNN(false);
  at::globalContext().setDeterministicCuDNN(true);
  return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

// A GPU that cannot be used is worth a line, not a failure: nobody asked for it by name.
at::Device open_best() {
  if (!cuda_is_there()) return at::kCPU;
  try {
    return open_cuda(0);
  } catch (const MachineError& error) {
    log_warn(fmt::format("a GPU is here but not used: {}", error.what()));
    return at::kCPU;
  }
}

}  // namespace

at::Device open_device(const std::string& name, int64_t index) {
  if (name == "cpu") return at::kCPU;
  if (name == "cuda") return open_cuda(index);
  if (name == "auto") return open_best();
  throw ConfigError("--device", fmt::format("expected auto, cpu or cuda, found '{}'", name));
}

at::Generator generator_on(at::Device device, uint64_t seed) {
  if (!device.is_cuda()) return at::detail::createCPUGenerator(seed);
  at::Generator generator = at::detail::getCUDAHooks().getNewGenerator(device.index());
  generator.set_current_seed(seed);
  return generator;
}

void release_unused_memory(at::Device device) {
  if (device.is_cuda()) c10::getDeviceAllocator(device.type())->emptyCache();
}

void synchronize(at::Device device) {
  if (device.is_cuda()) at::detail::getCUDAHooks().deviceSynchronize(device.index());
}

}  // namespace vorta::engine
