// SPDX-License-Identifier: Apache-2.0
// A block owns a row and keeps it in registers, so it is read once. Modulations and weights, shared by the rows of a
// batch entry, come from cache.
#include "kernels/launch/bfloat16.cuh"
#include "kernels/launch/launch.cuh"
#include "kernels/token_norms/token_norms.h"

namespace vorta::kernels {
namespace {

constexpr int kVectors = 4;  // 16-byte vectors of a row that a thread holds: five warps a row of 5120
constexpr int kMaxThreads = 512;
constexpr int kMaxWarps = kMaxThreads / kWarp;
constexpr int64_t kMaxWidth = static_cast<int64_t>(kMaxThreads) * kVectors * kVectorElements;

// A block's row: of a batch entry, and of all.
struct Row {
  int64_t batch = blockIdx.y;
  int64_t token = blockIdx.x;
  int64_t index;

  __device__ explicit Row(const TokenRows& rows) : index(batch * rows.rows_per_batch + token) {}
};

// Element where this thread's v-th vector starts; neighbouring threads hold neighbouring vectors.
__device__ int64_t column(int v) { return static_cast<int64_t>(v * blockDim.x + threadIdx.x) * kVectorElements; }

// What this thread holds of the row. Columns beyond the width are zeros and not stored.
using Held = uint4[kVectors];

__device__ void load(Held& held, const RowsView& from, const Row& row, int64_t width) {
  const BFloat16Bits* data = from.data + row.index * from.row_stride;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    held[v] = column(v) < width ? *reinterpret_cast<const uint4*>(data + column(v)) : uint4{};
  }
}

__device__ void store(const RowsView& to, const Row& row, int v, const uint4& value) {
  *reinterpret_cast<uint4*>(to.data + row.index * to.row_stride + column(v)) = value;
}

__device__ Floats8 load_floats(const float* from) {
  const float4 low = *reinterpret_cast<const float4*>(from);
  const float4 high = *reinterpret_cast<const float4*>(from + 4);
  return {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
}

__device__ float sum_over_warp(float value) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

// The sum over the block's threads, in an order that depends on the block's size alone. One call per `partial`.
__device__ float sum_over_block(float value, float (&partial)[kMaxWarps]) {
  const int lane = threadIdx.x % kWarp, warps = blockDim.x / kWarp;
  value = sum_over_warp(value);
  if (lane == 0) partial[threadIdx.x / kWarp] = value;
  __syncthreads();
  return sum_over_warp(lane < warps ? partial[lane] : 0.0f);
}

// The norm of a row at hand: mean, then the centered squares, then the modulation.
__device__ void normalise_and_store(const ModulatedLayerNormArgs& args, const Row& row, const Held& held) {
  __shared__ float mean_partial[kMaxWarps], square_partial[kMaxWarps];
  const int64_t width = args.rows.width;
  float sum = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const Floats8 x = widen8(held[v]);
#pragma unroll
    for (int i = 0; i < kVectorElements; ++i) sum += x.at[i];
  }
  const float mean = sum_over_block(sum, mean_partial) / static_cast<float>(width);
  float square = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (column(v) >= width) continue;
    const Floats8 x = widen8(held[v]);
#pragma unroll
    for (int i = 0; i < kVectorElements; ++i) square += (x.at[i] - mean) * (x.at[i] - mean);
  }
  const float variance = sum_over_block(square, square_partial) / static_cast<float>(width);
  const float inverse = 1.0f / sqrtf(variance + args.eps);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (column(v) >= width) continue;
    const int64_t modulation = row.batch * args.modulation_stride + column(v);
    const Floats8 scale = load_floats(args.scale + modulation), shift = load_floats(args.shift + modulation);
    Floats8 x = widen8(held[v]);
#pragma unroll
    for (int i = 0; i < kVectorElements; ++i) {
      x.at[i] = (x.at[i] - mean) * inverse * (args.scale_offset + scale.at[i]) + shift.at[i];
    }
    store(args.out, row, v, narrow8(x));
  }
}

__global__ void layer_norm_kernel(ModulatedLayerNormArgs args) {
  const Row row(args.rows);
  Held x;
  load(x, args.x, row, args.rows.width);
  normalise_and_store(args, row, x);
}

