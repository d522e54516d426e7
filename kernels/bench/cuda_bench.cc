// SPDX-License-Identifier: Apache-2.0
// The memory-bound CUDA variants at the sizes of the published models, beside a copy on the same device. Bytes are
// those that a pass must move, each tensor once; tables that stay in cache are not counted.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/coreset_pool/coreset_pool_cases.h"
#include "kernels/launch/cuda_device.h"
#include "kernels/registry/cuda_variants.h"
#include "kernels/row_gather/row_gather_cases.h"
#include "kernels/token_norms/token_norms_cases.h"

namespace vorta::kernels {
namespace {

constexpr int kLaunches = 20;   // between two waits, so that waiting does not count
constexpr int kIterations = 20;  // fixed, or every guess of their number would fill the tensors anew
const Stream kStream = cuda_stream(nullptr);

bool skip_without_gpu(benchmark::State& state) {
  if (cuda_device().usable()) return false;
  state.SkipWithError(cuda_device().problem.c_str());
  return true;
}

bool succeeded(benchmark::State& state, KernelStatus status) {
  if (status == KernelStatus::kOk) return true;
  state.SkipWithError(status == KernelStatus::kUnsupported ? "unsupported" : last_launch_error().c_str());
  return false;
}

// Times `launch`, which moves `bytes` of `tensors`.
template <typename Tensors, typename Launch>
void measure(benchmark::State& state, const Tensors& tensors, double bytes, Launch launch) {
  if (!tensors.filled()) {
    state.SkipWithError("the GPU has too little memory");
    return;
  }
  if (!succeeded(state, launch()) || !succeeded(state, synchronize(kStream))) return;
  for (auto unused : state) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kLaunches; ++i) {
      if (!succeeded(state, launch())) return;
    }
    if (!succeeded(state, synchronize(kStream))) return;
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    state.SetIterationTime(elapsed.count() / kLaunches);
  }
  state.counters["TB"] = benchmark::Counter(bytes * 1e-12, benchmark::Counter::kIsIterationInvariantRate);
}

// Memory of the GPU that repeats a block of seeded normal numbers.
template <typename Element>
class Filled {
 public:
  explicit Filled(int64_t count) : memory_(static_cast<std::size_t>(count) * sizeof(Element)) {
    static const std::vector<Element> block = normal_block();
    std::size_t done = std::min(block.size() * sizeof(Element), memory_.bytes());
    filled_ = data() != nullptr && memory_.copy_from_host(block.data(), done) == KernelStatus::kOk;
    while (filled_ && done < memory_.bytes()) {
      const std::size_t bytes = std::min(done, memory_.bytes() - done);
      auto* end = static_cast<std::byte*>(memory_.data()) + done;
      filled_ = copy_on_device(kStream, end, memory_.data(), bytes) == KernelStatus::kOk;
      done += bytes;
    }
  }
  Element* data() const { return static_cast<Element*>(memory_.data()); }
  bool filled() const { return filled_; }

 private:
  static std::vector<Element> normal_block() {
    std::mt19937 random(31);
    std::normal_distribution<float> normal;
    std::vector<Element> values(1 << 20);
    for (auto& value : values) {
      if constexpr (std::is_same_v<Element, float>) value = normal(random);
      else value = to_bfloat16(normal(random));
    }
    return values;
  }

  DeviceMemory memory_;
  bool filled_ = true;
};

DeviceMemory upload(const std::vector<int32_t>& table) {
  DeviceMemory memory(table.size() * sizeof(int32_t));
  if (memory.copy_from_host(table.data(), memory.bytes()) != KernelStatus::kOk) return DeviceMemory(0);
  return memory;
}

std::vector<int32_t> shuffled_rows(int64_t count) {
  std::vector<int32_t> rows(static_cast<std::size_t>(count));
  for (int64_t i = 0; i < count; ++i) rows[i] = static_cast<int32_t>(i);
  std::shuffle(rows.begin(), rows.end(), std::mt19937(32));
  return rows;
}

// ---- token norms

struct NormTensors {
  explicit NormTensors(const TokenNormsCase& which)
      : x(rows(which) * which.width),
        y(rows(which) * which.width),
        residual(rows(which) * which.width),
        out(rows(which) * which.width),
        weight(which.width),
        scale(which.batch * which.width),
        shift(which.batch * which.width),
        gate(which.batch * which.width),
        cosine(which.rows_per_batch * which.head_dim / 2),
        sine(which.rows_per_batch * which.head_dim / 2) {}
  static int64_t rows(const TokenNormsCase& which) { return which.batch * which.rows_per_batch; }
  TokenNormsPointers pointers() const {
    return {x.data(),     y.data(),     weight.data(), residual.data(), out.data(),
            scale.data(), shift.data(), gate.data(),   cosine.data(),   sine.data()};
  }

