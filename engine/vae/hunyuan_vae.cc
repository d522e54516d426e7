// SPDX-License-Identifier: Apache-2.0
#include "engine/vae/hunyuan_vae.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "engine/base/error.h"
#include "engine/base/shapes.h"
#include "engine/vae/encode_input.h"
#include "engine/vae/channel_kernels.h"

namespace vorta::engine {
namespace {

constexpr int64_t kColours = 3;
// Frames of a tile behind its first one, and from one tile's start to the next one's.
constexpr int64_t kTileFrames = 16, kStrideFrames = 12;

int64_t last_channels(const HunyuanVaeConfig& config) { return config.channels(config.stages() - 1); }

/// Mixes the last `extent` positions of `previous` into the first ones of `tile`, in place: a ramp from one to the
/// other.
void blend_into(const at::Tensor& previous, const at::Tensor& tile, int64_t axis, int64_t extent) {
  const int64_t shared = std::min({previous.size(axis), tile.size(axis), extent});
  if (shared == 0) return;
  std::vector<int64_t> shape(5, 1);
  shape[static_cast<std::size_t>(axis)] = shared;
  const at::Tensor ramp = (at::arange(shared, tile.options()) / static_cast<double>(shared)).view(shape);
  const at::Tensor head = tile.narrow(axis, 0, shared);
  head.copy_(previous.narrow(axis, previous.size(axis) - shared, shared) * (1 - ramp) + head * ramp);
}

at::Tensor head_of(const at::Tensor& x, int64_t axis, int64_t size) {
  return x.narrow(axis, 0, std::min(size, x.size(axis)));
}

/// Tiles along one axis: sizes and starts in the input, what stays of each and how much is blended in the output.
struct AxisTiles {
  int64_t size, stride, kept, shared;
};

}  // namespace

HunyuanEncoder::HunyuanEncoder(const HunyuanVaeConfig& config, const WeightReader& weights)
    : conv_in_(weights.scope("conv_in"), {kColours, config.channels(0)}),
      mid_(weights.scope("mid_block"), last_channels(config), config.norm_num_groups, config.mid_block_add_attention),
      norm_out_(weights.scope("conv_norm_out"), last_channels(config), config.norm_num_groups),
      conv_out_(weights.scope("conv_out"), {last_channels(config), 2 * config.latent_channels}) {
  int64_t in = config.channels(0);
  for (int64_t i = 0; i < config.stages(); ++i) {
    const WeightReader scope = weights.scope("down_blocks", i);
    Stage& stage = stages_.emplace_back();
    const int64_t out = config.channels(i);
    for (int64_t j = 0; j < config.layers_per_block; ++j, in = out) {
      stage.blocks.emplace_back(scope.scope("resnets", j), in, out, config.norm_num_groups);
    }
    const int64_t time = config.time_step(i), space = config.space_step(i);
    if (time * space > 1) {
      stage.down.emplace(scope.scope("downsamplers.0.conv"), ReplicateConv3d::Shape{out, out, 3, {time, space, space}});
    }
  }
}

at::Tensor HunyuanEncoder::forward(const at::Tensor& x) const {
  at::Tensor y = conv_in_.forward(x);
  for (const Stage& stage : stages_) {
    for (const HunyuanResidual& block : stage.blocks) y = block.forward(y);
    if (stage.down) y = stage.down->forward(y);
  }
  return conv_out_.forward(norm_out_.forward(mid_.forward(y)));
}

HunyuanDecoder::HunyuanDecoder(const HunyuanVaeConfig& config, const WeightReader& weights)
    : conv_in_(weights.scope("conv_in"), {config.latent_channels, last_channels(config)}),
      mid_(weights.scope("mid_block"), last_channels(config), config.norm_num_groups, config.mid_block_add_attention),
      norm_out_(weights.scope("conv_norm_out"), config.channels(0), config.norm_num_groups),
      conv_out_(weights.scope("conv_out"), {config.channels(0), kColours}) {
  int64_t in = last_channels(config);
  for (int64_t i = 0; i < config.stages(); ++i) {
    const WeightReader scope = weights.scope("up_blocks", i);
    Stage& stage = stages_.emplace_back();
    const int64_t out = config.channels(config.stages() - 1 - i);
    for (int64_t j = 0; j <= config.layers_per_block; ++j, in = out) {
      stage.blocks.emplace_back(scope.scope("resnets", j), in, out, config.norm_num_groups);
    }
    const int64_t time = config.time_step(i), space = config.space_step(i);
    if (time * space > 1) stage.up.emplace(scope.scope("upsamplers.0"), out, time, space);
  }
}

at::Tensor HunyuanDecoder::forward(const at::Tensor& x) const {
  at::Tensor y = mid_.forward(conv_in_.forward(x));
  for (const Stage& stage : stages_) {
    for (const HunyuanResidual& block : stage.blocks) y = block.forward(y);
    if (stage.up) y = stage.up->forward(y);
  }
  return conv_out_.forward(norm_out_.forward(y));
}

HunyuanVae::HunyuanVae(const HunyuanVaeConfig& config, const WeightReader& weights, at::ScalarType dtype,
                       VaeOptions options)
    : config_(config),
      dtype_(dtype),
      options_(options),
      encoder_(config, weights.scope("encoder")),
      decoder_(config, weights.scope("decoder")) {
  const int64_t z = config.latent_channels;
  quant_weight_ = weights.take("quant_conv.weight", {2 * z, 2 * z, 1, 1, 1});
  quant_bias_ = weights.take("quant_conv.bias", {2 * z});
  post_quant_weight_ = weights.take("post_quant_conv.weight", {z, z, 1, 1, 1});
  post_quant_bias_ = weights.take("post_quant_conv.bias", {z});
  weights.finish();
  if (!options_.tiling) return;
  const int64_t factor = spatial_factor();
  const VaeTiling& tiling = *options_.tiling;
  for (const int64_t value : {tiling.tile_height, tiling.tile_width, tiling.overlap}) {
    if (value % factor != 0 || value < 0) {
      throw ConfigError("VAE tiling", fmt::format("sizes must be multiples of {}, found {}", factor, value));
    }
  }
  if (tiling.overlap >= std::min(tiling.tile_height, tiling.tile_width)) {
    throw ConfigError("VAE tiling", fmt::format("tiles must be larger than their overlap of {}", tiling.overlap));
  }
}

at::Tensor HunyuanVae::normalize(const at::Tensor& latents) const {
  return latents.to(at::kFloat) * config_.scaling_factor;
}
at::Tensor HunyuanVae::denormalize(const at::Tensor& latents) const {
  return latents.to(at::kFloat) / config_.scaling_factor;
}

at::Tensor HunyuanVae::run_tile(const at::Tensor& x, Direction direction) const {
  const at::Tensor input = x.contiguous(at::MemoryFormat::ChannelsLast3d);
  const auto one_by_one = [](const at::Tensor& y, const at::Tensor& weight, const at::Tensor& bias) {
    return convolution(y, weight, bias, {1, 1, 1}, {0, 0, 0});
  };
  if (direction == Direction::kEncode) return one_by_one(encoder_.forward(input), quant_weight_, quant_bias_);
  return decoder_.forward(one_by_one(input, post_quant_weight_, post_quant_bias_));
}

/// Spatial tiles, blended with the tile above, then with the one to the left; both are blended already.
at::Tensor HunyuanVae::run_places(const at::Tensor& x, Direction direction) const {
  const VaeTiling& tiling = *options_.tiling;
  const int64_t factor = spatial_factor(), height = x.size(3), width = x.size(4);
  const bool decodes = direction == Direction::kDecode;
  const auto tiles_of = [&](int64_t pixels) {
    const int64_t stride = pixels - tiling.overlap, tile = pixels / factor,
                  step = pixels / factor - tiling.overlap / factor;
    return decodes ? AxisTiles{tile, step, stride, tiling.overlap}
                   : AxisTiles{pixels, stride, step, tiling.overlap / factor};
  };
  const AxisTiles rows = tiles_of(tiling.tile_height), columns = tiles_of(tiling.tile_width);
  std::vector<at::Tensor> above, bands;
  for (int64_t y = 0; y < height; y += rows.stride) {
    std::vector<at::Tensor> row, kept;
    for (int64_t left = 0; left < width; left += columns.stride) {
      const at::Tensor part =
          x.narrow(3, y, std::min(rows.size, height - y)).narrow(4, left, std::min(columns.size, width - left));
      const at::Tensor tile = run_tile(part, direction);
      if (!above.empty()) blend_into(above[row.size()], tile, 3, rows.shared);
      if (!row.empty()) blend_into(row.back(), tile, 4, columns.shared);
      row.push_back(tile);
      kept.push_back(head_of(head_of(tile, 3, rows.kept), 4, columns.kept));
    }
    bands.push_back(at::cat(kept, 4));
    above = std::move(row);
  }
  const int64_t out_height = decodes ? height * factor : height / factor;
  const int64_t out_width = decodes ? width * factor : width / factor;
  return head_of(head_of(at::cat(bands, 3), 3, out_height), 4, out_width);
}

/// Tiles in time; those behind the first start one frame early and drop it.
at::Tensor HunyuanVae::run_times(const at::Tensor& x, Direction direction) const {
  const int64_t factor = temporal_factor(), frames = x.size(2);
  const bool decodes = direction == Direction::kDecode;
  const int64_t tile = kTileFrames / factor, stride = kStrideFrames / factor, shared = kTileFrames - kStrideFrames;
  const AxisTiles times = decodes ? AxisTiles{tile, stride, kStrideFrames, shared}
                                  : AxisTiles{kTileFrames, kStrideFrames, stride, shared / factor};
  const auto is_wide = [&](int64_t height, int64_t width) {
    const int64_t unit = decodes ? spatial_factor() : 1;
    return options_.tiling &&
           (height > options_.tiling->tile_height / unit || width > options_.tiling->tile_width / unit);
  };
  const bool places = is_wide(x.size(3), x.size(4));
  at::Tensor previous;
  std::vector<at::Tensor> kept;
  for (int64_t first = 0; first < frames; first += times.stride) {
    const int64_t count = std::min(times.size + 1, frames - first);
    if (first > 0 && count == 1) break;  // nothing but the frame that is dropped
    const at::Tensor part = x.narrow(2, first, count);
    at::Tensor out = places ? run_places(part, direction) : run_tile(part, direction);
    if (first > 0) {
      out = out.narrow(2, 1, out.size(2) - 1);
      blend_into(previous, out, 2, times.shared);
    }
    kept.push_back(head_of(out, 2, times.kept + (first == 0 ? 1 : 0)));
    previous = out;
  }
  const int64_t out_frames = decodes ? (frames - 1) * factor + 1 : (frames - 1) / factor + 1;
  return head_of(at::cat(kept, 2), 2, out_frames);
}

at::Tensor HunyuanVae::run(const at::Tensor& x, Direction direction) const {
  const bool decodes = direction == Direction::kDecode;
  const int64_t tile_frames = decodes ? kTileFrames / temporal_factor() : kTileFrames;
  if (options_.chunk_latent_frames >= 0 && x.size(2) > tile_frames) return run_times(x, direction).to(at::kFloat);
  if (!options_.tiling) return run_tile(x, direction).to(at::kFloat);
  const VaeTiling& tiling = *options_.tiling;
  const int64_t unit = decodes ? spatial_factor() : 1;
  // diffusers compares a decode's width with the stride, its height with the size.
  const int64_t widest = decodes ? (tiling.tile_width - tiling.overlap) / unit : tiling.tile_width;
  const bool places = x.size(3) > tiling.tile_height / unit || x.size(4) > widest;
  return (places ? run_places(x, direction) : run_tile(x, direction)).to(at::kFloat);
}

at::Tensor HunyuanVae::decode_raw(const at::Tensor& latents) const {
  return decode_unclamped(latents).clamp(-1.0, 1.0);
}

at::Tensor HunyuanVae::decode_unclamped(const at::Tensor& latents) const {
  ShapeBinder("VAE").bind(latents.sizes(), "latents", fmt::format("B {} T H W", config_.latent_channels));
  return run(latents.to(dtype_), Direction::kDecode);
}

VaeMoments HunyuanVae::encode_moments(const at::Tensor& video) const {
  check_encode_input(*this, video);
  const auto halves = run(video.to(dtype_), Direction::kEncode).chunk(2, 1);
  return {halves[0], halves[1].clamp(-30.0, 20.0)};
}

}  // namespace vorta::engine
