// SPDX-License-Identifier: Apache-2.0
// What this machine's vector units reach when no memory is touched: the ceiling printed beside the kernels.
#include <benchmark/benchmark.h>
#include <immintrin.h>
#include <omp.h>

#include "kernels/launch/amx.h"
#include "kernels/launch/kernel.h"

namespace vorta::kernels {
namespace {

constexpr int kChains = 16;  // independent sums, enough to cover the latency of the multiply
constexpr int kRepeats = 200000;

__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16"))) float bfloat16_loop() {
  __m512 sums[kChains];
  for (auto& sum : sums) sum = _mm512_setzero_ps();
  const auto ones = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3f803f80));
  for (int i = 0; i < kRepeats; ++i)
    for (auto& sum : sums) sum = _mm512_dpbf16_ps(sum, ones, ones);
  float total = 0;
  for (auto& sum : sums) total += _mm512_reduce_add_ps(sum);
  return total;
}

__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))) float float32_loop() {
  __m512 sums[kChains];
  for (auto& sum : sums) sum = _mm512_setzero_ps();
  const __m512 ones = _mm512_set1_ps(1.0f);
  for (int i = 0; i < kRepeats; ++i)
    for (auto& sum : sums) sum = _mm512_fmadd_ps(ones, ones, sum);
  float total = 0;
  for (auto& sum : sums) total += _mm512_reduce_add_ps(sum);
  return total;
}

constexpr int kChainsAvx2 = 12;  // the largest number that fits 16 registers with room for an operand

__attribute__((target("avx2,fma"))) float float32_loop_avx2() {
  __m256 sums[kChainsAvx2];
  for (auto& sum : sums) sum = _mm256_setzero_ps();
  const __m256 ones = _mm256_set1_ps(1.0f);
  for (int i = 0; i < kRepeats; ++i)
    for (auto& sum : sums) sum = _mm256_fmadd_ps(ones, ones, sum);
  __m256 total = _mm256_setzero_ps();
  for (auto& sum : sums) total = _mm256_add_ps(total, sum);
  return _mm256_cvtss_f32(total);
}

constexpr int kChainsTiles = 4;  // the tiles of sums that the kernels keep

VORTA_AMX float tile_loop() {
  const FullTiles tiles;
  alignas(64) float sums[kTileFloats];
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int i = 0; i < kRepeats; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, sums, kTileStride);
  return sums[0];
}

void measure(benchmark::State& state, bool supported, float (*loop)(), double flops_per_step) {
  if (!supported) {
    state.SkipWithError("this CPU lacks the instructions");
    return;
  }
  for (auto unused : state) {
#pragma omp parallel
    benchmark::DoNotOptimize(loop());
  }
  state.counters["useful_GFLOPS"] = benchmark::Counter(1e-9 * flops_per_step * kRepeats * omp_get_max_threads(),
                                                       benchmark::Counter::kIsIterationInvariantRate);
}

void ceiling_bfloat16(benchmark::State& state) {
  measure(state, cpu_features().avx512_bf16, bfloat16_loop, 64 * kChains);
}
void ceiling_float32(benchmark::State& state) { measure(state, cpu_features().avx512, float32_loop, 32 * kChains); }
void ceiling_float32_avx2(benchmark::State& state) {
  measure(state, cpu_features().avx2, float32_loop_avx2, 16 * kChainsAvx2);
}

void ceiling_tiles(benchmark::State& state) {
  constexpr double kFlops = 2.0 * kTileRows * kTileRows * kTileDepth * kChainsTiles;
  measure(state, cpu_features().amx_bf16, tile_loop, kFlops);
}

BENCHMARK(ceiling_tiles)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(ceiling_float32_avx2)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(ceiling_bfloat16)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(ceiling_float32)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace vorta::kernels
