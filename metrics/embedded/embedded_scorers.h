// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "metrics/core/scorer.h"

namespace vorta::metrics {

/// The dimensions with the networks and the label set of the embedded model's domain, by the code of VBench's. A video
/// without auxiliary values is asked what its prompt says; a prompt that says nothing of a dimension leaves the video
/// out.
std::unique_ptr<Scorer> make_embedded_subject_consistency(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_embedded_background_consistency(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_embedded_aesthetic_quality(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_embedded_imaging_quality(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_embedded_object_class(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_embedded_multiple_objects(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_embedded_color(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_embedded_spatial_relationship(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_embedded_scene(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_embedded_temporal_style(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_embedded_overall_consistency(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_embedded_human_action(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_embedded_motion_smoothness(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_embedded_dynamic_degree(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_embedded_appearance_style(const ScorerSetup& setup);

}  // namespace vorta::metrics
