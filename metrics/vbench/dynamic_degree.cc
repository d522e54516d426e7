// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/dynamic_degree.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "engine/base/error.h"
#include "metrics/vbench/networks.h"

namespace vorta::metrics {
namespace {

constexpr int64_t kIterations = 20;
constexpr int64_t kMultiple = 8;
constexpr int64_t kLeastSide = 128;

// Pairs of frames of one video, encoding each frame once.
class Pairs {
 public:
  Pairs(const Raft& raft, const at::Tensor& frames) : raft_(raft), frames_(frames) {
    const auto padded = [](int64_t side) { return (side + kMultiple - 1) / kMultiple * kMultiple; };
    if (std::min(padded(frames.size(2)), padded(frames.size(3))) < kLeastSide) {
      throw ConfigError("dynamic_degree",
                        fmt::format("expected frames of at least {} x {} pixels, found {} x {}: RAFT's "
                                    "coarsest correlation would be a single pixel wide",
                                    kLeastSide, kLeastSide, frames.size(3), frames.size(2)));
    }
  }

  // The strength of the flow from frame `from` to frame `to`. Not cropped to the unpadded frame, as in VBench.
  double strength(int64_t from, int64_t to, double share) {
    const Raft::Image first = encoded(from);
    return flow_strength(raft_.flow(first, encoded(to), kIterations), share);
  }

 private:
  const Raft::Image& encoded(int64_t index) {
    for (const Slot& slot : recent_) {
      if (slot.frame == index) return slot.image;
    }
    Slot& slot = recent_[oldest_];
    oldest_ = 1 - oldest_;
    slot = {index, raft_.encode(pad_to_multiple(frames_.narrow(0, index, 1).to(at::kFloat), kMultiple))};
    return slot.image;
  }

  struct Slot {
    int64_t frame = -1;
    Raft::Image image;
  };
  const Raft& raft_;
  const at::Tensor& frames_;
  Slot recent_[2];
  int oldest_ = 0;
};

double threshold(const at::Tensor& frames, double factor) {
  return factor * (static_cast<double>(std::min(frames.size(2), frames.size(3))) / 256.0);
}

// Half to even, as Python rounds.
int64_t limit(int64_t frames, double factor) {
  return static_cast<int64_t>(std::nearbyint(factor * (static_cast<double>(frames) / 16.0)));
}

class DynamicDegree final : public Scorer {
 public:
  using Judge = std::function<Motion(const at::Tensor& frames, double fps)>;
  explicit DynamicDegree(Judge judge) : judge_(std::move(judge)) {}

  std::optional<VideoScore> score(const VideoInput& video) override {
    const Motion motion = judge_(video.frames, video.fps);
    VideoScore score;
    score.value = motion.moves;
    score.sum = motion.moves ? 1.0 : 0.0;
    score.frames = motion.strengths;
    return score;
  }

 private:
  Judge judge_;
};

}  // namespace

double flow_strength(const at::Tensor& flow, double share) {
  const at::Tensor lengths = flow.square().sum(1).sqrt_().flatten();
  const auto count = static_cast<int64_t>(static_cast<double>(lengths.numel()) * share);
  return std::get<0>(lengths.topk(count, 0, true, false)).mean(at::kDouble).item<double>();
}

Motion dynamic_degree(const Raft& raft, const at::Tensor& frames, double fps) {
  std::optional<Pairs> flows;
  return dynamic_degree(
      [&](const at::Tensor& kept, int64_t from, int64_t to, double share) {
        if (!flows) flows.emplace(raft, kept);
        return flows->strength(from, to, share);
      },
      frames, fps, {});
}

Motion dynamic_degree(const PairStrength& strength, const at::Tensor& frames, double fps, const MotionRule& rule) {
  constexpr double kRate = 8.0, kCount = 4.0;
  const at::NoGradGuard no_grad;
  const auto interval = std::max<int64_t>(1, static_cast<int64_t>(std::nearbyint(fps / kRate)));
  const at::Tensor kept = frames.slice(0, 0, frames.size(0), interval);
  const int64_t needed = limit(kept.size(0), kCount), pairs = kept.size(0) - 1;
  Motion motion;
  int64_t found = 0;
  for (int64_t p = 0; p < pairs && !motion.moves && found + pairs - p >= needed; ++p) {
    if (needed > 0) motion.strengths.push_back(strength(kept, p, p + 1, rule.share));
    if (needed > 0 && !std::isfinite(motion.strengths.back())) {
      throw DataError("dynamic_degree", fmt::format("the flow between kept frames {} and {} is not finite", p, p + 1));
    }
    if (needed > 0 && motion.strengths.back() > threshold(frames, rule.threshold)) ++found;
    motion.moves = found >= needed;
  }
  return motion;
}

bool is_static(const Raft& raft, const at::Tensor& frames) {
  constexpr double kThreshold = 3.0, kCount = 2.0, kShare = 0.02;
  const at::NoGradGuard no_grad;
  const int64_t last = frames.size(0) - 1, allowed = limit(frames.size(0), kCount);
  const double most = threshold(frames, kThreshold);
  Pairs flows(raft, frames);
  int64_t found = 0;
  for (int64_t p = 0; p < last; ++p) {
    if (flows.strength(p, p + 1, kShare) > most) ++found;
    if (found > allowed) return false;
  }
  const double most_overall = most * static_cast<double>(allowed) * 2.0;
  return flows.strength(0, last, kShare) <= most_overall && flows.strength(last, 0, kShare) <= most_overall;
}

std::function<bool(const at::Tensor&)> make_static_judge(const ScorerSetup& setup) {
  return
      [raft = load_network<Raft>(setup, "raft_things")](const at::Tensor& frames) { return is_static(*raft, frames); };
}

std::unique_ptr<Scorer> dynamic_degree_scorer(PairStrength strength, const MotionRule& rule) {
  return std::make_unique<DynamicDegree>([strength = std::move(strength), rule](const at::Tensor& frames, double fps) {
    return dynamic_degree(strength, frames, fps, rule);
  });
}

std::unique_ptr<Scorer> make_dynamic_degree(const ScorerSetup& setup) {
  return std::make_unique<DynamicDegree>(
      [raft = load_network<Raft>(setup, "raft_things")](const at::Tensor& frames, double fps) {
        return dynamic_degree(*raft, frames, fps);
      });
}

}  // namespace vorta::metrics
