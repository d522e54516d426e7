// SPDX-License-Identifier: Apache-2.0
#include "engine/scorers/flow_network.h"

#include <ATen/ATen.h>

#include <cmath>

namespace vorta::engine {
namespace {

constexpr int64_t kQuarter = 32;
constexpr int64_t kEighth = 64;
constexpr int64_t kCells = 3;  // of an eighth, each way: 24 pixels
constexpr int64_t kWindow = (2 * kCells + 1) * (2 * kCells + 1);

std::vector<ScorerConv> coarse_convs(const ParameterSource& source) {
  std::vector<ScorerConv> convs;
  convs.emplace_back(source, "coarse.0", at::IntArrayRef{64, kWindow + kEighth, 3, 3}, 1, 1.4);
  convs.emplace_back(source, "coarse.1", at::IntArrayRef{64, 64, 3, 3}, 1, 1.4);
  convs.emplace_back(source, "coarse.2", at::IntArrayRef{64, 64, 3, 3}, 1, 1.4);
  convs.emplace_back(source, "coarse.3", at::IntArrayRef{2, 64, 3, 3}, 1, 0.1);
  return convs;
}

std::vector<ScorerConv> fine_convs(const ParameterSource& source) {
  std::vector<ScorerConv> convs;
  convs.emplace_back(source, "fine.0", at::IntArrayRef{48, 2 * kQuarter + 2, 1, 1}, 1, 1.4);
  convs.emplace_back(source, "fine.1", at::IntArrayRef{32, 48, 3, 3}, 1, 1.4);
  convs.emplace_back(source, "fine.2", at::IntArrayRef{32, 32, 3, 3}, 1, 1.4);
  convs.emplace_back(source, "fine.3", at::IntArrayRef{2, 32, 3, 3}, 1, 0.1);
  return convs;
}

// Inner products of every cell of `a` with the cells of `b` within kCells, 0 outside: [B, 49, H, W].
at::Tensor window_products(const at::Tensor& a, const at::Tensor& b) {
  const int64_t height = a.size(2), width = a.size(3);
  const at::Tensor padded = at::constant_pad_nd(b, {kCells, kCells, kCells, kCells});
  std::vector<at::Tensor> products;
  for (int64_t dy = 0; dy <= 2 * kCells; ++dy) {
    for (int64_t dx = 0; dx <= 2 * kCells; ++dx) {
      products.push_back((a * padded.slice(2, dy, dy + height).slice(3, dx, dx + width)).sum(1, /*keepdim=*/true));
    }
  }
  return at::cat(products, 1) * (1 / std::sqrt(static_cast<double>(a.size(1))));
}

// b at every pixel plus its flow, in cells of b; the border continues.
at::Tensor sampled(const at::Tensor& b, const at::Tensor& flow) {
  const int64_t height = b.size(2), width = b.size(3);
  const auto options = flow.options();
  const at::Tensor x = at::arange(width, options) + flow.select(1, 0),
                   y = at::arange(height, options).unsqueeze(-1) + flow.select(1, 1);
  const at::Tensor grid = at::stack({(2 * x + 1) / width - 1, (2 * y + 1) / height - 1}, -1);
  // In float32: the coordinates need more bits than bfloat16 has.
  return at::grid_sampler(b.to(at::kFloat), grid, /*bilinear*/ 0, /*border*/ 1, /*align_corners=*/false)
      .to(b.scalar_type());
}

}  // namespace

FlowNetwork::FlowNetwork(const ParameterSource& source)
    : stem_(source, "stem", {24, 3, 5, 5}, 2, 1.4),
      quarter_(source, "quarter", {kQuarter, 24, 3, 3}, 2, 1.4),
      quarter_block_(source.scope("quarter_block"), kQuarter),
      eighth_(source, "eighth", {kEighth, kQuarter, 3, 3}, 2, 1.4),
      eighth_block_(source.scope("eighth_block"), kEighth),
      coarse_(coarse_convs(source)),
      fine_(fine_convs(source)) {}

FlowNetwork::Features FlowNetwork::encode(const at::Tensor& images) const {
  Features features;
  features.quarter = quarter_block_(quarter_(at::silu(stem_(images))));
  features.eighth = eighth_block_(eighth_(at::silu(features.quarter)));
  return features;
}

FlowNetwork::Flow FlowNetwork::flow(const Features& from, const Features& to) const {
  const auto run = [](const std::vector<ScorerConv>& convs, at::Tensor x) {
    for (size_t i = 0; i + 1 < convs.size(); ++i) x = at::silu(convs[i](x));
    return convs.back()(x);
  };
  Flow out;
  const at::Tensor products = window_products(from.eighth, to.eighth);
  out.coarse = run(coarse_, at::cat({products, from.eighth}, 1)).to(at::kFloat) * 8;
  const at::Tensor start =
      at::upsample_bilinear2d(out.coarse, {from.quarter.size(2), from.quarter.size(3)}, /*align_corners=*/false);
  const at::Tensor there = sampled(to.quarter, start.detach() / kStride);
  const at::Tensor inputs = at::cat({from.quarter, there, (start / 8).to(there.scalar_type())}, 1);
  out.fine = start + run(fine_, inputs).to(at::kFloat) * 4;
  return out;
}

}  // namespace vorta::engine
