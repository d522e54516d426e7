// SPDX-License-Identifier: Apache-2.0
// The kernels of the branches in bfloat16 against their ATen definitions, over random sizes and head lists.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "engine/attention/backends.h"
#include "engine/attention/route_table.h"
#include "engine/nn/rows.h"
#include "kernels/launch/kernel.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace {

constexpr LayerStep kStart{0, 0};
constexpr double kKernelTolerance = 4e-3;  // probabilities and outputs carry 8 bits
constexpr float kUntouched = 77.0f;

bool kernels_here() { return kernels::cpu_features().avx2; }

/// A grid, the sparse branches' sizes that divide it, and the heads a branch is asked for.
struct KernelCase {
  VideoGrid grid;
  Size3 tile, window, coreset_window;
  double reduction;
  int64_t batch, heads, head_dim;
  std::vector<int32_t> chosen;

  AttentionGeometry geometry() const {
    return {.coreset_window = coreset_window,
            .reduction_rate = reduction,
            .sliding_window = window,
            .tile = tile,
            .latent_shape = grid};
  }
};

KernelCase random_case(std::mt19937& random) {
  const auto draw = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  KernelCase c;
  for (size_t axis = 0; axis < 3; ++axis) {
    c.tile[axis] = draw(1, 3);
    c.coreset_window[axis] = draw(axis == 0 ? 2 : 1, 3);  // at least two tokens a window
    c.window[axis] = draw(1, 3);
  }
  const auto side = [&](size_t axis, int64_t times) { return std::lcm(c.tile[axis], c.coreset_window[axis]) * times; };
  c.grid = {side(0, draw(1, 2)), side(1, draw(1, 3)), side(2, draw(1, 3))};
  c.reduction = 0.5;
  c.batch = draw(1, 2);
  c.heads = draw(1, 5);
  c.head_dim = 16 * draw(1, 8);
  for (int32_t head = 0; head < c.heads; ++head) {
    if (draw(0, 1) == 1) c.chosen.insert(c.chosen.begin(), head);  // descending: not the order of the tensor
  }
  if (c.chosen.empty()) c.chosen = {static_cast<int32_t>(c.heads - 1)};
  return c;
}

struct HeadRows {
  at::Tensor q, k, v;
};

/// Token-major bf16 rows that vary slowly along the grid, so that similarities crowd near 1, where bf16 is coarse.
HeadRows smooth_qkv(const KernelCase& c, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const auto draw = [&] {
    const at::Tensor common = at::randn({c.batch, 1, c.heads, c.head_dim}, generator, at::kFloat);
    const at::Tensor own = at::randn({c.batch, c.grid.tokens(), c.heads, c.head_dim}, generator, at::kFloat);
    return (common + 0.5 * own).to(at::kBFloat16).transpose(1, 2);
  };
  return {draw(), draw(), draw()};
}

/// The same attention by ATen in fp32: with gradients on, no kernel applies.
at::Tensor definition(AttentionBackend& backend, const HeadRows& x) {
  const auto wide = [](const at::Tensor& t) { return t.to(at::kFloat).requires_grad_(); };
  return backend.run(wide(x.q), wide(x.k), wide(x.v), kStart).detach();
}

double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  return ((found.to(at::kFloat) - expected).norm() / expected.norm()).item<double>();
}

/// Runs the chosen heads into a marked tensor; checks that the others keep the mark; returns the chosen ones.
at::Tensor run_chosen(AttentionBackend& backend, const KernelCase& c, const HeadRows& x) {
  const at::Tensor out = at::full_like(x.q, kUntouched);
  REQUIRE(backend.run_heads({x.q, x.k, x.v, out, c.chosen}));
  for (int32_t head = 0; head < c.heads; ++head) {
    const bool chosen = std::find(c.chosen.begin(), c.chosen.end(), head) != c.chosen.end();
    if (!chosen) CHECK((out.select(1, head) == kUntouched).all().item<bool>());
  }
  return take_heads(out, head_index(c.chosen));
}

TEST_CASE("dense and sliding kernels equal their definitions, head by head", "[backends]") {
  if (!kernels_here()) return;
  std::mt19937 random(31);
  for (uint64_t seed = 0; seed < 25; ++seed) {
    const KernelCase c = random_case(random);
    INFO(to_string(c.grid) << ", tile " << to_string(c.tile) << ", window " << to_string(c.window) << ", head dim "
                           << c.head_dim);
    const HeadRows x = smooth_qkv(c, seed);
    for (const char* name : {"dense", "sliding"}) {
      const auto backend = make_attention(name, {.geometry = c.geometry(), .routes = nullptr});
      backend->plan(c.grid);
      const at::Tensor expected = definition(*backend, x);
      const at::NoGradGuard no_grad;
      CHECK(relative_error(backend->run(x.q, x.k, x.v, kStart), expected) < kKernelTolerance);
      CHECK(relative_error(run_chosen(*backend, c, x), take_heads(expected, head_index(c.chosen))) < kKernelTolerance);
    }
  }
}

