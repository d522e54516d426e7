// SPDX-License-Identifier: Apache-2.0
// Every backend on a GPU in bfloat16 against its ATen definition on the CPU in float32.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <memory>

#include "engine/attention/attention.h"
#include "engine/attention/route_table.h"
#include "tests/support/gpu.h"

namespace vorta::engine {
namespace {

constexpr double kGpuTolerance = 6e-3;  // bf16 inputs, weights and outputs
constexpr int64_t kSteps = 2;

struct GpuCase {
  const char* name;
  VideoGrid grid;
  AttentionGeometry geometry;
  int64_t batch, heads, head_dim;
};

const GpuCase kCases[] = {
    {"head dim 128, tiles of 96", {6, 12, 24}, {{3, 2, 2}, 0.5, {1, 3, 2}, {3, 4, 8}, {6, 12, 24}}, 2, 5, 128},
    {"head dim 128, a tile of 12 that breaks pieces of 8", {4, 6, 8}, {{2, 2, 2}, 0.5, {1, 1, 3}, {2, 3, 2}, {4, 6, 8}}, 1, 4, 128},
    {"head dim 64", {4, 8, 8}, {{2, 2, 2}, 0.5, {3, 1, 1}, {2, 2, 4}, {4, 8, 8}}, 2, 4, 64},
};

struct GpuQkv {
  at::Tensor q, k, v;
};

/// Token-major rows in bf16. Queries hold sixteen signs and zeros, so that every similarity of a coreset is exact.
GpuQkv rows_of(const GpuCase& c, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const auto draw = [&] {
    return at::randn({c.batch, c.grid.tokens(), c.heads, c.head_dim}, generator, at::kFloat);
  };
  at::Tensor q = draw().sign();
  q.narrow(3, 16, c.head_dim - 16).zero_();
  const auto as_bf16 = [](const at::Tensor& x) { return x.to(at::kBFloat16).transpose(1, 2); };
  return {as_bf16(q), as_bf16(draw()), as_bf16(draw())};
}

/// Branches in turn over heads, layers and steps.
std::shared_ptr<const RouteTable> mixed_routes(int64_t heads) {
  RouteTable table = uniform_routes(kSteps, 1, heads, Branch::kDense);
  for (size_t i = 0; i < table.routes.size(); ++i) table.routes[i] = static_cast<uint8_t>((i * 2 + i / 3) % kBranches);
  return std::make_shared<const RouteTable>(std::move(table));
}

at::Tensor definition(const std::string& name, const AttentionOptions& options, const GpuCase& c, const GpuQkv& x, const LayerStep& where) {
  const auto backend = make_attention(name, options);
  backend->plan(c.grid);
  const auto wide = [](const at::Tensor& t) { return t.to(at::kFloat).requires_grad_(); };  // no kernel takes gradients
  return backend->run(wide(x.q), wide(x.k), wide(x.v), where).detach();
}

TEST_CASE("backends on a GPU equal their definitions", "[gpu]") {
  const auto gpu = gpu_here();
  if (!gpu) return;
  for (const GpuCase& c : kCases) {
    const GpuQkv x = rows_of(c, 7);
    const AttentionOptions options{c.geometry, mixed_routes(c.heads)};
    for (const char* name : {"dense", "sliding", "coreset", "vorta"}) {
      const auto backend = make_attention(name, options);
      backend->plan(c.grid);
      for (int64_t step = 0; step < kSteps; ++step) {
        INFO(c.name << ", " << name << ", step " << step);
        const LayerStep where{step, 0};
        const at::Tensor expected = definition(name, options, c, x, where);
        const at::NoGradGuard no_grad;
        const auto run = [&] { return backend->run(x.q.to(*gpu), x.k.to(*gpu), x.v.to(*gpu), where).cpu(); };
        const at::Tensor found = run();
        CHECK(((found.to(at::kFloat) - expected).norm() / expected.norm()).item<double>() < kGpuTolerance);
        CHECK(at::equal(run(), found));
      }
    }
  }
}

}  // namespace
}  // namespace vorta::engine