// x + y * gate; product and sum are rounded apart, as the two operators they replace do.
__device__ uint4 add_gated(const uint4& x_bits, const uint4& y_bits, const Floats8& gate) {
  Floats8 x = widen8(x_bits);
  const Floats8 y = widen8(y_bits);
#pragma unroll
  for (int i = 0; i < kVectorElements; ++i) x.at[i] = __fadd_rn(x.at[i], __fmul_rn(y.at[i], gate.at[i]));
  return narrow8(x);
}

// Leaves the residual in `x` and in memory.
__device__ void add_gated_row(const GatedResidualArgs& args, const Row& row, Held& x) {
  const int64_t width = args.rows.width;
  Held y;
  load(x, args.x, row, width);
  load(y, args.y, row, width);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (column(v) >= width) continue;
    x[v] = add_gated(x[v], y[v], load_floats(args.gate + row.batch * args.gate_stride + column(v)));
    store(args.out, row, v, x[v]);
  }
}

__global__ void residual_kernel(GatedResidualArgs args) {
  const Row row(args.rows);
  Held x;
  add_gated_row(args, row, x);
}

__global__ void residual_layer_norm_kernel(GatedResidualArgs residual, ModulatedLayerNormArgs norm) {
  const Row row(residual.rows);
  Held x;
  add_gated_row(residual, row, x);
  normalise_and_store(norm, row, x);
}

// Rotates the four adjacent pairs of a vector by the angles of its row and columns.
__device__ void rotate_pairs(Floats8& x, const float* cosine, const float* sine) {
  const float4 c4 = *reinterpret_cast<const float4*>(cosine), s4 = *reinterpret_cast<const float4*>(sine);
  const float c[] = {c4.x, c4.y, c4.z, c4.w}, s[] = {s4.x, s4.y, s4.z, s4.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float even = x.at[2 * i], odd = x.at[2 * i + 1];
    x.at[2 * i] = even * c[i] - odd * s[i];
    x.at[2 * i + 1] = even * s[i] + odd * c[i];
  }
}

__device__ float squares_of(const uint4& bits) {
  const Floats8 x = widen8(bits);
  float square = 0;
#pragma unroll
  for (int i = 0; i < kVectorElements; ++i) square += x.at[i] * x.at[i];
  return square;
}

// 1 / rms of the span that each held vector belongs to. A span below the row is held by neighbouring lanes of a warp.
__device__ void inverse_rms(const RmsNormRopeArgs& args, const Held& held, float (&inverse)[kVectors]) {
  __shared__ float partial[kMaxWarps];
  const bool whole_row = args.norm_width == args.rows.width;
  float square[kVectors], of_row = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) of_row += square[v] = squares_of(held[v]);
  if (whole_row) of_row = sum_over_block(of_row, partial);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (whole_row) square[v] = of_row;
    else {
      const int lanes = static_cast<int>(args.norm_width) / kVectorElements;
      for (int step = lanes / 2; step > 0; step /= 2) square[v] += __shfl_xor_sync(0xffffffffu, square[v], step);
    }
    inverse[v] = 1.0f / sqrtf(square[v] / static_cast<float>(args.norm_width) + args.eps);
  }
}

__global__ void rms_norm_kernel(RmsNormRopeArgs args) {
  const Row row(args.rows);
  const int64_t width = args.rows.width;
  Held held;
  load(held, args.x, row, width);
  float inverse[kVectors];
  inverse_rms(args, held, inverse);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (column(v) >= width) continue;
    const int in_span = static_cast<int>(column(v)) % static_cast<int>(args.norm_width);
    const Floats8 weight = widen8(*reinterpret_cast<const uint4*>(args.weight + in_span));
    Floats8 x = widen8(held[v]);
#pragma unroll
    for (int i = 0; i < kVectorElements; ++i) {
      x.at[i] = round_to_bfloat16(round_to_bfloat16(x.at[i] * inverse[v]) * weight.at[i]);
    }
    if (args.cosine != nullptr) {
      const int pair = static_cast<int>(column(v)) % static_cast<int>(args.head_dim) / 2;
      const int64_t table = row.token * (args.head_dim / 2) + pair;
      rotate_pairs(x, args.cosine + table, args.sine + table);
    }
    store(args.out, row, v, narrow8(x));
  }
}

