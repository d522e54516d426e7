// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include "kernels/token_norms/token_norms.h"

namespace vorta::kernels {
namespace {

float rounded(float value) { return to_float(to_bfloat16(value)); }

}  // namespace

void modulated_layer_norm_reference(const ModulatedLayerNormArgs& args) {
  const int64_t width = args.rows.width;
  for (int64_t row = 0; row < args.rows.batch * args.rows.rows_per_batch; ++row) {
    const int64_t modulation = row / args.rows.rows_per_batch * args.modulation_stride;
    const BFloat16Bits* x = args.x.data + row * args.x.row_stride;
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < width; ++i) mean += to_float(x[i]) / static_cast<double>(width);
    for (int64_t i = 0; i < width; ++i) variance += std::pow(to_float(x[i]) - mean, 2) / static_cast<double>(width);
    const double inverse = 1.0 / std::sqrt(variance + args.eps);
    for (int64_t i = 0; i < width; ++i) {
      const auto normed = static_cast<float>((to_float(x[i]) - mean) * inverse);
      const float value = normed * (args.scale_offset + args.scale[modulation + i]) + args.shift[modulation + i];
      args.out.data[row * args.out.row_stride + i] = to_bfloat16(value);
    }
  }
}

void rms_norm_rope_reference(const RmsNormRopeArgs& args) {
  const int64_t width = args.rows.width;
  std::vector<float> normed(static_cast<std::size_t>(width));
  for (int64_t row = 0; row < args.rows.batch * args.rows.rows_per_batch; ++row) {
    const BFloat16Bits* x = args.x.data + row * args.x.row_stride;
    const int64_t span = args.norm_width;
    for (int64_t first = 0; first < width; first += span) {
      double square = 0;
      for (int64_t i = 0; i < span; ++i) square += std::pow(to_float(x[first + i]), 2) / static_cast<double>(span);
      const auto inverse = static_cast<float>(1.0 / std::sqrt(square + args.eps));
      for (int64_t i = 0; i < span; ++i) {
        normed[first + i] = rounded(rounded(to_float(x[first + i]) * inverse) * to_float(args.weight[i]));
      }
    }
    BFloat16Bits* out = args.out.data + row * args.out.row_stride;
    for (int64_t i = 0; i < width; i += 2) {
      float c = 1, s = 0;
      if (args.cosine != nullptr) {
        const int64_t at = row % args.rows.rows_per_batch * (args.head_dim / 2) + i % args.head_dim / 2;
        c = args.cosine[at];
        s = args.sine[at];
      }
      out[i] = to_bfloat16(normed[i] * c - normed[i + 1] * s);
      out[i + 1] = to_bfloat16(normed[i] * s + normed[i + 1] * c);
    }
  }
}

void gated_residual_reference(const GatedResidualArgs& args) {
  for (int64_t row = 0; row < args.rows.batch * args.rows.rows_per_batch; ++row) {
    const float* gate = args.gate + row / args.rows.rows_per_batch * args.gate_stride;
    for (int64_t i = 0; i < args.rows.width; ++i) {
      const float x = to_float(args.x.data[row * args.x.row_stride + i]);
      const float y = to_float(args.y.data[row * args.y.row_stride + i]);
      args.out.data[row * args.out.row_stride + i] = to_bfloat16(x + y * gate[i]);
    }
  }
}

void gated_residual_layer_norm_reference(const GatedResidualLayerNormArgs& args) {
  gated_residual_reference(residual_of(args));
  modulated_layer_norm_reference(layer_norm_of(args));
}

}  // namespace vorta::kernels
