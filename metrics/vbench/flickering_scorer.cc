// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/flickering_scorer.h"

#include "engine/base/error.h"
#include "metrics/temporal/flickering.h"

namespace vorta::metrics {
namespace {

class Flickering final : public Scorer {
 public:
  std::optional<VideoScore> score(const VideoInput& video) override {
    if (video.frames.size(0) < 2) throw ConfigError(video.path, "expected at least 2 frames to compare, found 1");
    VideoScore score;
    score.frames = neighbour_differences(video.frames);
    score.sum = flickering_of(score.frames);
    score.value = score.sum;
    return score;
  }
};

}  // namespace

std::unique_ptr<Scorer> make_temporal_flickering(const ScorerSetup& /*setup*/) {
  return std::make_unique<Flickering>();
}

}  // namespace vorta::metrics
