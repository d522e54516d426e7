// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/gpu_ceilings.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>

#include "engine/nn/device.h"
#include "engine/nn/fp8.h"

namespace vorta::harness {
namespace {

constexpr int64_t kRows = 8192;
constexpr int64_t kCopyNumbers = int64_t{1} << 28;  // bfloat16: half a gigabyte
constexpr double kSeconds = 0.35;                   // each
constexpr int kBatches = 10;

// Most of `amount` a second that any batch of calls reached.
template <typename Call>
double best_rate(c10::Device device, double amount, const Call& call) {
  using Clock = std::chrono::steady_clock;
  const auto seconds_of = [&](int64_t calls) {
    const auto begin = Clock::now();
    for (int64_t i = 0; i < calls; ++i) call();
    engine::synchronize(device);
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  seconds_of(2);  // algorithms are chosen
  const double once = seconds_of(3) / 3;
  const int64_t calls = std::clamp<int64_t>(static_cast<int64_t>(kSeconds / kBatches / once), 1, 10000);
  double best = 0;
  for (int batch = 0; batch < kBatches; ++batch)
    best = std::max(best, amount * static_cast<double>(calls) / seconds_of(calls));
  return best;
}

}  // namespace

std::vector<reports::GpuCeilingRow> measure_gpu_ceilings(c10::Device device) {
  if (!device.is_cuda() || !at::hasCUDA()) return {};
  const c10::InferenceMode inference;
  const auto options = at::TensorOptions().dtype(at::kBFloat16).device(device);
  std::vector<reports::GpuCeilingRow> rows;
  {
    constexpr double kFlops = 2.0 * kRows * kRows * kRows;
    const at::Tensor a = at::randn({kRows, kRows}, options), b = at::randn({kRows, kRows}, options);
    at::Tensor out = at::empty({kRows, kRows}, options);
    const at::Tensor right = b.t();
    rows.push_back({"bf16_flops", best_rate(device, kFlops, [&] { at::mm_out(out, a, right); })});
    if (engine::multiplies_fp8(device)) {
      const engine::Fp8Rows x = engine::quantize_rows(a), w = engine::quantize_rows(b);
      const at::Tensor w_right = w.values.t(), w_scales = w.scales.t();
      const auto multiply = [&] {
        out = at::_scaled_mm(x.values, w_right, x.scales, w_scales, std::nullopt, std::nullopt, at::kBFloat16,
                             /*use_fast_accum=*/true);
      };
      rows.push_back({"fp8_flops", best_rate(device, kFlops, multiply)});
    }
  }
  const at::Tensor from = at::randn({kCopyNumbers}, options), to = at::empty({kCopyNumbers}, options);
  rows.push_back({"copy_bytes", best_rate(device, 2.0 * 2.0 * kCopyNumbers, [&] { to.copy_(from); })});
  return rows;
}

}  // namespace vorta::harness
