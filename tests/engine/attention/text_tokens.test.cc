// SPDX-License-Identifier: Apache-2.0
// Text tokens behind the video's: every branch against explicit masks and loops, on all kernels of this machine.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "engine/attention/backends.h"
#include "engine/attention/mixed.h"
#include "engine/attention/route_table.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace text_tokens_test {  // not anonymous: test files of a target may compile as one
namespace {

constexpr VideoGrid kGrid{4, 6, 8};
constexpr int64_t kVideo = 4 * 6 * 8, kHeads = 4, kDim = 32;
const AttentionGeometry kGeometry{.coreset_window = {2, 3, 2},
                                  .reduction_rate = 0.5,
                                  .sliding_window = {1, 1, 3},
                                  .tile = {2, 2, 2},
                                  .latent_shape = kGrid};
constexpr LayerStep kFirstText{0, 0};

struct TextQkv {
  at::Tensor q, k, v;
};

TextQkv random_qkv(int64_t text, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const auto draw = [&] { return at::randn({2, kVideo + text, kHeads, kDim}, generator, at::kFloat).transpose(1, 2); };
  return {draw(), draw(), draw()};
}

at::Tensor softmax_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask) {
  at::Tensor scores = at::matmul(q, k.transpose(-1, -2)) / std::sqrt(static_cast<double>(kDim));
  if (mask.defined()) scores = scores.masked_fill(mask.logical_not(), -INFINITY);
  return at::matmul(at::softmax(scores, -1), v);
}

/// The video's mask from a plan without text; text sees and is seen by everything.
at::Tensor sliding_mask(int64_t text) {
  at::Tensor mask = at::ones({kVideo + text, kVideo + text}, at::kBool);
  for (const TileGroup& group : sliding_tile_groups(kGrid, kGeometry.tile, kGeometry.sliding_window)) {
    const at::Tensor queries = index_tensor(group.queries);
    at::Tensor rows = at::zeros({static_cast<int64_t>(group.queries.size()), kVideo}, at::kBool);
    rows.index_fill_(1, index_tensor(group.keys), 1);
    mask.narrow(1, 0, kVideo).index_copy_(0, queries, rows);
  }
  return mask;
}

/// Loops over batch and heads; `own`: keys select for themselves and the values.
at::Tensor coreset(const TextQkv& x, int64_t text, bool own) {
  CoresetAttention selector(kGeometry.coreset_window, kGeometry.reduction_rate);
  selector.plan(kGrid);
  const auto video = [](const at::Tensor& t) { return t.narrow(2, 0, kVideo).contiguous(); };
  const CoresetAttention::Selection of_q = selector.select(video(x.q)), of_k = selector.select(video(x.k));
  at::Tensor out = at::zeros_like(x.q);
  const at::Tensor tail = at::arange(kVideo, kVideo + text, at::kLong);
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t n = 0; n < kHeads; ++n) {
      const at::Tensor queries = at::cat({of_q.pooled[b][n], tail});
      const at::Tensor keys = own ? at::cat({of_k.pooled[b][n], tail}) : queries;
      const auto rows = [&](const at::Tensor& t, const at::Tensor& ids) {
        return t[b][n].index_select(0, ids).unsqueeze(0);
      };
      const at::Tensor o = softmax_attention(rows(x.q, queries), rows(x.k, keys), rows(x.v, keys), {})[0];
      const int64_t kept = of_q.pooled.size(2);
      out[b][n].narrow(0, 0, kVideo).copy_(o.index_select(0, of_q.source[b][n]));
      out[b][n].narrow(0, kVideo, text).copy_(o.narrow(0, kept, text));
    }
  }
  return out;
}

double relative_error(const at::Tensor& found, const at::Tensor& wanted) {
  const at::Tensor w = wanted.to(at::kDouble);
  return ((found.to(at::kDouble) - w).norm() / w.norm()).item<double>();
}

TEST_CASE("text behind the video: every branch equals masks and loops", "[backends][text-tokens]") {
  const at::NoGradGuard no_grad;
  for (const int64_t text : {1, 5, 16}) {
    const TextQkv x = random_qkv(text, 11);
    for (const CoresetKeys keys : {CoresetKeys::kOfQueries, CoresetKeys::kOwn}) {
      INFO(text << " text tokens, own keys " << (keys == CoresetKeys::kOwn));
      const AttentionOptions options{.geometry = kGeometry, .routes = nullptr, .coreset_keys = keys};
      const std::vector<std::pair<const char*, at::Tensor>> branches = {
          {"dense", softmax_attention(x.q, x.k, x.v, {})},
          {"coreset", coreset(x, text, keys == CoresetKeys::kOwn)},
          {"sliding", softmax_attention(x.q, x.k, x.v, sliding_mask(text))}};
      auto table = std::make_shared<RouteTable>(uniform_routes(1, 1, kHeads, Branch::kDense));
      table->routes = {2, 1, 0, 1};
      const auto routed = make_attention("vorta", {.geometry = kGeometry, .routes = table, .coreset_keys = keys});
      routed->plan(kGrid, text);
      const at::Tensor mixed_heads = routed->run(x.q, x.k, x.v, kFirstText);
      for (const auto& [name, expected] : branches) {
        const auto backend = make_attention(name, options);
        backend->plan(kGrid, text);
        CHECK(relative_error(backend->run(x.q, x.k, x.v, kFirstText), expected) < 1e-5);
        const auto bf16 = [](const at::Tensor& t) { return t.to(at::kBFloat16); };
        if (std::string_view(name) != "coreset") {  // whose selection depends on roundings
          CHECK(relative_error(backend->run(bf16(x.q), bf16(x.k), bf16(x.v), kFirstText), expected) < 2e-2);
        }
      }
      CHECK(relative_error(mixed_heads.select(1, 0), branches[2].second.select(1, 0)) < 1e-5);
      CHECK(relative_error(mixed_heads.select(1, 1), branches[1].second.select(1, 1)) < 1e-5);
      CHECK(relative_error(mixed_heads.select(1, 2), branches[0].second.select(1, 2)) < 1e-5);
      CHECK(relative_error(mixed_heads.select(1, 3), branches[1].second.select(1, 3)) < 1e-5);
    }
  }
}

