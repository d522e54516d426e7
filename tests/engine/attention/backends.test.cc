// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "engine/attention/backends.h"
#include "engine/attention/mixed.h"
#include "engine/attention/route_table.h"
#include "engine/attention/tile_layout.h"
#include "engine/base/error.h"
#include "engine/nn/rows.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace {

using Catch::Matchers::Contains;

constexpr LayerStep kFirst{0, 0};

struct Qkv {
  at::Tensor q, k, v;
};

/// Token-major memory, as the model hands it over.
Qkv random_qkv(int64_t batch, int64_t heads, int64_t tokens, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const auto draw = [&] { return at::randn({batch, tokens, heads, 8}, generator, at::kFloat).transpose(1, 2); };
  return {draw(), draw(), draw()};
}

/// Softmax attention with an explicit mask: shares nothing with the backends.
at::Tensor masked(const Qkv& x, const at::Tensor& mask) {
  const at::Tensor scores = at::matmul(x.q, x.k.transpose(-1, -2)) / std::sqrt(8.0);
  return at::matmul(at::softmax(scores.masked_fill(mask.logical_not(), -INFINITY), -1), x.v);
}

/// The predicate, token by token: |clamp(query tile) - key tile| <= window / 2 on each axis.
at::Tensor brute_mask(const VideoGrid& grid, const Size3& tile, const Size3& window) {
  const int64_t n = grid.tokens();
  const Size3 tiles{grid.frames / tile[0], grid.height / tile[1], grid.width / tile[2]};
  const auto tile_of = [&](int64_t i) -> Size3 {
    return {i / (grid.height * grid.width) / tile[0], i / grid.width % grid.height / tile[1], i % grid.width / tile[2]};
  };
  at::Tensor mask = at::zeros({n, n}, at::kBool);
  auto cell = mask.accessor<bool, 2>();
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      bool seen = true;
      for (size_t z = 0; z < 3; ++z) {
        const int64_t half = window[z] / 2;
        const int64_t center = std::min(std::max(tile_of(i)[z], half), tiles[z] - 1 - half);
        seen = seen && std::abs(center - tile_of(j)[z]) <= half;
      }
      cell[i][j] = seen;
    }
  }
  return mask;
}

TEST_CASE("sliding tile equals the masked softmax on many grids", "[backends]") {
  struct Case {
    VideoGrid grid;
    Size3 tile, window;
  };
  const std::vector<Case> cases = {
      {{5, 4, 4}, {1, 2, 2}, {3, 1, 1}},  {{4, 6, 4}, {2, 3, 2}, {3, 3, 3}},  // fewer tiles than the window
      {{4, 6, 10}, {1, 2, 2}, {3, 3, 3}}, {{4, 4, 8}, {1, 2, 2}, {2, 2, 2}},  // even: widened
      {{6, 2, 4}, {1, 2, 2}, {4, 1, 1}},  {{1, 6, 6}, {1, 2, 2}, {5, 1, 3}},
  };
  for (const Case& c : cases) {
    SlidingTileAttention sliding(c.tile, c.window);
    sliding.plan(c.grid);
    const Qkv x = random_qkv(2, 3, c.grid.tokens(), 3);
    const at::Tensor mask = brute_mask(c.grid, c.tile, c.window);
    CHECK(at::allclose(sliding.run(x.q, x.k, x.v, kFirst), masked(x, mask), 1e-5, 1e-5));
    CHECK(sliding.density(kFirst) == Approx(mask.to(at::kDouble).mean().item<double>()));
    const double dense_flops = 4.0 * 2 * 3 * 8 * static_cast<double>(c.grid.tokens() * c.grid.tokens());
    CHECK(sliding.flops({2, 3, c.grid.tokens(), 8}, kFirst) == Approx(dense_flops * sliding.density(kFirst)));
  }
}

/// Tokens 0 and 12 stand at the same angle from center 17, so fp32 rounding ranks them: built by fp32 tensor
/// operations.
Qkv worked_example() {
  const at::Tensor i = at::arange(24, at::kFloat);
  const at::Tensor angle = (7 * i * i + 3 * i).remainder(97) / 97 * 3.0;
  const at::Tensor q = (at::stack({angle.cos(), angle.sin()}, -1) * (1 + 0.1 * i).unsqueeze(1)).view({1, 1, 24, 2});
  return {q, q, q};
}

TEST_CASE("coreset selection: the worked example", "[backends]") {
  CoresetAttention coreset({2, 3, 2}, 0.5);
  coreset.plan({2, 3, 4});
  const auto selection = coreset.select(worked_example().q);
  const auto list = [](const at::Tensor& t) {
    const at::Tensor flat = t.flatten().contiguous();
    return std::vector<int64_t>(flat.const_data_ptr<int64_t>(), flat.const_data_ptr<int64_t>() + flat.numel());
  };
  CHECK(list(selection.pooled) == std::vector<int64_t>{17, 19, 16, 5, 8, 12, 0, 11, 18, 2, 23, 6});
  CHECK(list(selection.source) ==
        std::vector<int64_t>{6, 0, 9, 1, 0, 3, 11, 1, 4, 0, 1, 7, 5, 0, 1, 1, 2, 0, 8, 1, 0, 0, 1, 10});
  CHECK(coreset.density(kFirst) == Approx(0.25));
}

