// SPDX-License-Identifier: Apache-2.0
#include "engine/vae/channel_kernels.h"

#include <cmath>

#include "tests/engine/vae/tiny_vae.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace channel_kernels_test {  // not anonymous: test files of a target may compile as one
namespace {

at::Tensor composed_norm(const at::Tensor& x, const at::Tensor& gamma, bool silu) {
  const at::Tensor wide = x.to(at::kDouble);
  const at::Tensor length = at::linalg_vector_norm(wide, 2, at::IntArrayRef{1}, true).clamp_min(1e-12);
  const at::Tensor normed = wide / length * std::sqrt(static_cast<double>(x.size(1))) * gamma.to(at::kDouble);
  return silu ? at::silu(normed) : normed;
}

double relative_error(const at::Tensor& got, const at::Tensor& expected) {
  return ((got.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

}  // namespace

TEST_CASE("the norm kernel gives what ATen's operators give, also into a view", "[vae][vae-kernels]") {
  const at::NoGradGuard no_grad;
  const auto dtype = GENERATE(at::kFloat, at::kBFloat16);
  const int64_t channels = GENERATE(1, 6, 16, 40);
  const bool silu = GENERATE(true, false);
  CAPTURE(dtype, channels, silu);
  const auto channels_last = at::MemoryFormat::ChannelsLast3d;
  const at::Tensor x = at::randn({2, channels, 3, 5, 7}, seeded(20), at::kFloat).to(dtype).contiguous(channels_last);
  const at::Tensor gamma = at::randn({channels, 1, 1, 1}, seeded(21), at::kFloat).to(dtype);
  const at::Tensor buffer = at::zeros({2, channels, 5, 5, 7}, x.options()).contiguous(channels_last);
  const at::Tensor out = buffer.narrow(2, 2, 3);
  if (!kernel_channel_norm(x, gamma, std::sqrt(static_cast<double>(channels)), silu, out)) return;  // no AVX2 here
  CHECK(relative_error(out, composed_norm(x, gamma, silu)) <= (dtype == at::kFloat ? 1e-6 : 4e-3));
  CHECK(buffer.narrow(2, 0, 2).abs().max().item<double>() == 0);
}

TEST_CASE("the norm kernel leaves alone what it does not support", "[vae][vae-kernels]") {
  const at::Tensor gamma = at::ones({4, 1, 1, 1}), rows = at::rand({1, 4, 2, 3, 3});
  const at::Tensor x = rows.contiguous(at::MemoryFormat::ChannelsLast3d);
  at::Tensor out = at::zeros_like(x);
  CHECK_FALSE(kernel_channel_norm(x, gamma, 2.0, true, out));  // gradients are on
  const at::NoGradGuard no_grad;
  CHECK_FALSE(kernel_channel_norm(rows, gamma, 2.0, true, out));  // channels lie apart
  CHECK_FALSE(kernel_channel_norm(x.slice(4, 0, 3, 2), gamma, 2.0, true, out.slice(4, 0, 3, 2)));
  CHECK_FALSE(kernel_channel_norm(x.to(at::kDouble), gamma.to(at::kDouble), 2.0, true, out));
  CHECK(out.abs().max().item<double>() == 0);
}

TEST_CASE("without gradients the VAE takes shortcuts that change nothing", "[vae][vae-kernels]") {
  const TensorMap weights = WanVae::random_weights(tiny_vae_config(), seeded(22), WanVae::Init::kDefault);
  const at::Tensor latents = at::randn({2, 4, 3, 2, 3}, seeded(23), at::kFloat);
  const at::Tensor video = at::rand({2, 3, 9, 16, 24}, seeded(24), at::kFloat) * 2 - 1;
  const WanVae composed = make_vae(tiny_vae_config(), weights, chunks_of(-1));
  const at::Tensor decoded = composed.decode_unclamped(latents), encoded = composed.encode(video);
  const at::NoGradGuard no_grad;
  const WanVae frozen = make_vae(tiny_vae_config(), weights, chunks_of(-1));
  for (const WanVae* vae : {&composed, &frozen}) {
    CHECK(relative_error(vae->decode_unclamped(latents), decoded.to(at::kDouble)) <= 1e-5);
    CHECK(relative_error(vae->encode(video), encoded.to(at::kDouble)) <= 1e-5);
  }
}

}  // namespace channel_kernels_test
}  // namespace vorta::engine
