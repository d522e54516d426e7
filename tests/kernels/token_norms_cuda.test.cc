// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/token_norms/token_norms_cases.h"
#include "tests/kernels/on_cuda.h"

using namespace vorta::kernels;

namespace {

const Stream kStream = cuda_stream(nullptr);

// A problem's tensors on the GPU.
struct Uploaded {
  OnCuda<BFloat16Bits> x, y, weight, residual, out;
  OnCuda<float> scale, shift, gate, cosine, sine;

  explicit Uploaded(const TokenNormsProblem& p)
      : x(p.x),
        y(p.y),
        weight(p.weight),
        residual(p.residual),
        out(p.out),
        scale(p.scale),
        shift(p.shift),
        gate(p.gate),
        cosine(p.cosine),
        sine(p.sine) {}
  TokenNormsPointers pointers() const {
    return {x.data(),     y.data(),     weight.data(), residual.data(), out.data(),
            scale.data(), shift.data(), gate.data(),   cosine.data(),   sine.data()};
  }
};

bool both_nan(BFloat16Bits a, BFloat16Bits b) { return std::isnan(to_float(a)) && std::isnan(to_float(b)); }

// Calls `check` for each case, with the problem on both sides.
template <typename Check>
void for_each_case(Check check) {
  if (!cuda_runs_here()) return;
  for (const TokenNormsCase& which : token_norms_parity_cases()) {
    INFO(which.name);
    TokenNormsProblem problem(which);
    const Uploaded uploaded(problem);
    check(problem, uploaded);
  }
}

// No more than `share` of the elements may differ, and those by a unit in bfloat16's last place: sums have another
// order. `float_error` is what float32 itself loses where the shift cancels the norm.
void check_close(const std::vector<BFloat16Bits>& got, const std::vector<BFloat16Bits>& expected, double share,
                 float float_error = 1e-6f) {
  REQUIRE(got.size() == expected.size());
  std::size_t different = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (got[i] == expected[i]) continue;
    ++different;
    const float want = to_float(expected[i]);
    INFO("element " << i << ": " << to_float(got[i]) << ", expected " << want);
    CHECK(std::abs(to_float(got[i]) - want) <= std::abs(want) / 128 + float_error);
  }
  CHECK(static_cast<double>(different) <= share * static_cast<double>(got.size()) + 1);
}

}  // namespace

TEST_CASE("the modulated layer norm on CUDA matches its reference", "[.][kernels][cuda]") {
  for_each_case([](TokenNormsProblem& problem, const Uploaded& on_gpu) {
    modulated_layer_norm_reference(layer_norm_args(problem.which, problem.pointers(), {}));
    for (int run = 0; run < 2; ++run) {  // the same bits each time
      REQUIRE(modulated_layer_norm(layer_norm_args(problem.which, on_gpu.pointers(), kStream)) == KernelStatus::kOk);
      const auto got = on_gpu.out.fetch();
      check_close(got, problem.out, 0.01);
      REQUIRE(modulated_layer_norm(layer_norm_args(problem.which, on_gpu.pointers(), kStream)) == KernelStatus::kOk);
      check_same(on_gpu.out.fetch(), got);
    }
  });
}

TEST_CASE("the layer norm on CUDA keeps its precision far from zero, and takes affine weights", "[.][kernels][cuda]") {
  for_each_case([](TokenNormsProblem& problem, const Uploaded&) {
    for (auto& value : problem.x) value = to_bfloat16(100.0f + to_float(value));
    const Uploaded far(problem);
    auto expected = layer_norm_args(problem.which, problem.pointers(), {});
    auto got = layer_norm_args(problem.which, far.pointers(), kStream);
    for (auto* args : {&expected, &got}) {
      args->modulation_stride = 0;
      args->scale_offset = 0.0f;
    }
    modulated_layer_norm_reference(expected);
    REQUIRE(modulated_layer_norm(got) == KernelStatus::kOk);
    check_close(far.out.fetch(), problem.out, 0.02, 2e-5f);  // float32 has steps of 8e-6 at 100
  });
}