TEST_CASE("text behind the video: bf16 coreset kernels equal their own fp32 composition where similarities are exact",
          "[backends][text-tokens]") {
  TextQkv x = random_qkv(5, 17);
  // Sixteen signs and zeros: every norm and similarity is exact in bf16.
  for (at::Tensor* t : {&x.q, &x.k}) {
    *t = t->sign();
    t->narrow(3, 16, kDim - 16).zero_();
  }
  CoresetAttention backend(kGeometry.coreset_window, kGeometry.reduction_rate, CoresetKeys::kOwn);
  backend.plan(kGrid, 5);
  const auto with_gradients = [](const at::Tensor& t) {
    return t.detach().clone().requires_grad_();
  };  // no kernel takes them
  const at::Tensor expected =
      backend.run(with_gradients(x.q), with_gradients(x.k), with_gradients(x.v), kFirstText).detach();
  const at::NoGradGuard no_grad;
  const auto bf16 = [](const at::Tensor& t) { return t.to(at::kBFloat16); };
  CHECK(relative_error(backend.run(bf16(x.q), bf16(x.k), bf16(x.v), kFirstText), expected) < 1e-2);
}

TEST_CASE("text behind the video: it stays there when the video's tokens lie in tiles", "[backends][text-tokens]") {
  const at::NoGradGuard no_grad;
  const TextQkv x = random_qkv(5, 29);
  const at::Tensor tokens =
      at::cat({index_tensor(row_tokens(kGrid, kGeometry.tile)), at::arange(kVideo, kVideo + 5, at::kLong)});
  const auto tiled = [&](const at::Tensor& t) { return take_tokens(t, tokens); };
  for (const char* name : {"dense", "sliding", "coreset"}) {
    INFO(name);
    const auto backend =
        make_attention(name, {.geometry = kGeometry, .routes = nullptr, .coreset_keys = CoresetKeys::kOwn});
    backend->plan(kGrid, 5);
    const at::Tensor expected = tiled(backend->run(x.q, x.k, x.v, kFirstText));
    backend->set_order(kGeometry.tile);
    backend->plan(kGrid, 5);
    CHECK(relative_error(backend->run(tiled(x.q), tiled(x.k), tiled(x.v), kFirstText), expected) < 1e-5);
  }
}

TEST_CASE("text behind the video: density and FLOPs count it, plans follow its length", "[backends][text-tokens]") {
  const double all = kVideo + 5;
  for (const char* name : {"dense", "sliding", "coreset"}) {
    const auto backend = make_attention(name, {.geometry = kGeometry, .routes = nullptr});
    backend->plan(kGrid);
    const double without = backend->density(kFirstText);
    backend->plan(kGrid, 5);
    const double density = backend->density(kFirstText);
    CHECK(density >= without);
    if (std::string_view(name) == "coreset") continue;  // counts its selection, too
    CHECK(backend->flops({1, kHeads, kVideo, kDim}, kFirstText) == Approx(4.0 * kHeads * kDim * all * all * density));
  }
  SlidingTileAttention sliding(kGeometry.tile, kGeometry.sliding_window);
  sliding.plan(kGrid, 5);
  CHECK(sliding.density(kFirstText) == Approx(sliding_mask(5).to(at::kDouble).mean().item<double>()));
  const TextQkv x = random_qkv(3, 5);
  CHECK_THROWS_AS(sliding.run(x.q, x.k, x.v, kFirstText), InternalError);
  sliding.plan(kGrid, 3);
  CHECK(relative_error(sliding.run(x.q, x.k, x.v, kFirstText), softmax_attention(x.q, x.k, x.v, sliding_mask(3))) <
        1e-5);
}

TEST_CASE("text behind the video: the mixture is the branches' weighted sum", "[backends][text-tokens]") {
  const TextQkv x = random_qkv(5, 23);
  const at::Tensor scores = at::softmax(at::randn({2, kHeads, 3}, at::detail::createCPUGenerator(2), at::kFloat), -1);
  MixedAttention mixed(kGeometry, CoresetKeys::kOwn);
  mixed.plan(kGrid, 5);
  const auto weight = [&](int64_t e) { return scores.select(2, e).view({2, kHeads, 1, 1}); };
  const at::Tensor expected = weight(0) * softmax_attention(x.q, x.k, x.v, {}) + weight(1) * coreset(x, 5, true) +
                              weight(2) * softmax_attention(x.q, x.k, x.v, sliding_mask(5));
  CHECK(relative_error(mixed.run(x.q, x.k, x.v, scores), expected) < 1e-5);
}

}  // namespace
}  // namespace text_tokens_test
}  // namespace vorta::engine
