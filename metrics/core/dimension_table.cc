// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "engine/base/error.h"
#include "engine/base/registry.h"
#include "metrics/core/scorer.h"
#include "metrics/embedded/embedded_scorers.h"
#include "metrics/vbench/appearance_style.h"
#include "metrics/vbench/clip_similarity.h"
#include "metrics/vbench/consistency.h"
#include "metrics/vbench/detection.h"
#include "metrics/vbench/dynamic_degree.h"
#include "metrics/vbench/flickering_scorer.h"
#include "metrics/vbench/frame_quality.h"
#include "metrics/vbench/human_action.h"
#include "metrics/vbench/motion_smoothness.h"
#include "metrics/vbench/scene.h"

namespace vorta::metrics {
namespace {

using engine::RgbConversion;

constexpr std::string_view kVersion = "vbench 0.1.5";
constexpr std::string_view kEmbeddedVersion = "embedded 2";
constexpr int64_t kEveryFrame = 0;
constexpr FrameInput kAllByOpenCv{.conversion = RgbConversion::kOpenCv};
constexpr FrameInput kAllByFilter{.conversion = RgbConversion::kFilter, .middle = kEveryFrame};
constexpr FrameInput kEightMiddle{.conversion = RgbConversion::kFilter, .middle = 8};
constexpr FrameInput kSixteenMiddle{.conversion = RgbConversion::kFilter, .middle = 16};
constexpr FrameInput kSixteenAt384{.conversion = RgbConversion::kFilter, .middle = 16, .height = 384, .width = 384};

constexpr std::array<std::string_view, 1> kDino{"dino_vitb16"};
constexpr std::array<std::string_view, 1> kClipB32{"clip_vitb32"};
constexpr std::array<std::string_view, 2> kAesthetic{"clip_vitl14", "laion_head"};
constexpr std::array<std::string_view, 1> kMusiq{"musiq_spaq"};
constexpr std::array<std::string_view, 1> kAmt{"amt_s"};
constexpr std::array<std::string_view, 1> kRaft{"raft_things"};
constexpr std::array<std::string_view, 1> kUmt{"umt_l16"};
constexpr std::array<std::string_view, 1> kViclip{"viclip"};
constexpr std::array<std::string_view, 2> kGrit{"grit_b", "bert_vocabulary"};
constexpr std::array<std::string_view, 2> kTag2text{"tag2text", "bert_vocabulary"};

constexpr std::array<std::string_view, 1> kScorers{"embedded_scorers"};

constexpr auto kQuality = Group::kQuality;
constexpr auto kSemantic = Group::kSemantic;

const std::array kDimensions{
    Dimension{.name = "subject_consistency",
              .description = "DINO features of neighbouring frames and of the first agree",
              .version = kVersion,
              .group = kQuality,
              .normalisation = {.min = 0.1462},
              .frames = kAllByFilter,
              .min_frames = 2,
              .reads_frames = true,
              .weights = kDino,
              .make = &make_subject_consistency},
    Dimension{.name = "background_consistency",
              .description = "CLIP features of neighbouring frames and of the first agree",
              .version = kVersion,
              .group = kQuality,
              .normalisation = {.min = 0.2615},
              .frames = kAllByFilter,
              .min_frames = 2,
              .reads_frames = true,
              .weights = kClipB32,
              .make = &make_background_consistency},
    Dimension{.name = "aesthetic_quality",
              .description = "LAION's aesthetic predictor on CLIP features",
              .version = kVersion,
              .group = kQuality,
              .frames = kAllByFilter,
              .weights = kAesthetic,
              .make = &make_aesthetic_quality},
    Dimension{.name = "imaging_quality",
              .description = "MUSIQ's technical quality of the frames",
              .version = kVersion,
              .group = kQuality,
              .divisor = 100.0,
              .frames = kAllByFilter,
              .weights = kMusiq,
              .make = &make_imaging_quality},
    Dimension{.name = "object_class",
              .description = "the object of the prompt is detected",
              .version = kVersion,
              .group = kSemantic,
              .frames = kSixteenMiddle,
              .needs_auxiliary = true,
              .weights = kGrit,
              .make = &make_object_class},
    Dimension{.name = "multiple_objects",
              .description = "both objects of the prompt are detected",
              .version = kVersion,
              .group = kSemantic,
              .frames = kSixteenMiddle,
              .needs_auxiliary = true,
              .weights = kGrit,
              .make = &make_multiple_objects},
    Dimension{.name = "color",
              .description = "the object has the colour of the prompt",
              .version = kVersion,
              .group = kSemantic,
              .frames = kSixteenMiddle,
              .needs_auxiliary = true,
              .weights = kGrit,
              .make = &make_color},
    Dimension{.name = "spatial_relationship",
              .description = "two objects lie as the prompt says",
              .version = kVersion,
              .group = kSemantic,
              .frames = kSixteenMiddle,
              .needs_auxiliary = true,
              .weights = kGrit,
              .make = &make_spatial_relationship},
    Dimension{.name = "scene",
              .description = "captions name the scene of the prompt",
              .version = kVersion,
              .group = kSemantic,
              .normalisation = {.max = 0.8222},
              .frames = kSixteenAt384,
              .needs_auxiliary = true,
              .weights = kTag2text,
              .make = &make_scene},
    Dimension{.name = "temporal_style",
              .description = "ViCLIP similarity of video and prompt, camera and motion prompts",
              .version = kVersion,
              .group = kSemantic,
              .normalisation = {.max = 0.364},
              .frames = kEightMiddle,
              .weights = kViclip,
              .make = &make_clip_similarity},
    Dimension{.name = "overall_consistency",
              .description = "ViCLIP similarity of video and prompt",
              .version = kVersion,
              .group = kSemantic,
              .normalisation = {.max = 0.364},
              .frames = kEightMiddle,
              .weights = kViclip,
              .make = &make_clip_similarity},
    Dimension{.name = "human_action",
              .description = "UMT recognises the action of the prompt",
              .version = kVersion,
              .group = kSemantic,
              .frames = kSixteenMiddle,
              .weights = kUmt,
              .make = &make_human_action},
    Dimension{.name = "temporal_flickering",
              .description = "mean absolute difference of neighbouring frames, from 1",
              .version = kVersion,
              .group = kQuality,
              .normalisation = {.min = 0.6293},
              .frames = kAllByOpenCv,
              .min_frames = 2,
              .make = &make_temporal_flickering},
    Dimension{.name = "motion_smoothness",
              .description = "AMT-S predicts every other frame from its neighbours",
              .version = kVersion,
              .group = kQuality,
              .normalisation = {.min = 0.706, .max = 0.9975},
              .frames = kAllByOpenCv,
              .min_frames = 3,
              .weights = kAmt,
              .make = &make_motion_smoothness},
    Dimension{.name = "dynamic_degree",
              .description = "share of videos with RAFT flow above a threshold",
              .version = kVersion,
              .group = kQuality,
              .normalisation = {.weight = 0.5},
              .frames = kAllByOpenCv,
              .weights = kRaft,
              .make = &make_dynamic_degree},
    Dimension{.name = "appearance_style",
              .description = "CLIP similarity of frames and style",
              .version = kVersion,
              .group = kSemantic,
              .normalisation = {.min = 0.0009, .max = 0.2855},
              .frames = kAllByFilter,
              .needs_auxiliary = true,
              .weights = kClipB32,
              .make = &make_appearance_style},

    // The same definitions with the networks and the label set of the embedded model's domain.
    Dimension{.name = "subject_consistency",
              .description = "features of the objects, trained to be those of one clip, agree",
              .version = kEmbeddedVersion,
              .group = kQuality,
              .frames = kSixteenMiddle,
              .min_frames = 2,
              .weights = kScorers,
              .make = &make_embedded_subject_consistency,
              .profile = Profile::kEmbedded},
    Dimension{.name = "background_consistency",
              .description = "features of what is behind, trained likewise, agree",
              .version = kEmbeddedVersion,
              .group = kQuality,
              .frames = kSixteenMiddle,
              .min_frames = 2,
              .weights = kScorers,
              .make = &make_embedded_background_consistency,
              .profile = Profile::kEmbedded},
    Dimension{.name = "aesthetic_quality",
              .description = "how little shapes are bent, doubled or washed out",
              .version = kEmbeddedVersion,
              .group = kQuality,
              .frames = kSixteenMiddle,
              .weights = kScorers,
              .make = &make_embedded_aesthetic_quality,
              .profile = Profile::kEmbedded},
    Dimension{.name = "imaging_quality",
              .description = "how little frames are blurred, noisy, blocky or faded",
              .version = kEmbeddedVersion,
              .group = kQuality,
              .divisor = 100.0,
              .frames = kSixteenMiddle,
              .weights = kScorers,
              .make = &make_embedded_imaging_quality,
              .profile = Profile::kEmbedded},
    Dimension{.name = "object_class",
              .description = "the shape of the prompt is detected",
              .version = kEmbeddedVersion,
              .group = kSemantic,
              .frames = kSixteenMiddle,
              .weights = kScorers,
              .make = &make_embedded_object_class,
              .profile = Profile::kEmbedded},
    Dimension{.name = "multiple_objects",
              .description = "both coloured shapes of the prompt are detected",
              .version = kEmbeddedVersion,
              .group = kSemantic,
              .frames = kSixteenMiddle,
              .weights = kScorers,
              .make = &make_embedded_multiple_objects,
              .profile = Profile::kEmbedded},
    Dimension{.name = "color",
              .description = "the shape has the colour of the prompt",
              .version = kEmbeddedVersion,
              .group = kSemantic,
              .frames = kSixteenMiddle,
              .weights = kScorers,
              .make = &make_embedded_color,
              .profile = Profile::kEmbedded},
    Dimension{.name = "spatial_relationship",
              .description = "two coloured shapes lie as the prompt says",
              .version = kEmbeddedVersion,
              .group = kSemantic,
              .frames = kSixteenMiddle,
              .weights = kScorers,
              .make = &make_embedded_spatial_relationship,
              .profile = Profile::kEmbedded},
    Dimension{.name = "scene",
              .description = "the background is that of the prompt",
              .version = kEmbeddedVersion,
              .group = kSemantic,
              .frames = kSixteenMiddle,
              .weights = kScorers,
              .make = &make_embedded_scene,
              .profile = Profile::kEmbedded},
    Dimension{.name = "temporal_style",
              .description = "similarity of video and the prompt's motion and camera",
              .version = kEmbeddedVersion,
              .group = kSemantic,
              .frames = kEightMiddle,
              .weights = kScorers,
              .make = &make_embedded_temporal_style,
              .profile = Profile::kEmbedded},
    Dimension{.name = "overall_consistency",
              .description = "similarity of video and prompt",
              .version = kEmbeddedVersion,
              .group = kSemantic,
              .frames = kEightMiddle,
              .weights = kScorers,
              .make = &make_embedded_overall_consistency,
              .profile = Profile::kEmbedded},
    Dimension{.name = "human_action",
              .description = "the motion of the prompt is recognised",
              .version = kEmbeddedVersion,
              .group = kSemantic,
              .frames = kEightMiddle,
              .weights = kScorers,
              .make = &make_embedded_human_action,
              .profile = Profile::kEmbedded},
    Dimension{.name = "temporal_flickering",
              .description = "mean absolute difference of neighbouring frames, from 1",
              .version = kEmbeddedVersion,
              .group = kQuality,
              .normalisation = {.min = 0.6293},
              .frames = kAllByOpenCv,
              .min_frames = 2,
              .make = &make_temporal_flickering,
              .profile = Profile::kEmbedded},
    Dimension{.name = "motion_smoothness",
              .description = "flow predicts every other frame from its neighbours",
              .version = kEmbeddedVersion,
              .group = kQuality,
              .frames = kAllByOpenCv,
              .min_frames = 3,
              .weights = kScorers,
              .make = &make_embedded_motion_smoothness,
              .profile = Profile::kEmbedded},
    Dimension{.name = "dynamic_degree",
              .description = "share of videos with flow above a threshold",
              .version = kEmbeddedVersion,
              .group = kQuality,
              .normalisation = {.weight = 0.5},
              .frames = kAllByOpenCv,
              .weights = kScorers,
              .make = &make_embedded_dynamic_degree,
              .profile = Profile::kEmbedded},
    Dimension{.name = "appearance_style",
              .description = "similarity of frames and the prompt's textures and outlines",
              .version = kEmbeddedVersion,
              .group = kSemantic,
              .frames = kSixteenMiddle,
              .weights = kScorers,
              .make = &make_embedded_appearance_style,
              .profile = Profile::kEmbedded},
};

}  // namespace

std::span<const Dimension> dimension_table() { return kDimensions; }

const Dimension& find_dimension(std::string_view name, Profile profile) {
  for (const Dimension& dimension : kDimensions) {
    if (dimension.name == name && dimension.profile == profile) return dimension;
  }
  const auto twice = std::find_if(kDimensions.begin(), kDimensions.end(),
                                  [](const Dimension& row) { return row.profile != Profile::kVbench; });
  return find_entry(std::span<const Dimension>(kDimensions.begin(), twice), "dimension",
                    name);  // every name is in both profiles
}

Profile parse_profile(std::string_view name, std::string_view where) {
  for (const Profile profile : {Profile::kVbench, Profile::kEmbedded}) {
    if (name == to_string(profile)) return profile;
  }
  throw ConfigError(where, fmt::format("expected vbench or embedded, found '{}'", name));
}

std::string_view to_string(Profile profile) { return profile == Profile::kVbench ? "vbench" : "embedded"; }

}  // namespace vorta::metrics
