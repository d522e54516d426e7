// SPDX-License-Identifier: Apache-2.0
#include "engine/vae/hunyuan_blocks.h"

#include <ATen/ATen.h>

#include "engine/vae/channel_kernels.h"

namespace vorta::engine {
namespace {

constexpr double kGroupNormEps = 1e-6;

/// x [.., n, ..] -> [.., n * times, ..] along `axis`: a, a, b, b, ..
at::Tensor repeat_each(const at::Tensor& x, int64_t axis, int64_t times) {
  if (times == 1) return x;
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.insert(sizes.begin() + axis + 1, times);
  return x.unsqueeze(axis + 1).expand(sizes).flatten(axis, axis + 1);
}

}  // namespace

GroupNormSilu::GroupNormSilu(const WeightReader& weights, int64_t channels, int64_t groups)
    : groups_(groups), weight_(weights.take("weight", {channels})), bias_(weights.take("bias", {channels})) {}

at::Tensor GroupNormSilu::norm(const at::Tensor& x) const {
  return at::group_norm(x, groups_, weight_, bias_, kGroupNormEps);
}
at::Tensor GroupNormSilu::forward(const at::Tensor& x) const { return at::silu(norm(x)); }

ReplicateConv3d::ReplicateConv3d(const WeightReader& weights, const Shape& shape)
    : kernel_(shape.kernel), stride_(shape.stride) {
  const int64_t k = kernel_;
  weight_ = weights.take("conv.weight", {shape.out, shape.in, k, k, k});
  bias_ = weights.take("conv.bias", {shape.out});
}

at::Tensor ReplicateConv3d::forward(const at::Tensor& x) const {
  const int64_t side = kernel_ / 2;
  const at::Tensor padded = kernel_ == 1 ? x : at::replication_pad3d(x, {side, side, side, side, kernel_ - 1, 0});
  return convolution(padded, weight_, bias_, stride_, {0, 0, 0});
}

HunyuanResidual::HunyuanResidual(const WeightReader& weights, int64_t in, int64_t out, int64_t groups)
    : norm1_(weights.scope("norm1"), in, groups),
      norm2_(weights.scope("norm2"), out, groups),
      conv1_(weights.scope("conv1"), {in, out}),
      conv2_(weights.scope("conv2"), {out, out}) {
  if (in != out) shortcut_.emplace(weights.scope("conv_shortcut"), ReplicateConv3d::Shape{in, out, 1});
}

at::Tensor HunyuanResidual::forward(const at::Tensor& x) const {
  const at::Tensor y = conv2_.forward(norm2_.forward(conv1_.forward(norm1_.forward(x))));
  return y + (shortcut_ ? shortcut_->forward(x) : x);
}

CausalFrameAttention::CausalFrameAttention(const WeightReader& weights, int64_t channels, int64_t groups)
    : norm_(weights.scope("group_norm"), channels, groups) {
  const auto linear = [&](std::string_view name) {
    const WeightReader scope = weights.scope(name);
    return Linear{scope.take("weight", {channels, channels}), scope.take("bias", {channels})};
  };
  q_ = linear("to_q");
  k_ = linear("to_k");
  v_ = linear("to_v");
  out_ = linear("to_out.0");
}

at::Tensor CausalFrameAttention::forward(const at::Tensor& x) const {
  const int64_t frames = x.size(2), pixels = x.size(3) * x.size(4);
  const at::Tensor tokens = norm_.norm(x).flatten(2).transpose(1, 2).unsqueeze(1);  // [B, 1, T * H * W, C]
  const auto project = [&](const Linear& one) { return at::linear(tokens, one.weight, one.bias); };
  const at::Tensor q = project(q_), k = project(k_), v = project(v_);
  std::vector<at::Tensor> rows;
  for (int64_t frame = 0; frame < frames; ++frame) {  // instead of a mask over all pairs
    const int64_t seen = (frame + 1) * pixels;
    rows.push_back(at::scaled_dot_product_attention(q.narrow(2, frame * pixels, pixels), k.narrow(2, 0, seen),
                                                    v.narrow(2, 0, seen)));
  }
  const at::Tensor attended = at::linear(at::cat(rows, 2).squeeze(1), out_.weight, out_.bias);  // [B, T * H * W, C]
  return x + attended.transpose(1, 2).reshape(x.sizes());
}

HunyuanMidBlock::HunyuanMidBlock(const WeightReader& weights, int64_t channels, int64_t groups, bool with_attention)
    : first_(weights.scope("resnets.0"), channels, channels, groups),
      second_(weights.scope("resnets.1"), channels, channels, groups) {
  if (with_attention) attention_.emplace(weights.scope("attentions.0"), channels, groups);
}

at::Tensor HunyuanMidBlock::forward(const at::Tensor& x) const {
  const at::Tensor y = first_.forward(x);
  return second_.forward(attention_ ? attention_->forward(y) : y);
}

HunyuanUpsample::HunyuanUpsample(const WeightReader& weights, int64_t channels, int64_t time, int64_t space)
    : time_(time), space_(space), conv_(weights.scope("conv"), {channels, channels}) {}

at::Tensor HunyuanUpsample::forward(const at::Tensor& x) const {
  at::Tensor y = x;
  if (time_ > 1 && x.size(2) > 1) {
    y = at::cat({x.narrow(2, 0, 1), repeat_each(x.narrow(2, 1, x.size(2) - 1), 2, time_)}, 2);
  }
  return conv_.forward(repeat_each(repeat_each(y, 3, space_), 4, space_));
}

}  // namespace vorta::engine
