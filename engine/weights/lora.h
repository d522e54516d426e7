// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/weights/tensor_map.h"

#include <ATen/core/TensorBody.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace vorta::engine {

/// One change of one parameter: strength * scale * up down, or strength * difference.
struct LoraChange {
  std::string parameter;  // of the model, diffusers names: "blocks.0.attn1.to_q.weight"
  at::Tensor down;        // [rank, in] fp32
  at::Tensor up;          // [out, rank] fp32
  at::Tensor difference;  // the parameter's shape, fp32; undefined for a low-rank change
  double scale = 1;       // alpha / rank; 1 where the file has no alpha
};

/// Which keys of a file found their parameter.
struct LoraReport {
  std::string file;
  std::string style;    // how the file names things: "diffusers", "original", "kohya"
  int64_t matched = 0;  // keys
  std::vector<std::pair<std::string, std::string>> unmatched;  // key, reason
  bool touches_time = false;  // it changes what routers read: they were trained on another time embedding
  /// Lines for a log: counts, then every key that was left out with its reason.
  std::vector<std::string> lines() const;
};

struct LoraChanges {
  std::vector<LoraChange> changes;
  LoraReport report;
};

/// Reads a LoRA file for a model with these parameters. Known: the prefixes and suffixes of PEFT, diffusers, kohya and
/// musubi, and LightX2V; `.diff`, `.diff_b`, `.diff_m`; names of diffusers, of the original Wan and HunyuanVideo code,
/// and of ComfyUI; fused projections are split.
/// @throws DataError when not one key fits, or a change has another size than its parameter: a file for another model.
LoraChanges read_lora(const std::filesystem::path& path, const TensorMap& model);
LoraChanges read_lora(const TensorMap& tensors, const std::string& source, const TensorMap& model);

/// The change as a whole, of the parameter's shape, fp32, for strength 1.
at::Tensor lora_difference(const LoraChange& change, at::IntArrayRef shape);

/// Changes, and how much of them.
struct WeightedLora {
  const LoraChanges* changes = nullptr;
  double strength = 1;
};
/// Adds every change to its parameter: all of a parameter's summed in fp32, then rounded once, to the parameter's dtype
/// or to that of the network where this is the wider.
void merge_loras(const std::vector<WeightedLora>& loras, c10::ScalarType network, TensorMap& model);

/// Every parameter of a model from one file that names them in any of those styles: a whole distilled checkpoint, as
/// safetensors or torch.save (read_checkpoint), bare or inside a training's `generator_ema`, `generator`, `module` or
/// `state_dict`.
/// @throws DataError naming keys that the model has no place for, parameters that the file lacks, and other sizes.
TensorMap read_renamed_weights(const std::filesystem::path& path, const TensorMap& model);

/// Names under which a side path of module "blocks.0.attn1.to_q" stands among a model's weights.
inline constexpr const char* kLoraDown = ".lora_A.weight";  // [rank, in]
inline constexpr const char* kLoraUp = ".lora_B.weight";  // [out, rank], with scale and strength
inline constexpr const char* kLoraRank = ".lora_rank";  // [] int64: the rank, which no configuration says
/// Puts low-rank changes of matrices beside their weights, to be applied at run time; several on one module become one
/// of their summed rank. All other changes are merged.
void attach_loras(const std::vector<WeightedLora>& loras, c10::ScalarType network, TensorMap& model);

}  // namespace vorta::engine
