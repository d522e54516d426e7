// SPDX-License-Identifier: Apache-2.0
// Layers in bfloat16 on a GPU, where kernels and fused products do the work, against the same in float32 on the CPU.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include "engine/nn/layers.h"
#include "engine/nn/rope.h"
#include "tests/support/gpu.h"

namespace vorta::engine {
namespace {

constexpr int64_t kBatch = 2, kHeads = 3, kHeadDim = 32, kWidth = kHeads * kHeadDim;
constexpr VideoGrid kGrid{2, 3, 5};
constexpr double kEps = 1e-6;
constexpr double kTolerance = 8e-3;  // a few roundings to bf16

class Numbers {
 public:
  at::Tensor bf16(at::IntArrayRef sizes) { return at::randn(sizes, generator_, at::kFloat).to(at::kBFloat16); }
  at::Tensor fp32(at::IntArrayRef sizes) { return at::randn(sizes, generator_, at::kFloat); }

 private:
  at::Generator generator_ = at::detail::createCPUGenerator(11);
};

void check_close(const at::Tensor& found, const at::Tensor& expected) {
  CHECK(found.scalar_type() == at::kBFloat16);
  CHECK(((found.cpu().to(at::kFloat) - expected).norm() / expected.norm()).item<double>() < kTolerance);
}

TEST_CASE("layers on a GPU equal those on the CPU", "[gpu]") {
  const auto gpu = gpu_here();
  if (!gpu) return;
  const at::NoGradGuard no_grad;
  Numbers draw;
  const at::Tensor x = draw.bf16({kBatch, kGrid.tokens(), kWidth}), y = draw.bf16(x.sizes());
  const at::Tensor a = draw.fp32({kBatch, 1, kWidth}), b = draw.fp32({kBatch, 1, kWidth});
  const at::Tensor wide = x.to(at::kFloat), wide_y = y.to(at::kFloat);
  const auto there = [&](const at::Tensor& t) { return t.to(*gpu); };

  SECTION("modulated layer norm") {
    check_close(modulated_layer_norm(there(x), there(a), there(b), kEps), modulated_layer_norm(wide, a, b, kEps));
  }
  SECTION("affine layer norm") {
    const at::Tensor weight = draw.fp32({kWidth}), bias = draw.fp32({kWidth});
    check_close(affine_layer_norm(there(x), there(weight), there(bias), kEps),
                affine_layer_norm(wide, weight, bias, kEps));
  }
  SECTION("gated residual") {
    check_close(gated_residual(there(x), there(y), there(a)), gated_residual(wide, wide_y, a));
  }
  SECTION("gated residual and its norm") {
    const at::Tensor gate = draw.fp32({kBatch, 1, kWidth}), weight = draw.fp32({kWidth}), bias = draw.fp32({kWidth});
    const at::Tensor open = at::ones({kWidth}, at::kFloat);
    const NormedResidual modulated = residual_modulated_norm(there(x), there(y), there(gate), there(a), there(b), kEps);
    const at::Tensor sum = gated_residual(wide, wide_y, gate);
    check_close(modulated.sum, sum);
    check_close(modulated.normed, modulated_layer_norm(sum, a, b, kEps));
    const NormedResidual affine =
        residual_affine_norm(there(x), there(y), there(open), there(weight), there(bias), kEps);
    check_close(affine.sum, wide + wide_y);
    check_close(affine.normed, affine_layer_norm(wide + wide_y, weight, bias, kEps));
  }
  SECTION("RMS norm and rotation") {
    const at::Tensor weight = draw.bf16({kWidth});
    const RopeTable rope = make_rope(kGrid, kHeadDim, 1024);
    check_close(rms_norm_rope(there(x), there(weight), kEps, rope_on(rope, *gpu)),
                rms_norm_rope(wide, weight.to(at::kFloat), kEps, rope));
    check_close(rms_norm(there(x), there(weight), kEps), rms_norm(wide, weight.to(at::kFloat), kEps));
  }
  SECTION("linear and GELU") {
    const at::Tensor weight = draw.bf16({64, kWidth}), bias = draw.bf16({64});
    const at::Tensor wide_weight = weight.to(at::kFloat), wide_bias = bias.to(at::kFloat);
    check_close(linear(there(x), there(weight), there(bias)), linear(wide, wide_weight, wide_bias));
    check_close(linear_gelu(there(x), there(weight), there(bias)), linear_gelu(wide, wide_weight, wide_bias));
  }
}

}  // namespace
}  // namespace vorta::engine
