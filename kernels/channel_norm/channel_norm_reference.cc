// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "kernels/channel_norm/channel_norm.h"
#include "kernels/launch/bfloat16.h"

namespace vorta::kernels {
namespace {

double read(DType dtype, const void* data, int64_t index) {
  if (dtype == DType::kFloat32) return static_cast<const float*>(data)[index];
  return to_float(static_cast<const BFloat16Bits*>(data)[index]);
}

void write(DType dtype, void* data, int64_t index, double value) {
  if (dtype == DType::kFloat32) {
    static_cast<float*>(data)[index] = static_cast<float>(value);
  } else {
    static_cast<BFloat16Bits*>(data)[index] = to_bfloat16(static_cast<float>(value));
  }
}

}  // namespace

void channel_norm_reference(const ChannelNormArgs& args) {
  for (int64_t row = 0; row < args.batch * args.rows_per_batch; ++row) {
    const int64_t batch = row / args.rows_per_batch, in_batch = row % args.rows_per_batch;
    const int64_t from = batch * args.x.batch_stride + in_batch * args.x.row_stride;
    const int64_t to = batch * args.out.batch_stride + in_batch * args.out.row_stride;
    double square = 0;
    for (int64_t c = 0; c < args.channels; ++c) square += std::pow(read(args.dtype, args.x.data, from + c), 2);
    const double factor = args.scale / std::max(std::sqrt(square), static_cast<double>(args.eps));
    for (int64_t c = 0; c < args.channels; ++c) {
      const double value = read(args.dtype, args.x.data, from + c) * factor * read(args.dtype, args.gamma, c);
      write(args.dtype, args.out.data, to + c, args.silu ? value / (1.0 + std::exp(-value)) : value);
    }
  }
}

}  // namespace vorta::kernels
