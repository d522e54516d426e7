// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "engine/models/wan_config.h"
#include "engine/text/umt5.h"
#include "engine/train/render.h"
#include "engine/weights/tensor_map.h"

namespace vorta::engine {

/// The embedded model's video: 12 x 8 x 16 = 1536 tokens, which divide into tiles and windows of 16 and 8 tokens.
inline constexpr ClipSize kEmbeddedClip{45, 128, 256};
/// Rows of text that it attends to; captions are shorter, and every row costs time.
inline constexpr int64_t kEmbeddedTextRows = 64;

/// How the trained model is meant to be sampled: vorta_defaults.json and the scheduler's shift.
struct SamplingDefaults {
  ClipSize clip = kEmbeddedClip;
  int64_t steps = 20;
  double guidance = 5;
  double flow_shift = 7;
  double fps = 12;
};

/// Prefixes of the two networks that are trained together.
inline constexpr const char* kTransformerPrefix = "transformer.";
inline constexpr const char* kTextPrefix = "text_encoder.";
/// The tensors of `all` whose name starts with `prefix`, without it. Handles are shared.
TensorMap with_prefix_removed(const TensorMap& all, const std::string& prefix);

/// A whole model folder in the diffusers layout.
struct ModelBundle {
  WanTransformerConfig transformer;
  Umt5Config text_encoder;
  TensorMap weights;                 // both networks, with their prefixes
  std::filesystem::path vae_dir;     // copied
  SamplingDefaults defaults;
  int64_t max_tokens = kEmbeddedTextRows;
};

/// Writes model_index.json, transformer/, text_encoder/, tokenizer/, vae/, scheduler/, vorta_defaults.json to `dir`,
/// bf16.
void write_model_bundle(const std::filesystem::path& dir, const ModelBundle& bundle);

}  // namespace vorta::engine
