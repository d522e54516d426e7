// SPDX-License-Identifier: Apache-2.0
// Weights by rule: tests/golden/vbench_weights.py in C++.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/weights/tensor_map.h"

namespace vorta::test {

struct NamedShape {
  std::string name;
  std::vector<int64_t> shape;
};

inline at::Tensor hashed_tensor(const std::string& name, const std::vector<int64_t>& shape) {
  if (name == "logit_scale") return at::scalar_tensor(std::log(100.0), at::kFloat);
  uint64_t seed = 0xCBF29CE484222325;
  for (const char byte : name) seed = (seed ^ static_cast<unsigned char>(byte)) * 0x100000001B3;
  at::Tensor values = at::empty(shape, at::kFloat);
  float* out = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) {
    uint64_t z = seed + static_cast<uint64_t>(i + 1) * 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    z = z ^ (z >> 31);
    out[i] = static_cast<float>(static_cast<double>(z >> 40) / 8388608.0 - 1.0);
  }
  for (const char* word : {"pos_embed", "cls_token", "positional_embedding", "class_embedding", "position_emb",
                           "scale_emb", ".cls", "token_embedding"}) {
    if (name.find(word) != std::string::npos) return values * 0.25;
  }
  if (shape.size() >= 2) {
    const auto fan_in = static_cast<double>(values.numel() / shape[0]);
    return values * static_cast<double>(static_cast<float>(std::sqrt(3.0 / fan_in)));
  }
  if (name.ends_with("weight")) return values * 0.25 + 1.0;
  return values * 0.125;
}

inline engine::TensorMap hashed_weights(const std::vector<NamedShape>& names) {
  engine::TensorMap tensors;
  for (const auto& [name, shape] : names) tensors.emplace(name, hashed_tensor(name, shape));
  return tensors;
}

inline void add_layer(std::vector<NamedShape>& names, const std::string& name, std::vector<int64_t> weight) {
  names.push_back({name + ".bias", {weight[0]}});
  names.push_back({name + ".weight", std::move(weight)});
}

/// Names and shapes of a DINO checkpoint.
inline std::vector<NamedShape> dino_shapes(int64_t width, int64_t layers, int64_t patch = 16, int64_t grid = 14) {
  std::vector<NamedShape> names{{"cls_token", {1, 1, width}}, {"pos_embed", {1, 1 + grid * grid, width}}};
  add_layer(names, "patch_embed.proj", {width, 3, patch, patch});
  for (int64_t i = 0; i < layers; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    add_layer(names, block + "norm1", {width});
    add_layer(names, block + "attn.qkv", {3 * width, width});
    add_layer(names, block + "attn.proj", {width, width});
    add_layer(names, block + "norm2", {width});
    add_layer(names, block + "mlp.fc1", {4 * width, width});
    add_layer(names, block + "mlp.fc2", {width, 4 * width});
  }
  add_layer(names, "norm", {width});
  return names;
}

inline void add_clip_blocks(std::vector<NamedShape>& names, const std::string& prefix, int64_t width, int64_t layers) {
  for (int64_t i = 0; i < layers; ++i) {
    const std::string block = prefix + "transformer.resblocks." + std::to_string(i) + ".";
    add_layer(names, block + "ln_1", {width});
    names.push_back({block + "attn.in_proj_weight", {3 * width, width}});
    names.push_back({block + "attn.in_proj_bias", {3 * width}});
    add_layer(names, block + "attn.out_proj", {width, width});
    add_layer(names, block + "ln_2", {width});
    add_layer(names, block + "mlp.c_fc", {4 * width, width});
    add_layer(names, block + "mlp.c_proj", {width, 4 * width});
  }
}

/// Names and shapes of an OpenAI CLIP checkpoint.
template <typename Config>
std::vector<NamedShape> clip_shapes(const Config& c) {
  std::vector<NamedShape> names{{"visual.class_embedding", {c.image_width}},
                                {"visual.positional_embedding", {1 + c.grid * c.grid, c.image_width}},
                                {"visual.proj", {c.image_width, c.embedding}},
                                {"visual.conv1.weight", {c.image_width, 3, c.patch, c.patch}},
                                {"positional_embedding", {c.context, c.text_width}},
                                {"text_projection", {c.text_width, c.embedding}},
                                {"token_embedding.weight", {c.vocabulary, c.text_width}},
                                {"logit_scale", {}}};
  add_layer(names, "visual.ln_pre", {c.image_width});
  add_layer(names, "visual.ln_post", {c.image_width});
  add_layer(names, "ln_final", {c.text_width});
  add_clip_blocks(names, "visual.", c.image_width, c.image_layers);
  add_clip_blocks(names, "", c.text_width, c.text_layers);
  return names;
}

/// Names and shapes of a MUSIQ checkpoint.
template <typename Config>
std::vector<NamedShape> musiq_shapes(const Config& c) {
  const int64_t wide = 4 * c.stem;
  std::vector<NamedShape> names{{"conv_root.weight", {c.stem, 3, 7, 7}},
                                {"block1.conv1.weight", {c.stem, c.stem, 1, 1}},
                                {"block1.conv2.weight", {c.stem, c.stem, 3, 3}},
                                {"block1.conv3.weight", {wide, c.stem, 1, 1}},
                                {"block1.conv_proj.weight", {wide, c.stem, 1, 1}},
                                {"transformer_encoder.cls", {1, 1, c.width}},
                                {"transformer_encoder.posembed_input.position_emb", {1, 100, c.width}},
                                {"transformer_encoder.scaleembed_input.scale_emb", {3, c.width}}};
  add_layer(names, "gn_root", {c.stem});
  add_layer(names, "block1.gn1", {c.stem});
  add_layer(names, "block1.gn2", {c.stem});
  add_layer(names, "block1.gn3", {wide});
  add_layer(names, "block1.gn_proj", {wide});
  add_layer(names, "embedding", {c.width, wide * 64});
  add_layer(names, "transformer_encoder.encoder_norm", {c.width});
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string block = "transformer_encoder.transformer.encoderblock_" + std::to_string(i) + ".";
    add_layer(names, block + "norm1", {c.width});
    for (const char* part : {"query", "key", "value", "out"})
      add_layer(names, block + "attention." + part, {c.width, c.width});
    add_layer(names, block + "norm2", {c.width});
    add_layer(names, block + "mlp.fc1", {c.mlp, c.width});
    add_layer(names, block + "mlp.fc2", {c.width, c.mlp});
  }
  add_layer(names, "head", {1, c.width});
  return names;
}

}  // namespace vorta::test
