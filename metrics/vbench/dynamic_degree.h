// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <functional>
#include <memory>
#include <vector>

#include "metrics/backbones/raft.h"
#include "metrics/core/scorer.h"

namespace vorta::metrics {

/// Whether a video moves, and the strengths that were needed to tell: one a pair of kept frames, in order.
struct Motion {
  bool moves = false;
  std::vector<double> strengths;
};

/// VBench's dynamic_degree of frames [F, 3, Y, X] uint8: every max(1, round(fps / 8))-th frame is kept; the video moves
/// when round(kept / 4) pairs of kept neighbours have a strength above 6 min(Y, X) / 256. Pairs after the verdict are
/// not looked at. @throws ConfigError when a side, padded to a multiple of 8, is below 128.
Motion dynamic_degree(const Raft& raft, const at::Tensor& frames, double fps);

/// What VBench asks of the flow between kept frames; another profile has limits for its own objects.
struct MotionRule {
  double share = 0.05;  // of the longest vectors
  double threshold = 6.0;  // pixels of a frame whose shorter side is 256
};
/// The strength of the flow from frame `from` to frame `to` of `kept` [K, 3, Y, X] uint8, as flow_strength.
using PairStrength = std::function<double(const at::Tensor& kept, int64_t from, int64_t to, double share)>;
/// The same rule with another network's flow.
Motion dynamic_degree(const PairStrength& strength, const at::Tensor& frames, double fps, const MotionRule& rule);
std::unique_ptr<Scorer> dynamic_degree_scorer(PairStrength strength, const MotionRule& rule);

/// VBench's filter of temporal_flickering: whether the frames [F, 3, Y, X] uint8 show a static scene. All neighbours
/// are looked at, with limits 3 min(Y, X) / 256 and round(F / 8), then the first and the last frame both ways.
bool is_static(const Raft& raft, const at::Tensor& frames);

/// Mean length of the `share` longest vectors of a flow [1, 2, Y, X].
double flow_strength(const at::Tensor& flow, double share);

std::unique_ptr<Scorer> make_dynamic_degree(const ScorerSetup& setup);

}  // namespace vorta::metrics
