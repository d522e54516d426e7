// SPDX-License-Identifier: Apache-2.0
// Every backend on a GPU in bfloat16 against its ATen definition on the CPU in float32.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <memory>

#include "engine/attention/attention.h"
#include "engine/attention/route_table.h"
#include "engine/attention/tile_layout.h"
#include "engine/nn/rows.h"
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
  int64_t text = 0;  // tokens behind the video's
  CoresetKeys keys = CoresetKeys::kOfQueries;
};

const GpuCase kCases[] = {
    {"head dim 128, tiles of 96", {6, 12, 24}, {{3, 2, 2}, 0.5, {1, 3, 2}, {3, 4, 8}, {6, 12, 24}}, 2, 5, 128},
    {"head dim 128, a tile of 12 that breaks pieces of 8",
     {4, 6, 8},
     {{2, 2, 2}, 0.5, {1, 1, 3}, {2, 3, 2}, {4, 6, 8}},
     1,
     4,
     128},
    {"head dim 128, text, keys select for themselves",
     {6, 12, 24},
     {{3, 2, 2}, 0.5, {1, 3, 2}, {3, 4, 8}, {6, 12, 24}},
     1,
     5,
     128,
     37,
     CoresetKeys::kOwn},
    {"head dim 64", {4, 8, 8}, {{2, 2, 2}, 0.5, {3, 1, 1}, {2, 2, 4}, {4, 8, 8}}, 2, 4, 64},
};

struct GpuQkv {
  at::Tensor q, k, v;
};

/// Token-major rows in bf16. Rows that select hold sixteen signs and zeros: every similarity of a coreset is exact.
GpuQkv rows_of(const GpuCase& c, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const auto draw = [&] {
    return at::randn({c.batch, c.grid.tokens() + c.text, c.heads, c.head_dim}, generator, at::kFloat);
  };
  const auto signs = [&](at::Tensor x) {
    x = x.sign();
    x.narrow(3, 16, c.head_dim - 16).zero_();
    return x;
  };
  const auto as_bf16 = [](const at::Tensor& x) { return x.to(at::kBFloat16).transpose(1, 2); };
  const at::Tensor q = signs(draw()), k = draw();
  return {as_bf16(q), as_bf16(c.keys == CoresetKeys::kOwn ? signs(k) : k), as_bf16(draw())};
}

/// Branches in turn over heads, layers and steps.
std::shared_ptr<const RouteTable> mixed_routes(int64_t heads) {
  RouteTable table = uniform_routes(kSteps, 1, heads, Branch::kDense);
  for (size_t i = 0; i < table.routes.size(); ++i) table.routes[i] = static_cast<uint8_t>((i * 2 + i / 3) % kBranches);
  return std::make_shared<const RouteTable>(std::move(table));
}

// Published sizes, with a few heads.
const GpuCase kPublished[] = {
    {"Wan 2.1 14B, 77 frames at 720p", {20, 45, 80}, {{2, 3, 2}, 0.5, {3, 3, 3}, {5, 9, 8}, {20, 45, 80}}, 1, 4, 128},
    {"Wan 2.1 1.3B, 77 frames at 480p", {20, 30, 52}, {{2, 3, 2}, 0.5, {3, 3, 3}, {4, 10, 4}, {20, 30, 52}}, 2, 3, 128},
};

double gpu_error(const at::Tensor& found, const at::Tensor& expected) {
  return ((found.to(at::kFloat) - expected).norm() / expected.norm()).item<double>();
}

at::Tensor definition(const std::string& name, const AttentionOptions& options, const GpuCase& c, const GpuQkv& x,
                      const LayerStep& where, at::Device device = at::kCPU) {
  const auto backend = make_attention(name, options);
  backend->plan(c.grid, c.text);
  // No kernel takes gradients.
  const auto wide = [&](const at::Tensor& t) { return t.to(device).to(at::kFloat).requires_grad_(); };
  return backend->run(wide(x.q), wide(x.k), wide(x.v), where).detach();
}

TEST_CASE("backends on a GPU equal their definitions", "[gpu]") {
  const auto gpu = gpu_here();
  if (!gpu) return;
  for (const GpuCase& c : kCases) {
    const GpuQkv x = rows_of(c, 7);
    const AttentionOptions options{c.geometry, mixed_routes(c.heads), c.keys};
    for (const char* name : {"dense", "sliding", "coreset", "vorta"}) {
      const auto backend = make_attention(name, options);
      backend->plan(c.grid, c.text);
      for (int64_t step = 0; step < kSteps; ++step) {
        INFO(c.name << ", " << name << ", step " << step);
        const LayerStep where{step, 0};
        const at::Tensor expected = definition(name, options, c, x, where);
        const at::NoGradGuard no_grad;
        const auto run = [&] { return backend->run(x.q.to(*gpu), x.k.to(*gpu), x.v.to(*gpu), where).cpu(); };
        const at::Tensor found = run();
        CHECK(gpu_error(found, expected) < kGpuTolerance);
        CHECK(at::equal(run(), found));
        const int64_t video = c.grid.tokens();
        const at::Tensor text = at::arange(video, video + c.text, at::kLong);
        const at::Tensor tokens = at::cat({index_tensor(row_tokens(c.grid, c.geometry.tile)), text});
        const auto tiled = [&](const at::Tensor& t) { return take_tokens(t, tokens); };
        backend->set_order(c.geometry.tile);
        backend->plan(c.grid, c.text);
        const auto there = [&](const at::Tensor& t) { return tiled(t).to(*gpu); };
        const at::Tensor in_tiles = backend->run(there(x.q), there(x.k), there(x.v), where).cpu();
        CHECK(gpu_error(in_tiles, tiled(expected)) < kGpuTolerance);
        backend->set_order(std::nullopt);
        backend->plan(c.grid, c.text);
      }
    }
  }
}

TEST_CASE("kernels at published sizes equal the portable path", "[.][gpu-full]") {
  const auto gpu = gpu_here();
  if (!gpu) return;
  for (const GpuCase& c : kPublished) {
    const GpuQkv x = rows_of(c, 8);
    const AttentionOptions options{c.geometry, mixed_routes(c.heads)};
    const at::Tensor tokens = index_tensor(row_tokens(c.grid, c.geometry.tile));
    const auto there = [&](const at::Tensor& t) { return take_tokens(t, tokens).to(*gpu); };
    const GpuQkv tiled{there(x.q), there(x.k), there(x.v)};
    for (const char* name : {"dense", "sliding", "coreset", "vorta"}) {
      INFO(c.name << ", " << name);
      const at::Tensor expected = definition(name, options, c, x, {1, 0}, *gpu);
      const at::NoGradGuard no_grad;
      const auto backend = make_attention(name, options);
      backend->set_order(c.geometry.tile);
      backend->plan(c.grid);
      const at::Tensor found = backend->run(tiled.q, tiled.k, tiled.v, {1, 0});
      const double error = gpu_error(found, take_tokens(expected, tokens));
      WARN(c.name << ", " << name << ": relative error " << error);
      CHECK(error < kGpuTolerance);
      CHECK(at::isfinite(found).all().item<bool>());
      CHECK(at::equal(backend->run(tiled.q, tiled.k, tiled.v, {1, 0}), found));
    }
  }
}

}  // namespace
}  // namespace vorta::engine