CoresetWindows windows_of(const KernelCase& c) {
  const CoresetLayout layout = coreset_layout(c.grid, c.coreset_window, c.reduction);
  return {layout.groups,
          layout.members,
          layout.center,
          layout.kept,
          IndexTable(index_tensor(layout.member_tokens).to(at::kInt)),
          all_pairs(layout.pooled_tokens())};
}

/// [B, heads, L]: the position in `order` whose output each token takes.
at::Tensor sources(const at::Tensor& order, const CoresetWindows& windows) {
  const int64_t pooled = windows.groups * (1 + windows.kept);
  const at::Tensor centers =
      at::arange(windows.groups, at::kLong).repeat_interleave(windows.members - 1 - windows.kept);
  const at::Tensor rows = at::cat({at::arange(pooled, at::kLong), centers}).expand_as(order).contiguous();
  return at::empty_like(order).scatter_(2, order, rows);
}

TEST_CASE("the coreset kernel equals attention among its survivors, centers copied", "[backends]") {
  if (!kernels_here()) return;
  const at::NoGradGuard no_grad;
  std::mt19937 random(32);
  for (uint64_t seed = 0; seed < 25; ++seed) {
    const KernelCase c = random_case(random);
    INFO(to_string(c.grid) << ", window " << to_string(c.coreset_window) << ", head dim " << c.head_dim);
    const HeadRows x = smooth_qkv(c, seed);
    CoresetAttention coreset(c.coreset_window, c.reduction);
    coreset.plan(c.grid);
    const at::Tensor out = run_chosen(coreset, c, x);

    const CoresetWindows windows = windows_of(c);
    const at::Tensor order = kernel_coreset_order({x.q, x.k, x.v, out, c.chosen}, x.q, windows).to(at::kLong);
    const at::Tensor pooled = order.narrow(2, 0, windows.groups * (1 + windows.kept));
    const auto survivors = [&](const at::Tensor& t) {
      return take_tokens_per_head(take_heads(t, head_index(c.chosen)).to(at::kFloat), pooled);
    };
    const at::Tensor attended = at::scaled_dot_product_attention(survivors(x.q), survivors(x.k), survivors(x.v));
    CHECK(relative_error(out, take_tokens_per_head(attended, sources(order, windows))) < kKernelTolerance);
  }
}

// Both round each norm, each normalised element and each similarity to bf16; only the order of the fp32 sums before
// those roundings differs, which moves one similarity in some ten thousand by one bf16 step.
TEST_CASE("the coreset kernel keeps the tokens that the definition keeps", "[backends]") {
  if (!kernels_here()) return;
  const at::NoGradGuard no_grad;
  std::mt19937 random(33);
  int64_t tokens = 0, different = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const KernelCase c = random_case(random);
    const HeadRows x = smooth_qkv(c, seed);
    CoresetAttention coreset(c.coreset_window, c.reduction);
    coreset.plan(c.grid);
    const auto kept = [&](const at::Tensor& pooled) {
      return at::zeros({c.batch, c.heads, c.grid.tokens()}).scatter_(2, pooled.to(at::kLong), 1.0);
    };
    const CoresetWindows windows = windows_of(c);
    const at::Tensor order = kernel_coreset_order({x.q, x.k, x.v, x.q}, x.q, windows);
    const at::Tensor found = kept(order.narrow(2, 0, windows.groups * (1 + windows.kept)));
    tokens += found.numel();
    different += (found != kept(coreset.select(x.q).pooled)).sum().item<int64_t>();
  }
  INFO(different << " of " << tokens << " tokens differ");
  CHECK(static_cast<double>(different) <= 1e-4 * static_cast<double>(tokens));
}

TEST_CASE("routed bf16 heads are their branches' heads, exactly", "[backends]") {
  std::mt19937 random(34);
  const at::NoGradGuard no_grad;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const KernelCase c = random_case(random);
    const HeadRows x = smooth_qkv(c, seed);
    auto table = std::make_shared<RouteTable>(uniform_routes(1, 1, c.heads, Branch::kDense));
    for (auto& route : table->routes) route = static_cast<uint8_t>(random() % kBranches);
    const auto routed = make_attention("vorta", {.geometry = c.geometry(), .routes = table});
    routed->plan(c.grid);
    const at::Tensor out = routed->run(x.q, x.k, x.v, kStart);
    const auto branches = make_branches(c.geometry(), CoresetKeys::kOfQueries);
    for (int64_t head = 0; head < c.heads; ++head) {
      AttentionBackend& branch = *branches[static_cast<size_t>(table->at(0, 0, head))];
      branch.plan(c.grid);
      CHECK(at::equal(out.select(1, head), branch.run(x.q, x.k, x.v, kStart).select(1, head)));
    }
  }
}

}  // namespace
}  // namespace vorta::engine
