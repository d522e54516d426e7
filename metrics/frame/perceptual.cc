// SPDX-License-Identifier: Apache-2.0
#include "metrics/frame/perceptual.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>

#include "engine/base/error.h"
#include "metrics/backbones/conv.h"
#include "metrics/backbones/raft.h"
#include "metrics/backbones/warp.h"
#include "metrics/core/frames_input.h"
#include "metrics/core/scorer_weights.h"
#include "metrics/core/transforms.h"
#include "metrics/vbench/clip.h"
#include "metrics/vbench/dino.h"
#include "metrics/vbench/networks.h"

namespace vorta::metrics {
namespace {

// One network a process and folder of weights: a suite asks for it once a video.
template <typename Network, typename Load>
std::shared_ptr<const Network> kept_network(const Load& load) {
  static std::mutex mutex;
  static std::shared_ptr<const Network> network;
  static std::string root;
  const std::lock_guard lock(mutex);
  const ScorerWeights weights = ScorerWeights::from_environment();
  if (!network || root != weights.root().string()) {
    network = load(ScorerSetup{weights, at::kCPU, {}});
    root = weights.root().string();
  }
  return network;
}

std::shared_ptr<const Lpips> load_lpips(const ScorerSetup& setup) {
  const LoadedWeights alexnet = setup.weights.load("alexnet"), heads = setup.weights.load("lpips_alex");
  return std::make_shared<const Lpips>(engine::WeightReader(alexnet.tensors, alexnet.source, {at::kFloat}),
                                       engine::WeightReader(heads.tensors, heads.source, {at::kFloat}));
}

// Features of frames that the network wants prepared, one frame at a time.
template <typename Prepare, typename Features>
at::Tensor features_of(const at::Tensor& frames, const Prepare& prepare, const Features& features) {
  return in_batches(eight_bit(frames), at::kCPU, prepare, features);
}

// [1, 3, Y, X] float 0..1 of frame f.
at::Tensor float_frame(const at::Tensor& frames, int64_t f) {
  return unit_range(frames.narrow(0, f, 1)).to(at::kFloat);
}

at::Tensor squared_length(const at::Tensor& flow) { return flow.square().sum(1, /*keepdim=*/true); }

// Whether every pixel plus its flow lies inside the frame: [1, 1, Y, X] bool.
at::Tensor leads_inside(const at::Tensor& flow) {
  const int64_t height = flow.size(2), width = flow.size(3);
  const at::Tensor x = at::arange(width, at::kFloat).view({1, 1, 1, width}) + flow.narrow(1, 0, 1);
  const at::Tensor y = at::arange(height, at::kFloat).view({1, 1, height, 1}) + flow.narrow(1, 1, 1);
  return x.ge(0).logical_and(x.le(width - 1)).logical_and(y.ge(0)).logical_and(y.le(height - 1));
}

constexpr int64_t kWarpIterations = 20, kWarpMultiple = 8, kWarpLeastSide = 121;

}  // namespace

double feature_distance(const at::Tensor& features, const at::Tensor& reference) {
  const at::Tensor cosine = at::cosine_similarity(features.to(at::kDouble), reference.to(at::kDouble), -1, 1e-8);
  return 1.0 - cosine.mean().item<double>();
}

double clip_distance(const at::Tensor& frames, const at::Tensor& reference) {
  const at::NoGradGuard no_grad;
  check_pair(frames, reference, "clip_distance");
  const auto clip = kept_network<Clip>([](const ScorerSetup& setup) {
    return load_network<Clip>(setup, "clip_vitb32", kClipB32, Clip::Towers::kImage);
  });
  const auto look = [&](const at::Tensor& seen) {
    return features_of(
        seen, [](const at::Tensor& batch) { return clip_images(batch, Resize::kFloat); },
        [&](const at::Tensor& images) { return clip->image.features(images); });
  };
  return feature_distance(look(frames), look(reference));
}

double dino_distance(const at::Tensor& frames, const at::Tensor& reference) {
  const at::NoGradGuard no_grad;
  check_pair(frames, reference, "dino_distance");
  const auto dino =
      kept_network<Dino>([](const ScorerSetup& setup) { return load_network<Dino>(setup, "dino_vitb16"); });
  const auto look = [&](const at::Tensor& seen) {
    return features_of(
        seen, [](const at::Tensor& batch) { return dino_images(batch, Resize::kFloat); },
        [&](const at::Tensor& images) { return dino->features(images); });
  };
  return feature_distance(look(frames), look(reference));
}

Lpips::Lpips(const engine::WeightReader& alexnet, const engine::WeightReader& heads) {
  struct Layer {
    int64_t index, out, in, kernel;
  };
  constexpr std::array<Layer, kLayers> kLayout{
      {{0, 64, 3, 11}, {3, 192, 64, 5}, {6, 384, 192, 3}, {8, 256, 384, 3}, {10, 256, 256, 3}}};
  for (std::size_t i = 0; i < kLayers; ++i) {
    const Layer& layer = kLayout[i];
    const engine::WeightReader reader = alexnet.scope("features", layer.index);
    weights_[i] = reader.take("weight", {layer.out, layer.in, layer.kernel, layer.kernel});
    biases_[i] = reader.take("bias", {layer.out});
    heads_[i] = heads.take(fmt::format("lin{}.model.1.weight", i), {1, layer.out, 1, 1});
  }
  alexnet.ignore("classifier");
  alexnet.finish();
  heads.finish();
}

std::array<at::Tensor, Lpips::kLayers> Lpips::features(const at::Tensor& images) const {
  constexpr std::array<int64_t, kLayers> kStride{4, 1, 1, 1, 1}, kPadding{2, 2, 1, 1, 1};
  constexpr std::array<bool, kLayers> kPooled{false, true, true, false, false};  // before the layer
  constexpr double kLpipsEps = 1e-10;
  const at::Tensor shift = at::tensor({-0.030, -0.088, -0.188}, at::kFloat).view({1, 3, 1, 1});
  const at::Tensor scale = at::tensor({0.458, 0.448, 0.450}, at::kFloat).view({1, 3, 1, 1});
  at::Tensor x = (images - shift) / scale;
  std::array<at::Tensor, kLayers> out;
  for (std::size_t i = 0; i < kLayers; ++i) {
    if (kPooled[i]) x = at::max_pool2d(x, {3, 3}, {2, 2});
    x = at::conv2d(x, weights_[i], biases_[i], {kStride[i], kStride[i]}, {kPadding[i], kPadding[i]}).relu_();
    out[i] = x / (squared_length(x).sqrt() + kLpipsEps);
  }
  return out;
}

at::Tensor Lpips::distance(const at::Tensor& frames, const at::Tensor& reference) const {
  const auto a = features(frames), b = features(reference);
  at::Tensor sum = at::zeros({frames.size(0)}, at::kDouble);
  for (std::size_t i = 0; i < kLayers; ++i) {
    sum += at::conv2d((a[i] - b[i]).square(), heads_[i]).to(at::kDouble).flatten(1).mean(1);
  }
  return sum;
}

double lpips(const at::Tensor& frames, const at::Tensor& reference) {
  constexpr int64_t kLpipsLeastSide = 31;  // AlexNet's last pooling needs three pixels
  const at::NoGradGuard no_grad;
  check_pair(frames, reference, "lpips");
  if (std::min(frames.size(2), frames.size(3)) < kLpipsLeastSide) {
    throw ConfigError("lpips", fmt::format("expected frames of at least {0}x{0} pixels, found {1}x{2}", kLpipsLeastSide,
                                           frames.size(2), frames.size(3)));
  }
  const auto network = kept_network<Lpips>(&load_lpips);
  double sum = 0.0;
  for (int64_t f = 0; f < frames.size(0); ++f) {
    sum += network->distance(2 * float_frame(frames, f) - 1, 2 * float_frame(reference, f) - 1).item<double>();
  }
  return sum / static_cast<double>(frames.size(0));
}

MaskedDifference masked_difference(const at::Tensor& now, const at::Tensor& next, const at::Tensor& forward,
                                   const at::Tensor& backward) {
  constexpr double kShare = 0.01, kSlack = 0.5;
  const at::Tensor back = warp(backward.contiguous(kChannelsLast), forward);
  const at::Tensor limit = kShare * (squared_length(forward) + squared_length(back)) + kSlack;
  const at::Tensor mask = squared_length(forward + back).lt(limit).logical_and(leads_inside(forward)).to(at::kDouble);
  const at::Tensor drawn = warp(next.contiguous(kChannelsLast), forward);
  const at::Tensor difference = (now - drawn).to(at::kDouble).square().mean(1, /*keepdim=*/true);
  return {(difference * mask).sum().item<double>(), mask.sum().item<double>()};
}

double warp_error(const at::Tensor& frames, const at::Tensor& reference) {
  const at::NoGradGuard no_grad;
  check_pair(frames, reference, "warp_error");
  const int64_t height = frames.size(2), width = frames.size(3);
  if (frames.size(0) < 2) throw ConfigError("warp_error", "expected at least 2 frames to compare, found 1");
  if (std::min(height, width) < kWarpLeastSide) {
    throw ConfigError("warp_error", fmt::format("expected frames of at least {0}x{0} pixels, found {1}x{2}",
                                                kWarpLeastSide, height, width));
  }
  const auto raft =
      kept_network<Raft>([](const ScorerSetup& setup) { return load_network<Raft>(setup, "raft_things"); });
  const auto encode = [&](int64_t f) {
    return raft->encode(pad_to_multiple(float_frame(reference, f) * 255.0, kWarpMultiple));
  };
  const auto flow = [&](const Raft::Image& from, const Raft::Image& to) {  // without the padding
    const at::Tensor padded = raft->flow(from, to, kWarpIterations);
    const int64_t top = (padded.size(2) - height) / 2, left = (padded.size(3) - width) / 2;
    return padded.slice(2, top, top + height).slice(3, left, left + width).contiguous();
  };
  double sum = 0.0, pairs = 0.0;
  Raft::Image before = encode(0);
  for (int64_t f = 0; f + 1 < frames.size(0); ++f) {
    Raft::Image after = encode(f + 1);
    const MaskedDifference found =
        masked_difference(float_frame(frames, f), float_frame(frames, f + 1), flow(before, after), flow(after, before));
    if (found.pixels > 0) {
      sum += found.sum / found.pixels;
      pairs += 1.0;
    }
    before = std::move(after);
  }
  if (pairs == 0)
    throw ConfigError("warp_error", "the reference's flow is consistent at no pixel: there is nothing to compare");
  return sum / pairs;
}

}  // namespace vorta::metrics
