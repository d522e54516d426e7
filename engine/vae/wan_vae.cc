// SPDX-License-Identifier: Apache-2.0
#include "engine/vae/wan_vae.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "engine/base/error.h"
#include "engine/base/shapes.h"
#include "engine/vae/encode_input.h"
#include "engine/vae/tiling.h"

namespace vorta::engine {
namespace {

constexpr int64_t kPixelChannels = 3;
// Live copies of the widest activation at the peak: the input, its upsampled copy, the output, one temporary.
constexpr int64_t kLiveActivations = 4;
// On a CPU shorter chunks are faster: buffers of a few ten MB are recycled by the allocator and found in the cache,
// those of whole videos are mapped and cleared page by page at every layer.
constexpr int64_t kFastestCpuBytes = int64_t{128} << 20;

ResampleAxes axes_of(bool with_time) { return with_time ? ResampleAxes::kSpaceTime : ResampleAxes::kSpace; }

bool has_attention(const WanVaeConfig& config, double scale) {
  return std::find(config.attn_scales.begin(), config.attn_scales.end(), scale) != config.attn_scales.end();
}

at::Tensor per_channel(const std::vector<double>& values) {
  return at::tensor(values, at::kDouble).to(at::kFloat).view({1, static_cast<int64_t>(values.size()), 1, 1, 1});
}

at::Tensor prepared(const at::Tensor& x, at::ScalarType dtype) {
  return x.to(dtype).contiguous(at::MemoryFormat::ChannelsLast3d);
}

}  // namespace

WanEncoder::WanEncoder(const WanVaeConfig& config, const WeightReader& weights)
    : conv_in_(weights.scope("conv_in"), {kPixelChannels, config.stage_dim(-1), 3}),
      mid_(weights.scope("mid_block"), config.stage_dim(config.stages() - 1)),
      norm_out_(weights.scope("norm_out"), config.stage_dim(config.stages() - 1), ChannelNorm::Kind::kVideo),
      conv_out_(weights.scope("conv_out"), {config.stage_dim(config.stages() - 1), 2 * config.z_dim, 3}) {
  int64_t index = 0;
  double scale = 1.0;
  for (int64_t stage = 0; stage < config.stages(); ++stage) {
    const int64_t out = config.stage_dim(stage);
    for (int64_t block = 0; block < config.num_res_blocks; ++block) {
      const int64_t in = block == 0 ? config.stage_dim(stage - 1) : out;
      down_.emplace_back(std::in_place_type<ResidualBlock>, weights.scope("down_blocks", index++), in, out);
      if (has_attention(config, scale)) {
        down_.emplace_back(std::in_place_type<FrameAttention>, weights.scope("down_blocks", index++), out);
      }
    }
    if (stage + 1 == config.stages()) break;
    down_.emplace_back(std::in_place_type<Downsample>, weights.scope("down_blocks", index++), out,
                       axes_of(config.temporal_downsample[stage]));
    scale /= 2;
  }
}

at::Tensor WanEncoder::forward(const at::Tensor& x, CausalStream& stream) const {
  at::Tensor y = conv_in_.forward(x, stream);
  for (const Layer& layer : down_) {
    if (const auto* block = std::get_if<ResidualBlock>(&layer)) y = block->forward(y, stream);
    if (const auto* attention = std::get_if<FrameAttention>(&layer)) y = attention->forward(y);
    if (const auto* resample = std::get_if<Downsample>(&layer)) y = resample->forward(y, stream);
  }
  return conv_out_.forward_activated(norm_out_, mid_.forward(y, stream), stream);
}

WanDecoder::WanDecoder(const WanVaeConfig& config, const WeightReader& weights)
    : conv_in_(weights.scope("conv_in"), {config.z_dim, config.stage_dim(config.stages() - 1), 3}),
      mid_(weights.scope("mid_block"), config.stage_dim(config.stages() - 1)),
      norm_out_(weights.scope("norm_out"), config.stage_dim(0), ChannelNorm::Kind::kVideo),
      conv_out_(weights.scope("conv_out"), {config.stage_dim(0), kPixelChannels, 3}) {
  int64_t in = config.stage_dim(config.stages() - 1);
  for (int64_t i = 0; i < config.stages(); ++i) {
    const int64_t stage = config.stages() - 1 - i;  // the encoder's stage that this one mirrors
    const WeightReader block = weights.scope("up_blocks", i);
    const int64_t out = config.stage_dim(stage);
    for (int64_t j = 0; j <= config.num_res_blocks; ++j) {
      up_.emplace_back(std::in_place_type<ResidualBlock>, block.scope("resnets", j), j == 0 ? in : out, out);
    }
    if (stage == 0) break;
    up_.emplace_back(std::in_place_type<Upsample>, block.scope("upsamplers.0"), out,
                     axes_of(config.temporal_downsample[stage - 1]));
    in = out / 2;
  }
}

at::Tensor WanDecoder::forward(const at::Tensor& x, CausalStream& stream) const {
  at::Tensor y = mid_.forward(conv_in_.forward(x, stream), stream);
  for (const Layer& layer : up_) y = std::visit([&](const auto& part) { return part.forward(y, stream); }, layer);
  return conv_out_.forward_activated(norm_out_, y, stream);
}

WanVae::WanVae(const WanVaeConfig& config, const WeightReader& weights, at::ScalarType dtype, VaeOptions options)
    : config_(config),
      dtype_(dtype),
      options_(options),
      encoder_(config, weights.scope("encoder")),
      quant_conv_(weights.scope("quant_conv"), {2 * config.z_dim, 2 * config.z_dim, 1}),
      post_quant_conv_(weights.scope("post_quant_conv"), {config.z_dim, config.z_dim, 1}),
      decoder_(config, weights.scope("decoder")),
      mean_(per_channel(config.latents_mean)),
      reciprocal_std_(per_channel(config.latents_std).reciprocal()) {
  weights.finish();
  if (options_.tiling) {
    const int64_t factor = spatial_factor();
    for (int64_t value : {options_.tiling->tile_height, options_.tiling->tile_width, options_.tiling->overlap}) {
      if (value % factor != 0) {
        throw ConfigError("VAE tiling", fmt::format("sizes must be multiples of {}, found {}", factor, value));
      }
    }
  }
}

void WanVae::check_latents(const at::Tensor& latents) const {
  ShapeBinder("VAE").bind(latents.sizes(), "latents", fmt::format("B {} T H W", config_.z_dim));
}

at::Tensor WanVae::normalize(const at::Tensor& latents) const {
  check_latents(latents);
  return (latents.to(at::kFloat) - mean_.to(latents.device())) * reciprocal_std_.to(latents.device());
}

// diffusers divides by the rounded reciprocal instead of multiplying by std; so do we, to the bit.
at::Tensor WanVae::denormalize(const at::Tensor& latents) const {
  check_latents(latents);
  return latents.to(at::kFloat) / reciprocal_std_.to(latents.device()) + mean_.to(latents.device());
}

at::Tensor WanVae::decode_raw(const at::Tensor& latents) const { return decode_unclamped(latents).clamp(-1.0, 1.0); }

at::Tensor WanVae::decode_unclamped(const at::Tensor& latents) const {
  check_latents(latents);
  const auto& tiling = options_.tiling;
  const int64_t factor = spatial_factor();
  if (!tiling || (latents.size(3) * factor <= tiling->tile_height && latents.size(4) * factor <= tiling->tile_width)) {
    return decode_stream(latents).to(at::kFloat);
  }
  const int64_t overlap = tiling->overlap / factor;
  return run_tiled(latents, plan_tile_axis(latents.size(3), tiling->tile_height / factor, overlap),
                   plan_tile_axis(latents.size(4), tiling->tile_width / factor, overlap), {factor, 1},
                   [this](const at::Tensor& tile) { return decode_stream(tile); });
}

VaeMoments WanVae::encode_moments(const at::Tensor& video) const {
  check_encode_input(*this, video);
  const int64_t space = spatial_factor(), height = video.size(3), width = video.size(4);
  const auto& tiling = options_.tiling;
  at::Tensor moments;
  if (!tiling || (height <= tiling->tile_height && width <= tiling->tile_width)) {
    moments = encode_stream(video).to(at::kFloat);
  } else {
    moments = run_tiled(video, plan_tile_axis(height, tiling->tile_height, tiling->overlap),
                        plan_tile_axis(width, tiling->tile_width, tiling->overlap), {1, space},
                        [this](const at::Tensor& tile) { return encode_stream(tile); });
  }
  const auto halves = moments.chunk(2, 1);
  return {halves[0], halves[1].clamp(-30.0, 20.0)};
}

// Latent frames a chunk: the largest number whose widest activation fits the budget, at least one.
int64_t WanVae::chunk_frames(const at::Tensor& x, int64_t pixels_high, int64_t pixels_wide) const {
  constexpr int64_t kAll = INT64_MAX;
  if (options_.chunk_latent_frames != 0) {
    return options_.chunk_latent_frames < 0 ? kAll : options_.chunk_latent_frames;
  }
  // At full size the widest activation is what the last upsampling (or the first stage) holds.
  const int64_t channels =
      config_.stages() > 1 ? std::max(config_.stage_dim(0), config_.stage_dim(1)) : config_.stage_dim(0);
  const auto element = static_cast<int64_t>(at::elementSize(dtype_));
  const int64_t bytes =
      x.size(0) * temporal_factor() * pixels_high * pixels_wide * channels * element * kLiveActivations;
  // With gradients every chunk's activations stay anyway.
  const bool prefers_short = x.device().is_cpu() && !at::GradMode::is_enabled();
  const int64_t budget =
      prefers_short ? std::min(kFastestCpuBytes, options_.max_activation_bytes) : options_.max_activation_bytes;
  return std::max<int64_t>(1, budget / std::max<int64_t>(1, bytes));
}

at::Tensor WanVae::decode_stream(const at::Tensor& latents) const {
  const int64_t frames = latents.size(2), factor = spatial_factor();
  const int64_t step = chunk_frames(latents, latents.size(3) * factor, latents.size(4) * factor);
  CausalStream stream;
  const at::Tensor x = post_quant_conv_.forward(prepared(latents, dtype_), stream);
  std::vector<at::Tensor> chunks;
  for (int64_t start = 0; start < frames;) {
    const int64_t count = std::min(step, frames - start);
    stream.begin_chunk(start + count == frames);
    chunks.push_back(decoder_.forward(x.narrow(2, start, count), stream));
    start += count;
  }
  return chunks.size() == 1 ? chunks.front() : at::cat(chunks, 2);
}

at::Tensor WanVae::encode_stream(const at::Tensor& video) const {
  const int64_t time = temporal_factor(), latent_frames = 1 + (video.size(2) - 1) / time;
  const int64_t step = chunk_frames(video, video.size(3), video.size(4));
  CausalStream stream;
  std::vector<at::Tensor> chunks;
  for (int64_t start = 0; start < latent_frames;) {
    const int64_t count = std::min(step, latent_frames - start);
    // Latent frame 0 is pixel frame 0; every other one is `time` pixel frames.
    const int64_t first = start == 0 ? 0 : 1 + (start - 1) * time;
    const int64_t pixels = start == 0 ? 1 + (count - 1) * time : count * time;
    stream.begin_chunk(start + count == latent_frames);
    chunks.push_back(encoder_.forward(prepared(video.narrow(2, first, pixels), dtype_), stream));
    start += count;
  }
  return quant_conv_.forward(chunks.size() == 1 ? chunks.front() : at::cat(chunks, 2), stream);
}

}  // namespace vorta::engine
