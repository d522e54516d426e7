// SPDX-License-Identifier: Apache-2.0
// Attention of the published models on Hopper, in useful TFLOPS (pairs that the mask allows),
// beside what the tensor cores reach alone. Each measures a second or more of back-to-back
// launches: the chip is then at its power limit.
#include "kernels/bench/tensor_ceiling.h"
#include "kernels/grouped_attention/grouped_attention_sm90_cases.h"
#include "kernels/launch/bfloat16.h"
#include "kernels/launch/cuda_device.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace vorta::kernels {
namespace {

constexpr double kMeasuredSeconds = 1.2;
const Stream kStream = cuda_stream(nullptr);

double seconds_of(const std::chrono::steady_clock::time_point& start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Times `launch`, which does `flops` of work.
template <typename Launch>
void measure(benchmark::State& state, double flops, Launch launch) {
  const auto run = [&](int launches) {
    KernelStatus status = KernelStatus::kOk;
    for (int i = 0; i < launches && status == KernelStatus::kOk; ++i) status = launch();
    if (status == KernelStatus::kOk) status = synchronize(kStream);
    if (status == KernelStatus::kUnsupported) state.SkipWithError("unsupported");
    if (status == KernelStatus::kLaunchFailed) state.SkipWithError(last_launch_error().c_str());
    return status == KernelStatus::kOk;
  };
  if (!run(1)) return;
  auto start = std::chrono::steady_clock::now();
  if (!run(1)) return;
  const int launches = std::max(1, static_cast<int>(kMeasuredSeconds / seconds_of(start)));
  if (!run(launches / 2)) return;  // until the clock has settled
  for (auto unused : state) {
    start = std::chrono::steady_clock::now();
    if (!run(launches)) return;
    state.SetIterationTime(seconds_of(start) / launches);
  }
  state.counters["useful_TFLOPS"] = benchmark::Counter(flops * 1e-12, benchmark::Counter::kIsIterationInvariantRate);
}

// Device memory that repeats a block of normal numbers.
class Numbers {
 public:
  Numbers(int64_t count, unsigned seed) : memory_(static_cast<std::size_t>(count) * sizeof(BFloat16Bits)) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<BFloat16Bits> block(static_cast<std::size_t>(std::min<int64_t>(count, 1 << 20)));
    for (auto& number : block) number = to_bfloat16(normal(random));
    std::size_t done = block.size() * sizeof(BFloat16Bits);
    filled_ = memory_.data() != nullptr && memory_.copy_from_host(block.data(), done) == KernelStatus::kOk;
    while (filled_ && done < memory_.bytes()) {
      const std::size_t bytes = std::min(done, memory_.bytes() - done);
      filled_ = copy_on_device(kStream, static_cast<std::byte*>(memory_.data()) + done, memory_.data(), bytes) ==
                KernelStatus::kOk;
      done += bytes;
    }
  }
  void* data() const { return memory_.data(); }
  bool filled() const { return filled_; }

 private:
  DeviceMemory memory_;
  bool filled_ = false;
};

bool skip_without_gpu(benchmark::State& state) {
  if (!cuda_device().usable()) state.SkipWithError(cuda_device().problem.c_str());
  return !cuda_device().usable();
}

void bench_ceiling(benchmark::State& state) {
  if (skip_without_gpu(state)) return;
  const Numbers numbers(32 * 1024, 1);
  DeviceMemory sink(sizeof(float));
  measure(state, tensor_ceiling_flops(),
          [&] { return tensor_ceiling(numbers.data(), static_cast<float*>(sink.data()), kStream); });
}

void bench_case(benchmark::State& state, const Sm90Case& which) {
  if (skip_without_gpu(state)) return;
  const Numbers q(which.elements(), 1), k(which.elements(), 2), v(which.elements(), 3), out(which.elements(), 4);
  GroupedAttentionArgs args = which.args();
  const auto plan = plan_grouped_attention_sm90(args);
  if (!plan.has_value() || !(q.filled() && k.filled() && v.filled() && out.filled())) {
    state.SkipWithError(plan.has_value() ? "the GPU has too little memory" : "no plan");
    return;
  }
  DeviceMemory tables(plan->tables.size() * sizeof(int32_t));
  if (tables.copy_from_host(plan->tables.data(), tables.bytes()) != KernelStatus::kOk) return;
  args.q.data = q.data();
  args.k.data = k.data();
  args.v.data = v.data();
  args.out.data = out.data();
  const double flops = 4.0 * static_cast<double>(args.head_dim * args.head_count * args.batch) * plan->useful_pairs;
  measure(state, flops,
          [&] { return grouped_attention_sm90(args, *plan, static_cast<const int32_t*>(tables.data()), kStream); });
}

void add(const std::string& name, const std::function<void(benchmark::State&)>& run) {
  benchmark::RegisterBenchmark(name.c_str(), run)->UseManualTime()->Iterations(1)->Unit(benchmark::kMillisecond);
}

// Nothing is registered in a build without CUDA.
const bool kRegistered = [] {
  if (tensor_ceiling_flops() == 0) return false;
  add("ceiling_bfloat16/sm90", bench_ceiling);
  static const std::vector<Sm90Case> cases = sm90_bench_cases();
  for (const Sm90Case& which : cases) {
    add("grouped_attention/sm90/" + which.name, [&which](benchmark::State& state) { bench_case(state, which); });
  }
  return true;
}();

}  // namespace
}  // namespace vorta::kernels