TEST_CASE("the RMS norm with rotation on CUDA matches its reference", "[.][kernels][cuda]") {
  const bool rotate = GENERATE(true, false);
  for_each_case([&](TokenNormsProblem& problem, const Uploaded& on_gpu) {
    auto expected = rms_norm_rope_args(problem.which, problem.pointers(), {});
    auto got = rms_norm_rope_args(problem.which, on_gpu.pointers(), kStream);
    if (!rotate) expected.cosine = expected.sine = got.cosine = got.sine = nullptr;
    rms_norm_rope_reference(expected);
    REQUIRE(rms_norm_rope(got) == KernelStatus::kOk);
    const auto out = on_gpu.out.fetch();
    double error = 0, norm = 0;
    std::size_t different = 0;
    for (std::size_t i = 0; i < out.size(); ++i) {
      error += std::pow(to_float(out[i]) - to_float(problem.out[i]), 2);
      norm += std::pow(to_float(problem.out[i]), 2);
      different += out[i] != problem.out[i];
    }
    CHECK(std::sqrt(error / norm) < 1e-3);
    CHECK(static_cast<double>(different) <= 0.01 * static_cast<double>(out.size()) + 1);
  });
}

TEST_CASE("the gated residual on CUDA matches its reference exactly", "[.][kernels][cuda]") {
  for_each_case([](TokenNormsProblem& problem, const Uploaded&) {
    problem.gate[1] = std::numeric_limits<float>::infinity();
    problem.gate[2] = std::numeric_limits<float>::quiet_NaN();
    const float y = to_float(problem.y[3]);
    problem.x[3] = to_bfloat16(-1.0f);
    problem.gate[3] = 1.0f / y;  // cancels: a fused multiply-add would leave the product's rounding
    const Uploaded on_gpu(problem);
    gated_residual_reference(gated_residual_args(problem.which, problem.pointers(), {}));
    REQUIRE(gated_residual(gated_residual_args(problem.which, on_gpu.pointers(), kStream)) == KernelStatus::kOk);
    const auto got = on_gpu.out.fetch();
    for (std::size_t i = 0; i < got.size(); ++i) {
      INFO("element " << i);
      CHECK((got[i] == problem.out[i] || both_nan(got[i], problem.out[i])));
    }
  });
}

TEST_CASE("the residual fused with its norm on CUDA gives what the two passes give", "[.][kernels][cuda]") {
  const bool in_place = GENERATE(true, false);
  for_each_case([&](TokenNormsProblem& problem, const Uploaded& on_gpu) {
    gated_residual_layer_norm_reference(gated_residual_layer_norm_args(problem.which, problem.pointers(), {}));
    auto args = gated_residual_layer_norm_args(problem.which, on_gpu.pointers(), kStream);
    if (in_place) args.residual = args.x;
    REQUIRE(gated_residual_layer_norm(args) == KernelStatus::kOk);
    check_close(on_gpu.out.fetch(), problem.out, 0.01);
    const auto residual = in_place ? on_gpu.x.fetch() : on_gpu.residual.fetch();
    const int64_t stride = args.residual.row_stride, width = problem.which.width;
    for (int64_t row = 0; row < args.rows.batch * args.rows.rows_per_batch; ++row) {
      INFO("row " << row);
      CHECK(std::equal(residual.begin() + row * stride, residual.begin() + row * stride + width,
                       problem.residual.begin() + row * width));
    }
  });
}

TEST_CASE("token norms on CUDA refuse what they cannot load 16 bytes at a time", "[.][kernels][cuda]") {
  if (!cuda_runs_here()) return;
  const TokenNormsProblem problem({"refused", 1, 3, 96, 32, 0});
  const Uploaded on_gpu(problem);
  const auto valid = layer_norm_args(problem.which, on_gpu.pointers(), kStream);
  auto odd_width = valid, odd_pointer = valid, odd_stride = valid, too_wide = valid;
  odd_width.rows.width = 24;
  odd_pointer.x.data += 1;
  odd_stride.out.row_stride += 4;
  too_wide.rows.width = 16400;
  for (const auto& args : {odd_width, odd_pointer, odd_stride, too_wide}) {
    CHECK(modulated_layer_norm(args) == KernelStatus::kUnsupported);
  }
  check_same(on_gpu.out.fetch(), problem.out);
}
