// SPDX-License-Identifier: Apache-2.0
// Random weights. The identity-leaning start follows the recipe that trained: a plain random start stalls at a grey
// video, because noise of variance one drowns the small latent it produces.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>

#include "engine/vae/wan_vae.h"

namespace vorta::engine {
namespace {

enum class Role { kPlain, kFirst, kSecond, kProjection, kCopy, kShrink, kTimeDouble, kTimeHalve, kQuant, kLast };

constexpr double kActivationGain = 1.4;  // of SiLU
constexpr double kResidualGain = 0.2, kProjectionGain = 0.2, kRandomPart = 0.5, kTimeRandomPart = 0.1, kLastGain = 0.3;
constexpr double kLogVarianceBias = -6.0;

class Initializer {
 public:
  Initializer(const WanVaeConfig& config, at::Generator generator, WanVae::Init init, at::Device device)
      : config_(config),
        generator_(std::move(generator)),
        init_(init),
        options_(at::TensorOptions().dtype(at::kFloat).device(device)) {}

  TensorMap run() {
    encoder();
    conv("quant_conv", {2 * config_.z_dim, 2 * config_.z_dim, 1, 1, 1}, Role::kQuant);
    conv("post_quant_conv", {config_.z_dim, config_.z_dim, 1, 1, 1}, Role::kQuant);
    decoder();
    if (init_ == WanVae::Init::kIdentity) special_biases();
    return std::move(out_);
  }

 private:
  void encoder() {
    conv3("encoder.conv_in", 3, config_.stage_dim(-1), Role::kCopy);
    int64_t index = 0, in = config_.stage_dim(-1);
    double scale = 1;
    for (int64_t stage = 0; stage < config_.stages(); ++stage, scale /= 2) {
      const int64_t out = config_.stage_dim(stage);
      for (int64_t j = 0; j < config_.num_res_blocks; ++j, in = out) {
        residual(fmt::format("encoder.down_blocks.{}", index++), in, out);
        for (double wanted : config_.attn_scales) {
          if (wanted == scale) attention(fmt::format("encoder.down_blocks.{}", index++), out);
        }
      }
      if (stage + 1 == config_.stages()) break;
      const std::string name = fmt::format("encoder.down_blocks.{}", index++);
      conv(name + ".resample.1", {out, out, 3, 3}, Role::kShrink);
      if (config_.temporal_downsample[stage]) conv(name + ".time_conv", {out, out, 3, 1, 1}, Role::kTimeHalve);
    }
    middle("encoder.mid_block", in);
    gamma("encoder.norm_out", in, 4);
    conv3("encoder.conv_out", in, 2 * config_.z_dim, Role::kCopy);
  }

  void decoder() {
    int64_t in = config_.stage_dim(config_.stages() - 1);
    conv3("decoder.conv_in", config_.z_dim, in, Role::kCopy);
    middle("decoder.mid_block", in);
    for (int64_t i = 0; i < config_.stages(); ++i) {
      const int64_t stage = config_.stages() - 1 - i, out = config_.stage_dim(stage);
      const std::string name = fmt::format("decoder.up_blocks.{}", i);
      for (int64_t j = 0; j <= config_.num_res_blocks; ++j, in = out) {
        residual(fmt::format("{}.resnets.{}", name, j), in, out);
      }
      if (stage == 0) break;
      conv(name + ".upsamplers.0.resample.1", {out / 2, out, 3, 3}, Role::kCopy);
      if (config_.temporal_downsample[stage - 1]) {
        conv(name + ".upsamplers.0.time_conv", {2 * out, out, 3, 1, 1}, Role::kTimeDouble);
      }
      in = out / 2;
    }
    gamma("decoder.norm_out", in, 4);
    conv3("decoder.conv_out", in, 3, Role::kLast);
  }

  void middle(const std::string& name, int64_t channels) {
    residual(name + ".resnets.0", channels, channels);
    attention(name + ".attentions.0", channels);
    residual(name + ".resnets.1", channels, channels);
  }

  void residual(const std::string& name, int64_t in, int64_t out) {
    gamma(name + ".norm1", in, 4);
    conv3(name + ".conv1", in, out, Role::kFirst);
    gamma(name + ".norm2", out, 4);
    conv3(name + ".conv2", out, out, Role::kSecond);
    if (in != out) conv(name + ".conv_shortcut", {out, in, 1, 1, 1}, Role::kCopy);
  }