bool supports(const TokenRows& rows) {
  return runs_on_cuda(rows.stream) && rows.width > 0 && rows.width % 16 == 0 && rows.width <= kMaxWidth &&
         rows.batch <= kMaxGridYZ && rows.rows_per_batch <= INT32_MAX;
}

bool aligned(const RowsView& view) { return aligned_16(view.data) && view.row_stride % kVectorElements == 0; }
bool aligned(const float* table, int64_t stride) { return aligned_16(table) && stride % 4 == 0; }

dim3 grid_of(const TokenRows& rows) {
  return dim3(static_cast<unsigned>(rows.rows_per_batch), static_cast<unsigned>(rows.batch));
}

int threads_of(const TokenRows& rows) {
  return static_cast<int>(ceil_divide(rows.width, int64_t{kVectorElements} * kVectors * kWarp)) * kWarp;
}

bool empty(const TokenRows& rows) { return rows.batch == 0 || rows.rows_per_batch == 0; }

KernelStatus layer_norm(const ModulatedLayerNormArgs& args) {
  const bool fits = aligned(args.x) && aligned(args.out) && aligned(args.scale, args.modulation_stride) &&
                    aligned(args.shift, args.modulation_stride);
  if (!supports(args.rows) || !fits) return KernelStatus::kUnsupported;
  if (empty(args.rows)) return KernelStatus::kOk;
  layer_norm_kernel<<<grid_of(args.rows), threads_of(args.rows), 0, handle_of(args.rows.stream)>>>(args);
  return launch_status();
}

// A whole row, or spans that fill 2, 4, .. 32 lanes.
bool norm_fits(const RmsNormRopeArgs& args) {
  const int64_t span = args.norm_width;
  if (span == args.rows.width) return true;
  return span >= 16 && span <= kWarp * kVectorElements && (span & (span - 1)) == 0 && args.rows.width % span == 0;
}

KernelStatus rms_norm(const RmsNormRopeArgs& args) {
  const bool rotates = args.cosine != nullptr;
  const bool fits =
      aligned(args.x) && aligned(args.out) && aligned_16(args.weight) &&
      (!rotates || (args.head_dim > 0 && args.head_dim % 16 == 0 && aligned_16(args.cosine) && aligned_16(args.sine)));
  if (!supports(args.rows) || !fits || !norm_fits(args)) return KernelStatus::kUnsupported;
  if (empty(args.rows)) return KernelStatus::kOk;
  rms_norm_kernel<<<grid_of(args.rows), threads_of(args.rows), 0, handle_of(args.rows.stream)>>>(args);
  return launch_status();
}

bool fits(const GatedResidualArgs& args) {
  return aligned(args.x) && aligned(args.y) && aligned(args.out) && aligned(args.gate, args.gate_stride);
}

KernelStatus residual(const GatedResidualArgs& args) {
  if (!supports(args.rows) || !fits(args)) return KernelStatus::kUnsupported;
  if (empty(args.rows)) return KernelStatus::kOk;
  residual_kernel<<<grid_of(args.rows), threads_of(args.rows), 0, handle_of(args.rows.stream)>>>(args);
  return launch_status();
}

KernelStatus residual_layer_norm(const GatedResidualLayerNormArgs& args) {
  const GatedResidualArgs first = residual_of(args);
  const ModulatedLayerNormArgs second = layer_norm_of(args);
  const bool norm_fits =
      aligned(args.out) && aligned(args.scale, args.modulation_stride) && aligned(args.shift, args.modulation_stride);
  if (!supports(args.rows) || !fits(first) || !norm_fits) return KernelStatus::kUnsupported;
  if (empty(args.rows)) return KernelStatus::kOk;
  const cudaStream_t stream = handle_of(args.rows.stream);
  residual_layer_norm_kernel<<<grid_of(args.rows), threads_of(args.rows), 0, stream>>>(first, second);
  return launch_status();
}

}  // namespace

const TokenNormsVariant token_norms_cuda{"cuda", supports, layer_norm, rms_norm, residual, residual_layer_norm};

}  // namespace vorta::kernels
