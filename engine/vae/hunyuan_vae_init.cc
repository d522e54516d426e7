// SPDX-License-Identifier: Apache-2.0
// Random weights and the cost of a decode: both walk the architecture without building it.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/vae/hunyuan_vae.h"

namespace vorta::engine {
namespace {

class HunyuanInitializer {
 public:
  HunyuanInitializer(const HunyuanVaeConfig& config, at::Generator generator)
      : config_(config), generator_(std::move(generator)) {}

  TensorMap run() {
    const int64_t z = config_.latent_channels, last = config_.channels(config_.stages() - 1);
    affine("quant_conv", {2 * z, 2 * z, 1, 1, 1});
    affine("post_quant_conv", {z, z, 1, 1, 1});
    side("encoder", 3, config_.channels(0), last, 2 * z);
    side("decoder", z, last, config_.channels(0), 3);
    for (const bool decodes : {false, true}) stages(decodes);
    return std::move(out_);
  }

 private:
  void side(const std::string& name, int64_t in, int64_t first, int64_t end, int64_t out) {
    conv(name + ".conv_in", in, first, 3);
    norm(name + ".conv_norm_out", end);
    conv(name + ".conv_out", end, out, 3);
    const int64_t middle = config_.channels(config_.stages() - 1);
    for (const char* block : {"resnets.0", "resnets.1"})
      residual(fmt::format("{}.mid_block.{}", name, block), middle, middle);
    if (!config_.mid_block_add_attention) return;
    const std::string attention = name + ".mid_block.attentions.0";
    norm(attention + ".group_norm", middle);
    for (const char* part : {"to_q", "to_k", "to_v", "to_out.0"})
      affine(fmt::format("{}.{}", attention, part), {middle, middle});
  }

  void stages(bool decodes) {
    const int64_t count = config_.stages();
    int64_t in = config_.channels(decodes ? count - 1 : 0);
    for (int64_t i = 0; i < count; ++i) {
      const std::string name = fmt::format("{}.{}", decodes ? "decoder.up_blocks" : "encoder.down_blocks", i);
      const int64_t out = config_.channels(decodes ? count - 1 - i : i);
      for (int64_t j = 0; j < config_.layers_per_block + (decodes ? 1 : 0); ++j, in = out) {
        residual(fmt::format("{}.resnets.{}", name, j), in, out);
      }
      if (config_.time_step(i) * config_.space_step(i) == 1) continue;
      conv(name + (decodes ? ".upsamplers.0.conv" : ".downsamplers.0.conv"), out, out, 3);
    }
  }

  void residual(const std::string& name, int64_t in, int64_t out) {
    norm(name + ".norm1", in);
    conv(name + ".conv1", in, out, 3);
    norm(name + ".norm2", out);
    conv(name + ".conv2", out, out, 3);
    if (in != out) conv(name + ".conv_shortcut", in, out, 1);
  }

  void norm(const std::string& name, int64_t channels) {
    out_[name + ".weight"] = at::ones({channels}, at::kFloat);
    out_[name + ".bias"] = at::zeros({channels}, at::kFloat);
  }

  void conv(const std::string& name, int64_t in, int64_t out, int64_t k) { affine(name + ".conv", {out, in, k, k, k}); }

  void affine(const std::string& name, const std::vector<int64_t>& shape) {
    int64_t fan_in = 1;
    for (std::size_t axis = 1; axis < shape.size(); ++axis) fan_in *= shape[axis];
    const double bound = 1.0 / std::sqrt(static_cast<double>(fan_in));
    out_[name + ".weight"] = at::empty(shape, at::kFloat).uniform_(-bound, bound, generator_);
    out_[name + ".bias"] = at::empty({shape[0]}, at::kFloat).uniform_(-bound, bound, generator_);
  }

  const HunyuanVaeConfig& config_;
  at::Generator generator_;
  TensorMap out_;
};

double conv_flops(double positions, int64_t in, int64_t out, int64_t taps) {
  return 2.0 * positions * static_cast<double>(in) * static_cast<double>(out) * static_cast<double>(taps);
}

double residual_flops(double positions, int64_t in, int64_t out) {
  return conv_flops(positions, in, out, 27) + conv_flops(positions, out, out, 27) +
         (in == out ? 0 : conv_flops(positions, in, out, 1));
}

/// Sizes of the tiles that cover 0..size.
std::vector<int64_t> tile_sizes(int64_t size, int64_t tile, int64_t stride) {
  std::vector<int64_t> sizes;
  for (int64_t first = 0; first < size; first += stride) sizes.push_back(std::min(tile, size - first));
  return sizes;
}

}  // namespace

TensorMap HunyuanVae::random_weights(const HunyuanVaeConfig& config, const at::Generator& generator) {
  const at::NoGradGuard no_grad;
  return HunyuanInitializer(config, generator).run();
}

double HunyuanVae::tile_flops(int64_t frames, int64_t height, int64_t width) const {
  double area = static_cast<double>(height * width);
  auto count = static_cast<double>(frames);
  int64_t in = config_.channels(config_.stages() - 1);
  double sum = conv_flops(count * area, config_.latent_channels, config_.latent_channels, 1) +
               conv_flops(count * area, config_.latent_channels, in, 27) + 2 * residual_flops(count * area, in, in);
  if (config_.mid_block_add_attention) {
    const double pairs = area * area * count * (count + 1) / 2;  // each frame sees itself and those before it
    sum += conv_flops(count * area, in, 4 * in, 1) + 4.0 * pairs * static_cast<double>(in);
  }
  for (int64_t i = 0; i < config_.stages(); ++i) {
    const int64_t out = config_.channels(config_.stages() - 1 - i);
    for (int64_t j = 0; j <= config_.layers_per_block; ++j, in = out) sum += residual_flops(count * area, in, out);
    if (config_.time_step(i) * config_.space_step(i) == 1) continue;
    if (config_.time_step(i) == 2) count = 2 * count - 1;
    area *= static_cast<double>(config_.space_step(i) * config_.space_step(i));
    sum += conv_flops(count * area, out, out, 27);
  }
  return sum + conv_flops(count * area, config_.channels(0), 3, 27);
}

double HunyuanVae::decode_flops(int64_t frames, int64_t height, int64_t width) const {
  std::vector<int64_t> times{frames}, rows{height}, columns{width};
  const bool in_time = options_.chunk_latent_frames >= 0 && frames > 4;
  if (in_time) times = tile_sizes(frames, 5, 3);
  if (in_time && times.back() == 1) times.pop_back();
  if (options_.tiling) {
    const int64_t factor = spatial_factor(), overlap = options_.tiling->overlap / factor;
    const int64_t high = options_.tiling->tile_height / factor, wide = options_.tiling->tile_width / factor;
    if (height > high || width > (in_time ? wide : wide - overlap)) {
      rows = tile_sizes(height, high, high - overlap);
      columns = tile_sizes(width, wide, wide - overlap);
    }
  }
  double sum = 0;
  for (const int64_t t : times) {
    for (const int64_t h : rows) {
      for (const int64_t w : columns) sum += tile_flops(t, h, w);
    }
  }
  return sum;
}

}  // namespace vorta::engine
