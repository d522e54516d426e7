// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/beam_search.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace vorta::metrics {
namespace {

struct Hypothesis {
  double score;
  std::vector<int64_t> tokens;
};

// The best finished sequences, a bounded number.
class Finished {
 public:
  explicit Finished(std::size_t most) : most_(most) {}

  void add(std::vector<int64_t> tokens, double total) {
    const double score = total / static_cast<double>(tokens.size());
    if (best_.size() == most_ && score <= worst().score) return;
    if (best_.size() == most_) best_.erase(best_.begin() + (&worst() - best_.data()));
    best_.push_back({score, std::move(tokens)});
  }
  // Whether nothing that still grows, at best `total` over `length` tokens, can enter.
  bool closed(double total, double length) const { return best_.size() == most_ && worst().score >= total / length; }
  const std::vector<int64_t>& best() const { return std::max_element(best_.begin(), best_.end(), less)->tokens; }

 private:
  static bool less(const Hypothesis& a, const Hypothesis& b) { return a.score < b.score; }
  const Hypothesis& worst() const { return *std::min_element(best_.begin(), best_.end(), less); }

  std::size_t most_;
  std::vector<Hypothesis> best_;
};

struct Beams {
  std::vector<std::vector<int64_t>> tokens;
  std::vector<float> totals;
  std::vector<int64_t> origins, newest;
};

// One step: the candidates of all beams, best first, become finished sequences or beams. Returns the best total.
float advance(Beams& beams, const at::Tensor& logits, const BeamRules& rules, Finished& finished) {
  const auto length = static_cast<int64_t>(beams.tokens[0].size());
  at::Tensor scores = logits.to(at::kCPU, at::kFloat).log_softmax(1);
  if (length < rules.min_length) scores.select(1, rules.end).fill_(-std::numeric_limits<float>::infinity());
  const int64_t vocabulary = scores.size(1);
  const at::Tensor totals = (scores + at::tensor(beams.totals).unsqueeze(1)).flatten();
  const auto [values, indices] = totals.topk(2 * rules.beams);
  Beams next;
  for (int64_t rank = 0; rank < values.size(0) && static_cast<int64_t>(next.tokens.size()) < rules.beams; ++rank) {
    const float total = values.const_data_ptr<float>()[rank];
    const int64_t index = indices.const_data_ptr<int64_t>()[rank];
    const int64_t origin = index / vocabulary, token = index % vocabulary;
    std::vector<int64_t> tokens = beams.tokens[static_cast<std::size_t>(origin)];
    if (token == rules.end) {
      if (rank < rules.beams) finished.add(std::move(tokens), static_cast<double>(total));
      continue;
    }
    tokens.push_back(token);
    next.tokens.push_back(std::move(tokens));
    next.totals.push_back(total);
    next.origins.push_back(origin);
    next.newest.push_back(token);
  }
  beams = std::move(next);
  return values.const_data_ptr<float>()[0];
}

}  // namespace

std::vector<int64_t> beam_search(const std::vector<int64_t>& prompt, const at::Tensor& first, const BeamRules& rules,
                                 const BeamStep& step) {
  constexpr float kNever = -1e9F;  // all beams begin alike, so only the first may be continued
  const auto count = static_cast<std::size_t>(rules.beams);
  Beams beams{std::vector(count, prompt), std::vector(count, kNever), {}, {}};
  beams.totals[0] = 0.0F;
  Finished finished(count);
  for (at::Tensor logits = first;; logits = step(at::tensor(beams.newest), at::tensor(beams.origins))) {
    const float best = advance(beams, logits, rules, finished);
    const auto length = static_cast<int64_t>(beams.tokens[0].size());
    if (finished.closed(static_cast<double>(best), static_cast<double>(length))) break;
    if (length < rules.max_length) continue;
    for (std::size_t b = 0; b < count; ++b) finished.add(beams.tokens[b], static_cast<double>(beams.totals[b]));
    break;
  }
  return finished.best();
}

}  // namespace vorta::metrics