  bool filled() const { return x.filled() && y.filled() && residual.filled() && out.filled(); }

  Filled<BFloat16Bits> x, y, residual, out, weight;
  Filled<float> scale, shift, gate, cosine, sine;
};

// The passes of one layer of Wan: three residuals with the norms that follow them, q and k of the self attention, q of
// the cross attention (not rotated; its k is short).
KernelStatus layer(const TokenNormsVariant& variant, const TokenNormsCase& which, const TokenNormsPointers& at) {
  const auto fused = gated_residual_layer_norm_args(which, at, kStream);
  const auto rotated = rms_norm_rope_args(which, at, kStream);
  auto plain = rotated;
  plain.cosine = plain.sine = nullptr;
  for (const auto& args : {rotated, rotated, plain}) {
    if (const auto status = variant.rms_norm_rope(args); status != KernelStatus::kOk) return status;
  }
  for (int i = 0; i < 3; ++i) {
    if (const auto status = variant.gated_residual_layer_norm(fused); status != KernelStatus::kOk) return status;
  }
  return KernelStatus::kOk;
}

using NormPass = KernelStatus (*)(const TokenNormsVariant&, const TokenNormsCase&, const TokenNormsPointers&);

struct NormBench {
  const char* name;
  double passes;  ///< over the activations
  NormPass run;
};

constexpr NormBench kNormBenches[] = {
    {"layer_norm", 2,
     [](const TokenNormsVariant& variant, const TokenNormsCase& which, const TokenNormsPointers& at) {
       return variant.modulated_layer_norm(layer_norm_args(which, at, kStream));
     }},
    {"rms_norm_rope", 2,
     [](const TokenNormsVariant& variant, const TokenNormsCase& which, const TokenNormsPointers& at) {
       return variant.rms_norm_rope(rms_norm_rope_args(which, at, kStream));
     }},
    {"gated_residual", 3,
     [](const TokenNormsVariant& variant, const TokenNormsCase& which, const TokenNormsPointers& at) {
       return variant.gated_residual(gated_residual_args(which, at, kStream));
     }},
    {"gated_residual_layer_norm", 4,
     [](const TokenNormsVariant& variant, const TokenNormsCase& which, const TokenNormsPointers& at) {
       return variant.gated_residual_layer_norm(gated_residual_layer_norm_args(which, at, kStream));
     }},
    {"all_of_a_layer", 18, layer},
};

void bench_norms(benchmark::State& state, const TokenNormsVariant& variant, const TokenNormsCase& which,
                 const NormBench& bench) {
  if (skip_without_gpu(state)) return;
  const NormTensors tensors(which);
  const TokenNormsPointers at = tensors.pointers();
  const double pass = static_cast<double>(NormTensors::rows(which) * which.width * 2);
  measure(state, tensors, bench.passes * pass, [&] { return bench.run(variant, which, at); });
}

// ---- coreset

struct CoresetTensors {
  explicit CoresetTensors(const CoresetSelectionCase& which)
      : x(full(which)),
        k(full(which)),
        v(full(which)),
        out(full(which)),
        pooled_x(pooled(which)),
        pooled_k(pooled(which)),
        pooled_v(pooled(which)),
        member_rows(upload(window_rows(which))),
        order(static_cast<std::size_t>(which.batch * which.heads * coreset_tokens(which)) * sizeof(int32_t)) {}
  static int64_t full(const CoresetSelectionCase& which) {
    return which.batch * which.heads * coreset_tokens(which) * which.head_dim;
  }
  static int64_t pooled(const CoresetSelectionCase& which) {
    return which.batch * which.heads * coreset_pooled_rows(which) * which.head_dim;
  }
  // 2x3x2 windows in raster order, of the published grids 20x45x80 and 20x30x52.
  static std::vector<int32_t> window_rows(const CoresetSelectionCase& which) {
    const int64_t frames = 20, width = which.heads == 40 ? 80 : 52, height = coreset_tokens(which) / frames / width;
    std::vector<int32_t> rows;
    for (int64_t t = 0; t < frames; t += 2) {
      for (int64_t h = 0; h < height; h += 3) {
        for (int64_t w = 0; w < width; w += 2) {
          for (int64_t m = 0; m < 12; ++m) {
            rows.push_back(static_cast<int32_t>(((t + m / 6) * height + h + m / 2 % 3) * width + w + m % 2));
          }
        }
      }
    }
    return rows;
  }
  CoresetPoolPointers pointers() const {
    return {x.data(),
            k.data(),
            v.data(),
            pooled_x.data(),
            pooled_k.data(),
            pooled_v.data(),
            out.data(),
            static_cast<int32_t*>(member_rows.data()),
            static_cast<int32_t*>(order.data()),
            nullptr};
  }

