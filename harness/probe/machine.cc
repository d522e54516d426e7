// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/machine.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <link.h>
#include <torch/headeronly/version.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "engine/base/json_io.h"
#include "engine/pipeline/model_folder.h"
#include "harness/probe/gpu_capability.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

// Value of the first "key : value" line of a /proc file; empty when there is none.
std::string proc_value(const char* file, std::string_view key) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (line.rfind(key, 0) != 0) continue;
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const size_t start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

std::string first_line(const fs::path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

int64_t meminfo_bytes(std::string_view key) {
  int64_t kib = 0;
  std::istringstream(proc_value("/proc/meminfo", key)) >> kib;
  return kib * 1024;
}

std::string cpu_model() {
  const std::string name = proc_value("/proc/cpuinfo", "model name");
  return name.empty() ? "unknown" : name;
}

bool has_cpu_flag(std::string_view flag) {
  std::istringstream words(proc_value("/proc/cpuinfo", "flags"));
  for (std::string word; words >> word;) {
    if (word == flag) return true;
  }
  return false;
}

// Path of a shared library this process has loaded, by the start of its file name; links resolved.
fs::path loaded_library(std::string_view prefix) {
  struct Search {
    std::string_view prefix;
    fs::path found;
  } search{prefix, {}};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        auto* wanted = static_cast<Search*>(data);
        const fs::path path = info->dlpi_name;
        if (path.filename().string().rfind(wanted->prefix, 0) != 0) return 0;
        wanted->found = path;
        return 1;
      },
      &search);
  std::error_code code;
  const fs::path real = search.found.empty() ? fs::path() : fs::canonical(search.found, code);
  return code ? search.found : real;
}

std::string file_name_of(std::string_view library) {
  const fs::path path = loaded_library(library);
  return path.empty() ? "" : path.filename().string();
}

std::vector<std::string> gpu_names() {
  std::vector<std::string> names;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator("/proc/driver/nvidia/gpus", code)) {
    const std::string name = proc_value((entry.path() / "information").c_str(), "Model");
    names.push_back(name.empty() ? "NVIDIA GPU" : name);
  }
  return names;
}

std::string embedded_weights() {
  try {
    return engine::find_embedded_model().string();
  } catch (const std::exception&) {
    return "";
  }
}

std::string embedded_routers() {
  const std::string model = embedded_weights();
  return model.empty() ? "" : engine::find_bundled_routers(model).string();
}

MachineFact fact(std::string name, std::string value, std::string switches_off) {
  const bool present = !value.empty();
  return {std::move(name), present ? std::move(value) : "none", present, present ? "" : std::move(switches_off)};
}

MachineFact instruction_set(const char* name, std::string_view flag, const char* switches_off) {
  return fact(name, has_cpu_flag(flag) ? "yes" : "", switches_off);
}

// A probe that `refusal` ("" for none) keeps away.
MachineFact probe_fact(const char* name, const std::string& refusal, const char* switches_off) {
  if (refusal.empty()) return {name, "yes", true, ""};
  return {name, "none: " + refusal, false, switches_off};
}

void add_gpu_facts(std::vector<MachineFact>& facts) {
  const std::vector<std::string> gpus = gpu_names();
  facts.push_back(fact("GPU", fmt::format("{}", fmt::join(gpus, ", ")), "generation runs on the CPU"));
  facts.push_back(fact("NVIDIA driver", first_line("/proc/driver/nvidia/version"), "no GPU can be used"));
  facts.push_back(fact("CUPTI", file_name_of("libcupti"), "profiles have no GPU kernels"));
  const GpuCapability probes = inspect_gpu_probes();
  facts.push_back(probe_fact("GPU kernel records", probes.kernels,
                             "profiles have no GPU kernels; operators and layers on the CPU are profiled as ever"));
  facts.push_back(probe_fact("GPU counters", probes.counters, "executed operations and DRAM bytes are not counted"));
  facts.push_back(probe_fact("GPU clocks and power", probes.power, "trials have no clocks, energy or power regime"));
}

}  // namespace

int64_t machine_memory_bytes() {
  int64_t bytes = meminfo_bytes("MemTotal");
  int64_t limit = 0;
  if (std::istringstream(first_line("/sys/fs/cgroup/memory.max")) >> limit && limit > 0) bytes = std::min(bytes, limit);
  return bytes;
}

std::vector<MachineFact> inspect_machine() {
  std::vector<MachineFact> facts;
  facts.push_back(fact("CPU", cpu_model(), ""));
  facts.push_back(instruction_set(
      "AVX2", "avx2", "LibTorch's vectorised CPU operators and our CPU kernels: everything is several times slower"));
  facts.push_back(
      instruction_set("AVX512", "avx512f", "the AVX-512 variants of the CPU kernels; the AVX2 variants run instead"));
  facts.push_back(instruction_set(
      "AVX512-BF16", "avx512_bf16",
      "the AVX-512 variants of the bfloat16 kernels; the AVX2 variants, which compute in float32, run instead"));
  facts.push_back(instruction_set(
      "AMX-BF16", "amx_bf16",
      "the AMX variants of attention and linear layers, several times as fast; the AVX-512 variants run instead"));
  facts.push_back(fact("LibTorch's CPU level", at::get_cpu_capability(), ""));
  facts.push_back(
      fact("Threads", fmt::format("{} of {}", at::get_num_threads(), std::thread::hardware_concurrency()), ""));
  const double total = static_cast<double>(machine_memory_bytes()) / kGiB;
  const double free = static_cast<double>(meminfo_bytes("MemAvailable")) / kGiB;
  facts.push_back(fact("Memory", fmt::format("{:.1f} GiB, {:.1f} GiB free", total, free), ""));
  const bool peaks = ::access("/proc/self/clear_refs", W_OK) == 0;
  facts.push_back(fact("Peak-memory counter", peaks ? "/proc/self/clear_refs" : "",
                       "peak resident memory of a trial is not recorded"));
  add_gpu_facts(facts);
  facts.push_back(
      fact("FFmpeg",
           fmt::format("{} {} {}", file_name_of("libavcodec"), file_name_of("libavformat"), file_name_of("libswscale")),
           "no video or picture can be written"));
  facts.push_back(fact("LibTorch", TORCH_VERSION, ""));
  facts.push_back(fact("Embedded model", embedded_weights(),
                       "suites and `generate` need a model folder (--model, --set model=DIR)"));
  facts.push_back(fact("Embedded routers", embedded_routers(),
                       "VORTA attention needs a router folder (--routers, --set routers=DIR)"));
  return facts;
}

reports::EnvironmentRow environment_row() {
  nlohmann::json identity{{"cpu", cpu_model()},
                          {"cpu_level", at::get_cpu_capability()},
                          {"threads", at::get_num_threads()},
                          {"avx512_bf16", has_cpu_flag("avx512_bf16")},
                          {"amx_bf16", has_cpu_flag("amx_bf16")},
                          {"gpu", fmt::format("{}", fmt::join(gpu_names(), ", "))},
                          {"libtorch", TORCH_VERSION},
                          {"engine", VORTA_VERSION},
                          {"compiler", __VERSION__}};
  char host[256] = "unknown";
  ::gethostname(host, sizeof host - 1);
  nlohmann::json passing{{"host", host},
                         {"load", first_line("/proc/loadavg")},
                         {"memory_bytes", machine_memory_bytes()},
                         {"memory_available_bytes", meminfo_bytes("MemAvailable")},
                         {"kernel", first_line("/proc/sys/kernel/osrelease")}};
  return {canonical_json(identity), canonical_json(passing)};
}

}  // namespace vorta::harness
