// SPDX-License-Identifier: Apache-2.0
// tests/golden/learned: what small networks of the official kinds have learnt (train_vbench_networks.py), made into
// checkpoints of the official layout.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "engine/weights/safetensors.h"
#include "engine/weights/weight_reader.h"

namespace vorta::test {

constexpr int64_t kClipVocabulary = 49408;

// Rows below zeros: [count, ..] -> [rows, ..].
inline at::Tensor with_zero_rows(const at::Tensor& some, int64_t rows) {
  at::Tensor all = at::zeros({rows, some.size(1)}, some.options());
  all.narrow(0, 0, some.size(0)).copy_(some);
  return all;
}

/// Whether a network's learnt values stay where they are, or change places within each tensor: as large, but nothing.
enum class Learned { kKept, kMixedUp };

/// The checkpoint of "musiq", "clip" (with the aesthetic head below "head"), "umt" or "viclip"; `context`: tokens of a
/// text, 0 for a network without texts.
inline engine::TensorMap learned_weights(const std::string& name, int64_t context, Learned learned = Learned::kKept) {
  const auto file = engine::read_safetensors(std::string(VORTA_SOURCE_DIR) + "/tests/golden/learned/" + name +
                                             ".safetensors");
  const int64_t scale = file.tensors.at("scale").item<int64_t>();
  engine::TensorMap made;
  at::manual_seed(17);
  for (const auto& [key, stored] : file.tensors) {
    if (key == "scale" || key == "token_ids") continue;
    at::Tensor value = stored.to(at::kFloat);
    if (learned == Learned::kMixedUp && value.dim() > 1)
      value = value.flatten().index_select(0, at::randperm(value.numel())).view(value.sizes());
    if (value.dim() >= 4 && scale > 1) {  // a patch's kernel: means of scale x scale pixels
      value = value.repeat_interleave(scale, -1).repeat_interleave(scale, -2) / static_cast<double>(scale * scale);
    } else if (key.ends_with("token_embedding.weight")) {
      const at::Tensor rows = value;
      value = at::zeros({kClipVocabulary, rows.size(1)}).index_copy(0, file.tensors.at("token_ids"), rows);
    } else if (key == "positional_embedding" || key == "text_encoder.positional_embedding") {
      value = with_zero_rows(value, context);
    } else if (key == "embedding.weight") {  // MUSIQ's, the mean of 64 cells
      value = value.repeat({1, 64}) / 64;
    }
    made.emplace(key, value);
  }
  return made;
}

}  // namespace vorta::test
