// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>

#include "engine/base/error.h"
#include "engine/train/train_loop.h"

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
    throw MachineError("--device cuda", fmt::format("cannot load {}: {}", library.string(), dlerror()));
  }
}

}  // namespace

at::Device open_device(const std::string& name, int64_t index) {
  if (name == "cpu") return at::kCPU;
  if (name != "cuda") throw ConfigError("--device", fmt::format("expected cpu or cuda, found '{}'", name));
  // Loaded before anybody asks for CUDA: ATen looks for it once and remembers that there was none.
  static const bool loaded = (load_cuda_half(), true);
  if (!loaded || !at::hasCUDA()) throw MachineError("--device cuda", "libtorch_cuda.so is loaded but sees no GPU");
  const int64_t count = at::detail::getCUDAHooks().deviceCount();
  if (index >= count) throw MachineError("--replicas", fmt::format("expected one GPU a replica, found {} GPUs", count));
  at::globalContext().setBenchmarkCuDNN(true);  // the autoencoder's few shapes repeat
  return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

at::Generator generator_on(at::Device device, uint64_t seed) {
  if (device.is_cpu()) return at::detail::createCPUGenerator(seed);
  at::Generator generator = at::detail::getCUDAHooks().getNewGenerator(device.index());
  generator.set_current_seed(seed);
  return generator;
}

at::ScalarType parse_train_dtype(const std::string& name) {
  if (name == "float32") return at::kFloat;
  if (name == "bfloat16") return at::kBFloat16;
  throw ConfigError("--dtype", fmt::format("expected float32 or bfloat16, found '{}'", name));
}

}  // namespace vorta::engine