  bool filled() const {
    return x.filled() && k.filled() && v.filled() && out.filled() && pooled_x.filled() && pooled_k.filled() &&
           pooled_v.filled() && member_rows.data() != nullptr && order.data() != nullptr;
  }

  Filled<BFloat16Bits> x, k, v, out, pooled_x, pooled_k, pooled_v;
  DeviceMemory member_rows, order;
};

void bench_pool(benchmark::State& state, const CoresetPoolVariant& variant, const CoresetSelectionCase& which) {
  if (skip_without_gpu(state)) return;
  const CoresetTensors tensors(which);
  const auto args = coreset_pool_args(which, tensors.pointers(), which.heads, kStream);
  const double full = 2.0 * static_cast<double>(CoresetTensors::full(which));
  const double pooled = 2.0 * static_cast<double>(CoresetTensors::pooled(which));
  measure(state, tensors, full + 5 * pooled, [&] { return variant.pool(args); });
}

void bench_unpool(benchmark::State& state, const CoresetPoolVariant& variant, const CoresetSelectionCase& which) {
  if (skip_without_gpu(state)) return;
  const CoresetTensors tensors(which);
  const auto pool_args = coreset_pool_args(which, tensors.pointers(), which.heads, kStream);
  const auto args = coreset_unpool_args(which, tensors.pointers(), which.heads, kStream);
  if (tensors.filled() && !succeeded(state, variant.pool(pool_args))) return;  // makes the order
  const double full = 2.0 * static_cast<double>(CoresetTensors::full(which));
  const double pooled = 2.0 * static_cast<double>(CoresetTensors::pooled(which));
  measure(state, tensors, full + pooled, [&] { return variant.unpool(args); });
}

// ---- rows

struct RowTensors {
  explicit RowTensors(const RowGatherCase& which)
      : from(which.batch * which.heads * which.source_rows * which.dim),
        to(which.batch * which.heads * which.rows * which.dim),
        rows(upload(shuffled_rows(which.rows))) {}
  bool filled() const { return from.filled() && to.filled() && rows.data() != nullptr; }

  Filled<BFloat16Bits> from, to;
  DeviceMemory rows;
};

double bytes_of(const RowGatherCase& which) {
  return 4.0 * static_cast<double>(which.batch * which.heads * which.rows * which.dim);
}

void bench_gather(benchmark::State& state, const RowGatherVariant& variant, const RowGatherCase& which) {
  if (skip_without_gpu(state)) return;
  const RowTensors tensors(which);
  const RowGatherPointers at{tensors.from.data(), tensors.to.data(), static_cast<int32_t*>(tensors.rows.data()),
                             nullptr, nullptr};
  const auto args = row_gather_args(which, at, kStream);
  measure(state, tensors, bytes_of(which), [&] { return variant.launch(args); });
}

void bench_copy(benchmark::State& state) {
  if (skip_without_gpu(state)) return;
  const RowGatherCase& which = row_gather_gpu_bench_cases().front();
  const RowTensors tensors(which);
  measure(state, tensors, bytes_of(which), [&] {
    const auto bytes = static_cast<std::size_t>(bytes_of(which) / 2);
    return copy_on_device(kStream, tensors.to.data(), tensors.from.data(), bytes);
  });
}

template <typename Bench>
void add(const std::string& name, Bench bench) {
  benchmark::RegisterBenchmark(name.c_str(), bench)
      ->UseManualTime()
      ->Iterations(kIterations)
      ->Unit(benchmark::kMicrosecond);
}

// Nothing is registered in a build without CUDA.
const bool kRegistered = [] {
  if (!cuda_row_gather().empty()) add("ceiling_copy/cuda/737MB", bench_copy);
  for (const TokenNormsVariant* variant : cuda_token_norms()) {
    for (const auto& which : token_norms_gpu_bench_cases()) {
      for (const NormBench& bench : kNormBenches) {
        add(std::string(bench.name) + "/" + variant->name + "/" + which.name,
            [=, &which, &bench](benchmark::State& state) { bench_norms(state, *variant, which, bench); });
      }
    }
  }
  for (const CoresetPoolVariant* variant : cuda_coreset_pool()) {
    for (const auto& which : coreset_pool_gpu_bench_cases()) {
      add(std::string("coreset_pool/") + variant->name + "/" + which.name,
          [=, &which](benchmark::State& state) { bench_pool(state, *variant, which); });
      add(std::string("coreset_unpool/") + variant->name + "/" + which.name,
          [=, &which](benchmark::State& state) { bench_unpool(state, *variant, which); });
    }
  }
  for (const RowGatherVariant* variant : cuda_row_gather()) {
    for (const auto& which : row_gather_gpu_bench_cases()) {
      add(std::string("row_gather/") + variant->name + "/" + which.name,
          [=, &which](benchmark::State& state) { bench_gather(state, *variant, which); });
    }
  }
  return true;
}();

}  // namespace
}  // namespace vorta::kernels
