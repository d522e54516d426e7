// SPDX-License-Identifier: Apache-2.0
// The cost of a decode, counted from the architecture (multiply-adds times two; frame 0 is not doubled in time).
#include "engine/vae/wan_vae.h"

namespace vorta::engine {
namespace {

double conv(double positions, int64_t in, int64_t out, int64_t taps) {
  return 2.0 * positions * static_cast<double>(in) * static_cast<double>(out) * static_cast<double>(taps);
}

double residual(double positions, int64_t in, int64_t out) {
  return conv(positions, in, out, 27) + conv(positions, out, out, 27) + (in == out ? 0 : conv(positions, in, out, 1));
}

}  // namespace

double WanVae::decode_flops(int64_t frames, int64_t height, int64_t width) const {
  double area = static_cast<double>(height * width);
  auto count = static_cast<double>(frames);
  int64_t in = config_.stage_dim(config_.stages() - 1);
  double sum = conv(count * area, config_.z_dim, config_.z_dim, 1) + conv(count * area, config_.z_dim, in, 27);
  sum += 2 * residual(count * area, in, in) + conv(count * area, in, 4 * in, 1);
  sum += 4.0 * count * area * area * static_cast<double>(in);  // QK^T and PV of each frame
  for (int64_t stage = config_.stages() - 1; stage >= 0; --stage) {
    const int64_t out = config_.stage_dim(stage);
    for (int64_t j = 0; j <= config_.num_res_blocks; ++j) sum += residual(count * area, j == 0 ? in : out, out);
    if (stage == 0) break;
    if (config_.temporal_downsample[stage - 1]) {
      sum += conv((count - 1) * area, out, 2 * out, 3);
      count = 2 * count - 1;
    }
    area *= 4;
    sum += conv(count * area, out, out / 2, 9);
    in = out / 2;
  }
  return sum + conv(count * area, config_.stage_dim(0), 3, 27);
}

}  // namespace vorta::engine
