// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <vector>

#include "engine/train/scene.h"

namespace vorta::engine {

inline constexpr int64_t kScorerVideoFrames = 45;  // of the videos whose eight middle frames are rendered
inline constexpr int64_t kScorerMostObjects = 3;
inline constexpr int64_t kScorerTexts = 4;         // a video: its caption, and three with one thing changed
inline constexpr int64_t kScorerTemporalClasses = 12 * 5;
inline constexpr int64_t kScorerStyles = 8;

/// Rendered clips with the truth of everything the scorers learn. B clips; all tensors on one device.
struct ScorerBatch {
  at::Tensor frames;  // [B, 9, 3, 128, 256] uint8: eight of a video, and one some frames before or after frame `pair`
  at::Tensor pair;  // [B] int64
  at::Tensor flow;  // [B, 2, 32, 64] in pixels from frame `pair` to the ninth
  at::Tensor objects;  // [B, 9, 3, 6]: x, y, radius in pixels, shape, colour, 1 where there is one
  at::Tensor motion;  // [B, 12] 1 for each motion that the clip can be said to have
  at::Tensor temporal;  // [B] int64: motion * 5 + camera
  at::Tensor background;  // [B] int64
  at::Tensor style;  // [B] int64: bits outlined, striped, dotted
  at::Tensor attributes;  // [B, 21]: shapes, colours, textures there, and how many objects, one of 0 to 3
  at::Tensor subject;  // [B] int64, equal for clips whose objects look alike
  at::Tensor shown;  // [B] 1, or 0 for a background without objects
  at::Tensor texts;  // [B, 4, 40] token ids
};

/// Batch `number` of `count` clips: a pure function of its arguments.
ScorerBatch scorer_batch(uint64_t seed, int64_t number, int64_t count, Split split);
ScorerBatch joined(const std::vector<ScorerBatch>& batches);
ScorerBatch on_device(const ScorerBatch& batch, at::Device device);

/// Token ids of texts, [texts, 40].
at::Tensor scorer_tokens(const std::vector<std::string>& texts);
/// Descriptions of all 60 temporal classes and all 8 styles; the wordings follow `seed`.
std::vector<std::string> temporal_texts(uint64_t seed);
std::vector<std::string> style_texts();

}  // namespace vorta::engine