TEST_CASE("coreset: kept tokens keep their own output, merged ones take their center's; ties in index order",
          "[backends]") {
  CoresetAttention coreset({2, 3, 2}, 0.5);
  const VideoGrid grid{4, 6, 4};
  coreset.plan(grid);
  const Qkv x = random_qkv(2, 2, grid.tokens(), 8);
  const auto selection = coreset.select(x.q);
  const at::Tensor pooled = take_tokens_per_head(x.v, selection.pooled);
  const at::Tensor back = take_tokens_per_head(pooled, selection.source);
  CHECK(at::equal(take_tokens_per_head(back, selection.pooled), pooled));
  const at::Tensor expected = take_tokens_per_head(
      dense_attention(take_tokens_per_head(x.q, selection.pooled), take_tokens_per_head(x.k, selection.pooled), pooled),
      selection.source);
  CHECK(at::equal(coreset.run(x.q, x.k, x.v, kFirst), expected));
  // The selection is the query's: other keys and values do not move it, another query does.
  CHECK_FALSE(at::equal(coreset.select(x.k).pooled, selection.pooled));
  const auto tied = coreset.select(at::ones({1, 1, grid.tokens(), 4}));
  CHECK(at::equal(tied.pooled[0][0].narrow(0, 8, 5), index_tensor({0, 1, 4, 5, 8})));
}

AttentionGeometry small_geometry() {
  return {.coreset_window = {2, 3, 2},
          .reduction_rate = 0.5,
          .sliding_window = {3, 1, 1},
          .tile = {1, 3, 2},
          .latent_shape = {4, 6, 4}};
}

TEST_CASE("tokens in tile order give the rows of raster order, permuted", "[backends]") {
  const VideoGrid grid{4, 6, 4};
  auto table = std::make_shared<RouteTable>(uniform_routes(1, 1, 4, Branch::kDense));
  for (size_t head = 0; head < 4; ++head) table->routes[head] = static_cast<uint8_t>(head % kBranches);
  const AttentionOptions options{small_geometry(), table};
  const Qkv x = random_qkv(2, 4, grid.tokens(), 12);
  // The sliding tile itself, and one that splits sliding tiles and coreset windows.
  for (const Size3& tile : {small_geometry().tile, Size3{2, 2, 4}}) {
    const at::Tensor tokens = index_tensor(row_tokens(grid, tile));
    const auto reordered = [&](const at::Tensor& t) { return take_tokens(t, tokens); };
    for (const char* name : {"dense", "sliding", "coreset", "vorta"}) {
      INFO(name << ", tile " << to_string(tile));
      const auto backend = make_attention(name, options);
      backend->plan(grid);
      const at::Tensor raster = backend->run(x.q, x.k, x.v, kFirst);
      backend->set_order(tile);
      backend->plan(grid);
      const at::Tensor found = backend->run(reordered(x.q), reordered(x.k), reordered(x.v), kFirst);
      CHECK(at::allclose(found, reordered(raster), 1e-5, 1e-6));
      backend->set_order(std::nullopt);
      backend->plan(grid);
      CHECK(at::equal(backend->run(x.q, x.k, x.v, kFirst), raster));
    }
  }
  CHECK_FALSE(make_attention("dense", options)->preferred_order().has_value());
  CHECK(make_attention("vorta", options)->preferred_order() == small_geometry().tile);
  const auto sliding = make_attention("sliding", options);
  sliding->set_order(Size3{3, 3, 2});
  CHECK_THROWS_AS(sliding->plan(grid), ConfigError);
}

TEST_CASE("patterns that cover everything equal dense", "[backends]") {
  const VideoGrid grid{4, 6, 4};
  const Qkv x = random_qkv(2, 4, grid.tokens(), 4);
  const at::Tensor dense = dense_attention(x.q, x.k, x.v);
  SlidingTileAttention sliding({2, 3, 2}, {3, 3, 3});
  CoresetAttention coreset({2, 3, 2}, 0.0);
  for (AttentionBackend* backend :
       {static_cast<AttentionBackend*>(&sliding), static_cast<AttentionBackend*>(&coreset)}) {
    backend->plan(grid);
    CHECK(backend->density(kFirst) == 1.0);
    CHECK(at::equal(backend->run(x.q, x.k, x.v, kFirst), dense));
  }
}

