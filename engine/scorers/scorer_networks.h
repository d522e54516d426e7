// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/scorers/flow_network.h"
#include "engine/scorers/frame_network.h"
#include "engine/scorers/video_network.h"

namespace vorta::engine {

/// All scorers of the embedded model's domain, as one file holds them.
struct ScorerNetworks {
  ScorerNetworks(const ParameterSource& source, int64_t words)
      : frame(source.scope("frame")),
        quality(source.scope("quality")),
        video(source.scope("video")),
        text(source.scope("text"), words),
        flow(source.scope("flow")) {}

  FrameNetwork frame;
  QualityNetwork quality;
  VideoNetwork video;
  TextNetwork text;
  FlowNetwork flow;
};

}  // namespace vorta::engine