  void attention(const std::string& name, int64_t channels) {
    gamma(name + ".norm", channels, 3);
    conv(name + ".to_qkv", {3 * channels, channels, 1, 1}, Role::kPlain);
    conv(name + ".proj", {channels, channels, 1, 1}, Role::kProjection);
  }

  void gamma(const std::string& name, int64_t channels, int64_t axes) {
    std::vector<int64_t> shape(axes, 1);
    shape[0] = channels;
    out_[name + ".gamma"] = at::ones(shape, options_);
  }

  void conv3(const std::string& name, int64_t in, int64_t out, Role role) { conv(name, {out, in, 3, 3, 3}, role); }

  void conv(const std::string& name, std::vector<int64_t> shape, Role role) {
    int64_t fan_in = 1;
    for (std::size_t axis = 1; axis < shape.size(); ++axis) fan_in *= shape[axis];
    const double bound = 1.0 / std::sqrt(static_cast<double>(fan_in));
    if (init_ == WanVae::Init::kDefault) {
      out_[name + ".weight"] = at::empty(shape, options_).uniform_(-bound, bound, generator_);
      out_[name + ".bias"] = at::empty({shape[0]}, options_).uniform_(-bound, bound, generator_);
      return;
    }
    at::Tensor weight = at::empty(shape, options_).normal_(0.0, bound, generator_);
    lean(weight, role);
    out_[name + ".weight"] = weight;
    out_[name + ".bias"] = at::zeros({shape[0]}, options_);
  }

  // Adds `value` to the diagonal of the shared channels in the tap `where` (the trailing indices of the weight).
  static void add_copy(const at::Tensor& weight, std::vector<int64_t> where, double value, int64_t row0 = 0) {
    at::Tensor tap = weight.narrow(0, row0, weight.size(0) - row0);
    for (int64_t index : where) tap = tap.select(2, index);
    tap.diagonal().add_(value);
  }

  static void lean(at::Tensor& weight, Role role) {
    const bool video = weight.dim() == 5;
    const int64_t k = weight.size(-1);
    switch (role) {
      case Role::kPlain: return;
      case Role::kFirst: weight.mul_(kActivationGain); return;
      case Role::kSecond: weight.mul_(kActivationGain * kResidualGain); return;
      case Role::kProjection: weight.mul_(kProjectionGain); return;
      case Role::kQuant:
        weight.zero_();
        add_copy(weight, {0, 0, 0}, 1.0);
        return;
      case Role::kCopy:
      case Role::kLast:
        weight.mul_(kRandomPart);
        // The centre in space, the present in time (the last tap of a causal convolution).
        add_copy(weight, video ? std::vector<int64_t>{k - 1, k / 2, k / 2} : std::vector<int64_t>{k / 2, k / 2}, 1.0);
        if (role == Role::kLast) weight.mul_(kLastGain);
        return;
      case Role::kShrink:
        weight.mul_(kRandomPart);
        for (int64_t tap = 0; tap < 4; ++tap) add_copy(weight, {tap / 2, tap % 2}, 0.25);
        return;
      case Role::kTimeDouble:
        weight.mul_(kTimeRandomPart);
        add_copy(weight.narrow(0, 0, weight.size(1)), {2, 0, 0}, 1.0);
        add_copy(weight, {2, 0, 0}, 1.0, weight.size(1));
        return;
      case Role::kTimeHalve:
        weight.mul_(kTimeRandomPart);
        add_copy(weight, {1, 0, 0}, 0.5);
        add_copy(weight, {2, 0, 0}, 0.5);
        return;
    }
  }

  // The norms forget brightness; one constant channel beside the copied ones lets the network recover it.
  void constant_channel(const std::string& name, int64_t copied) {
    at::Tensor& bias = out_[name + ".bias"];
    if (copied < bias.size(0)) bias.select(0, copied).fill_(1.0);
  }

  void special_biases() {
    constant_channel("encoder.conv_in", 3);
    constant_channel("decoder.conv_in", config_.z_dim);
    out_["quant_conv.bias"].narrow(0, config_.z_dim, config_.z_dim).fill_(kLogVarianceBias);
  }

  const WanVaeConfig& config_;
  at::Generator generator_;
  WanVae::Init init_;
  at::TensorOptions options_;
  TensorMap out_;
};

}  // namespace

TensorMap WanVae::random_weights(const WanVaeConfig& config, const at::Generator& generator, Init init,
                                 at::Device device) {
  const at::NoGradGuard no_grad;
  return Initializer(config, generator, init, device).run();
}

}  // namespace vorta::engine
