// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "engine/text/clip_tokenizer.h"
#include "metrics/core/scorer.h"
#include "metrics/vbench/clip.h"

namespace vorta::metrics {

/// Frames [F, 3, Y, X] uint8 and a style -> [F] float32: CLIP's logit of each frame and the style.
using StyleLogits = std::function<at::Tensor(const at::Tensor& frames, const std::string& style)>;

/// The mean over a video's frames; the aggregate is over all frames of all videos. The style is auxiliary_info's.
std::unique_ptr<Scorer> appearance_scorer(StyleLogits logits);
/// CLIP's logits of images [F, E] and one text [1, E], features as the towers give them -> [F].
at::Tensor clip_logits(const Clip& clip, const at::Tensor& image_features, const at::Tensor& text_features);

/// By a CLIP of any size on `device`, kept with both towers and ViT-B/32's context.
std::unique_ptr<Scorer> appearance_scorer(std::shared_ptr<const Clip> clip,
                                          std::shared_ptr<const engine::ClipTokenizer> tokenizer, at::Device device);

std::unique_ptr<Scorer> make_appearance_style(const ScorerSetup& setup);

}  // namespace vorta::metrics