TEST_CASE("routed: each head is its branch's head; batch items do not mix; runs repeat", "[backends]") {
  auto table = std::make_shared<RouteTable>(uniform_routes(1, 2, 4, Branch::kDense));
  table->routes = {2, 0, 1, 2, 1, 1, 1, 1};
  const AttentionOptions options{.geometry = small_geometry(), .routes = table};
  const auto routed = make_attention("vorta", options);
  routed->plan({4, 6, 4});
  const Qkv x = random_qkv(2, 4, 96, 6);
  const at::Tensor out = routed->run(x.q, x.k, x.v, kFirst);
  double density = 0;
  for (int64_t head = 0; head < 4; ++head) {
    const char* names[] = {"dense", "coreset", "sliding"};
    const auto branch = make_attention(names[static_cast<int>(table->at(0, 0, head))], options);
    branch->plan({4, 6, 4});
    CHECK(at::allclose(out.select(1, head), branch->run(x.q, x.k, x.v, kFirst).select(1, head), 1e-6, 1e-6));
    density += branch->density(kFirst) / 4;
  }
  CHECK(routed->density(kFirst) == Approx(density));
  CHECK(at::equal(routed->run(x.q, x.k, x.v, kFirst), out));
  const auto item = [](const at::Tensor& t) { return t.narrow(0, 1, 1); };
  CHECK(at::allclose(routed->run(item(x.q), item(x.k), item(x.v), kFirst), item(out), 1e-6, 1e-6));
  CHECK_THROWS_AS(routed->run(x.q, x.k, x.v, {1, 0}), InternalError);
  CHECK_THROWS_AS(routed->plan({4, 6, 8}), ConfigError);
}

TEST_CASE("all-dense routes equal dense exactly", "[backends]") {
  const auto table = std::make_shared<RouteTable>(uniform_routes(1, 1, 4, Branch::kDense));
  const auto routed = make_attention("vorta", {.geometry = small_geometry(), .routes = table});
  routed->plan({4, 6, 4});
  const Qkv x = random_qkv(2, 4, 96, 7);
  CHECK(at::equal(routed->run(x.q, x.k, x.v, kFirst), dense_attention(x.q, x.k, x.v)));
}

TEST_CASE("the pattern of a step is the first step with the same routes in every layer", "[backends]") {
  auto table = std::make_shared<RouteTable>(uniform_routes(4, 2, 4, Branch::kDense));
  const auto route = [&](size_t step, size_t layer, size_t head, Branch branch) {
    table->routes[(step * 2 + layer) * 4 + head] = static_cast<uint8_t>(branch);
  };
  for (const size_t step : {1, 3}) route(step, 1, 3, Branch::kCoreset);
  route(2, 0, 0, Branch::kSlidingTile);
  const auto routed = make_attention("vorta", {.geometry = small_geometry(), .routes = table});
  CHECK(routed->pattern(0) == 0);
  CHECK(routed->pattern(1) == 1);
  CHECK(routed->pattern(2) == 2);
  CHECK(routed->pattern(3) == 1);
  CHECK_THROWS_AS(routed->pattern(4), InternalError);
  CHECK(make_attention("dense", {})->pattern(3) == 0);
}

TEST_CASE("mixed: the weighted sum of the branches, with gradients to all inputs", "[backends]") {
  MixedAttention mixed(small_geometry());
  mixed.plan({4, 6, 4});
  Qkv x = random_qkv(2, 4, 96, 9);
  at::Tensor scores = at::softmax(at::randn({2, 4, 3}, at::detail::createCPUGenerator(1), at::kFloat), -1);
  at::Tensor expected = at::zeros_like(x.q);
  const char* names[] = {"dense", "coreset", "sliding"};
  for (int64_t e = 0; e < 3; ++e) {
    const auto branch = make_attention(names[e], {.geometry = small_geometry(), .routes = nullptr});
    branch->plan({4, 6, 4});
    expected = expected + scores.select(2, e).view({2, 4, 1, 1}) * branch->run(x.q, x.k, x.v, kFirst);
  }
  for (at::Tensor* t : {&x.q, &x.k, &x.v, &scores}) t->requires_grad_();
  const at::Tensor out = mixed.run(x.q, x.k, x.v, scores);
  CHECK(at::allclose(out, expected, 1e-5, 1e-5));
  out.square().sum().backward();
  for (const at::Tensor& t : {x.q, x.k, x.v, scores}) {
    REQUIRE(t.grad().defined());
    CHECK(t.grad().abs().sum().item<double>() > 0);
  }
}

TEST_CASE("the table names what it lacks", "[backends]") {
  CHECK_THROWS_WITH(make_attention("slidding", {}), Contains("sliding"));
  CHECK_THROWS_WITH(make_attention("coreset", {}), Contains("geometry"));
  CHECK_THROWS_WITH(make_attention("vorta", {.geometry = small_geometry(), .routes = nullptr}), Contains("routers"));
  CHECK(attention_backends().size() == 4);
}

}  // namespace
}  // namespace vorta::engine
